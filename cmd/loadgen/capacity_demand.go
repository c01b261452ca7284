package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// demandOptions are the flags that ask for a plan of servers.
type demandOptions struct {
	rate, headroom string
	survive        int
	try            bool
	demand         loadgen.Demand // that they say; its Rate is 0 where no plan is asked for
}

// check reads the flags.
func (o *demandOptions) check(changed func(string) bool) (err error) {
	if o.rate == "" {
		for _, flag := range []string{"headroom", "survive", "try"} {
			if changed(flag) {
				return usage("--%s belongs to a plan of servers: add --demand, or drop it", flag)
			}
		}
		return nil
	}
	if o.demand.Rate, err = strconv.ParseFloat(strings.TrimSuffix(o.rate, "/s"), 64); err != nil || !(o.demand.Rate > 0) || math.IsInf(o.demand.Rate, 0) {
		return usage("--demand %q is no rate: write calls per second, such as 2500/s", o.rate)
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(o.headroom, "%"), 64)
	if err != nil || !strings.HasSuffix(o.headroom, "%") || !(percent >= 0 && percent <= 1000) {
		return usage("--headroom %q is no share: write per cent, such as 30%%", o.headroom)
	}
	o.demand.Headroom = percent / 100
	if o.survive < 0 {
		return usage("--survive %d is negative: give how many servers may be lost", o.survive)
	}
	o.demand.Survive = o.survive
	return nil
}

// settings are those of the server that was measured.
func (s *capacitySearch) settings() (loadgen.PoolSettings, error) {
	var arm loadgen.Arm
	if len(s.plan.Arms) > 0 {
		arm = s.plan.Arms[0]
	}
	file, err := s.srv.config.forArm(arm, s.srv.work.dir)
	if err != nil {
		return loadgen.PoolSettings{}, harness("%w", err)
	}
	c, err := server.Load(server.Sources{File: file, Environ: os.Environ()})
	if err != nil {
		return loadgen.PoolSettings{}, usage("the server's configuration: %w", err)
	}
	return loadgen.PoolSettings{
		MaxPerProfile: c.Limits.MaxPerProfile, MaxOperations: c.Limits.MaxConcurrentOperations, MaxSSHConnections: c.Pooling.MaxSSHConnections,
		MaxMemoryMB: c.Limits.MaxMemoryMB,
	}, nil
}

// planServers makes the plan for a capacity and tries it where this machine has room.
func (s *capacitySearch) planServers(ctx context.Context, c *loadgen.Capacity) (*result.CapacityPlan, error) {
	d := s.o.demand.demand
	var err error
	if d.InEffect, err = s.settings(); err != nil {
		return nil, err
	}
	d.Profiles = len(s.srv.target.profiles)
	plan, err := loadgen.PlanServers(c, d)
	if err != nil {
		return nil, &exitError{exitInconclusive, err}
	}
	out := result.NewPlan(plan)
	if out.NotTried = s.noRoom(c, plan); out.NotTried != "" {
		return out, nil
	}
	t, failed, err := s.try(ctx, plan)
	switch {
	case err != nil:
		return nil, err
	case t.Generator:
		return nil, harness("while the plan was tried, the load generator could not be believed: %s; give it more CPUs, or --try=false", t.Why[len(t.Why)-1])
	}
	out.Try(t, failed, plan.Survive)
	return out, nil
}

// What trying a plan takes beside what was measured.
const (
	gatewayCPU  = 0.0004 // seconds for a call through the gateway
	roomForPlan = 0.6    // share of the CPUs that a plan may take which is to be tried
	mostTried   = 16     // servers
	tryWarmup   = 2 * time.Second
	leastTry    = 10 * time.Second
	mostTry     = time.Minute
	trySamples  = 10 // times the calls that the objective's percentile needs
)

// noRoom says why a plan cannot be tried here, "" where it can.
func (s *capacitySearch) noRoom(c *loadgen.Capacity, p *loadgen.ServerPlan) string {
	servers, generator := c.CPUs(p.Rate)
	need, have := servers+generator+gatewayCPU*p.Rate, float64(runtime.NumCPU())
	switch {
	case !s.o.demand.try:
		return "--try=false"
	case s.srv.path == "":
		return "the server is no program that several of can be started"
	case p.Servers > mostTried:
		return fmt.Sprintf("%d servers are too many for one machine", p.Servers)
	case need > roomForPlan*have:
		return fmt.Sprintf("servers, gateway, load generator and host would take about %.1f CPUs together, and this machine has %.0f", need, have)
	}
	return ""
}

// config is the configuration that a plan gives to each server.
func (s *capacitySearch) config(p *loadgen.ServerPlan) (string, error) {
	arm := loadgen.Arm{ServerConfig: map[string]any{}}
	if len(s.plan.Arms) > 0 {
		maps.Copy(arm.ServerConfig, s.plan.Arms[0].ServerConfig)
	}
	arm.ServerConfig = merge(arm.ServerConfig, map[string]any{
		"resource_limits": map[string]any{
			"max_per_profile": p.Use.MaxPerProfile, "max_concurrent_operations": p.Use.MaxOperations, "max_memory_mb": p.Use.MaxMemoryMB,
		},
		"connection_pooling": map[string]any{"max_ssh_connections": p.Use.MaxSSHConnections},
	})
	return s.srv.config.forArm(arm, s.srv.work.dir)
}

// try measures the demand on the servers of a plan behind the gateway, and kills as many as may be lost half way. It returns the trial, and the share of
// calls that failed.
func (s *capacitySearch) try(ctx context.Context, p *loadgen.ServerPlan) (t loadgen.Trial, failed float64, err error) {
	config, err := s.config(p)
	if err != nil {
		return t, 0, harness("%w", err)
	}
	f, err := s.startFleet(ctx, p.Servers, config)
	defer f.close()
	if err != nil {
		return t, 0, harness("the plan cannot be tried: %w", err)
	}
	fmt.Fprintf(s.notes, "loadgen: capacity: trying %d servers at %.5g/s, of which %d will be killed\n", p.Servers, p.Rate, p.Survive)
	plan := *s.plan
	plan.Arms = nil
	length := time.Duration(trySamples / s.o.objective.Allowed() / p.Rate * float64(time.Second))
	plan.Executor.Rate, plan.Executor.Warmup, plan.Executor.Duration = p.Rate, tryWarmup, min(max(length, leastTry), mostTry)
	half := plan.Executor.Warmup + plan.Executor.Duration/2
	var once sync.Once
	front := &serverChoice{url: f.gateway.url, driver: loadgen.ArmDriver{Kind: "http", Protocol: driver.ProtocolStateless}, target: s.srv.target, work: s.srv.work}
	r, err := s.measureWith(ctx, plan, front.open, func(at loadgen.Progress) {
		if at.Phase == loadgen.PhaseMeasure && at.Elapsed >= half {
			once.Do(func() { f.lose(p.Survive) })
		}
	})
	if err != nil {
		return t, 0, err
	}
	once.Do(func() {
		err = harness("the plan was not tried in earnest: the load was over before a server could be killed")
	})
	if err != nil {
		return t, 0, err
	}
	t = loadgen.TrialOf(s.o.objective, r)
	t.Plan = loadgen.TrialPlan{Rate: p.Rate, Warmup: tryWarmup, Duration: plan.Executor.Duration}
	var bad, all int64
	for i := range r.Cells {
		for _, n := range r.Cells[i].Errors {
			bad += n
		}
		all += r.Cells[i].Requests
	}
	return t, float64(bad) / float64(max(all, 1)), nil
}
