package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// variedBudget is the time of the trials of each setting, unless --budget says another.
const variedBudget = 90 * time.Second

// variation is a key of the server's configuration and the values that --vary gives it.
type variation struct {
	key    string
	values []string
}

// checkVary reads --vary.
func (o *capacityOptions) checkVary() error {
	if o.varied == "" {
		return nil
	}
	key, values, ok := strings.Cut(o.varied, "=")
	o.vary = variation{key, strings.Split(values, ",")}
	sorted := slices.Sorted(slices.Values(o.vary.values))
	switch {
	case !ok || key == "" || len(sorted) < 2 || slices.Contains(sorted, "") || len(slices.Compact(sorted)) < len(o.vary.values):
		return usage("--vary %q: write a key of the server's configuration and two different values or more, such as connection_pooling.max_ssh_connections=5,10,20", o.varied)
	case len(o.sweep) > 0:
		return usage("--sweep makes no search, and --vary makes several: drop one")
	case o.demand.rate != "":
		return usage("--demand plans with one server's capacity, and --vary finds several: drop one")
	case limits[o.run.server] || isURL(o.run.server):
		return usage("--vary starts a server for each value, which %s is not: drop one", o.run.server)
	}
	if !o.run.overrides.changed("budget") {
		o.budget = variedBudget
	}
	return nil
}

// arm is the scenario's with a value for the key.
func (v variation) arm(plan *loadgen.Plan, value string) (loadgen.Arm, error) {
	arm := loadgen.Arm{Name: v.key + "=" + value}
	if len(plan.Arms) > 0 {
		arm.Driver, arm.ServerConfig = plan.Arms[0].Driver, plan.Arms[0].ServerConfig
	}
	var of any
	if err := yaml.Unmarshal([]byte(value), &of); err != nil {
		return arm, usage("--vary: the value %q cannot be read: %w", value, err)
	}
	parts := strings.Split(v.key, ".")
	slices.Reverse(parts)
	for _, part := range parts {
		of = map[string]any{part: of}
	}
	arm.ServerConfig = merge(arm.ServerConfig, of.(map[string]any))
	return arm, nil
}

// arms makes all of them, and lets the server judge the configurations before anything is measured.
func (s *capacitySearch) arms() (arms []loadgen.Arm, err error) {
	for _, value := range s.o.vary.values {
		arm, err := s.o.vary.arm(s.plan, value)
		if err != nil {
			return nil, err
		}
		file, err := s.srv.config.forArm(arm, s.srv.work.dir)
		if err != nil {
			return nil, harness("%w", err)
		}
		if _, err := server.Load(server.Sources{File: file, Environ: os.Environ()}); err != nil {
			return nil, usage("--vary %s: %w", arm.Name, err)
		}
		arms = append(arms, arm)
	}
	return arms, nil
}

// reportVaried searches with each setting in turn and reports what each buys.
func (s *capacitySearch) reportVaried(cmd *cobra.Command) error {
	arms, err := s.arms()
	if err != nil {
		return err
	}
	all := &result.Capacity{Scenario: s.plan.Name, Objective: s.o.slo, Profile: []result.CapacityTrial{}, Trials: []result.CapacityTrial{}}
	known := 0
	for _, arm := range arms {
		fmt.Fprintf(s.notes, "loadgen: capacity: %s\n", arm.Name)
		plan := *s.plan
		plan.Arms = []loadgen.Arm{arm}
		v, took, err := (&capacitySearch{o: s.o, plan: &plan, faults: s.faults, srv: s.srv, notes: s.notes}).variant(cmd.Context(), arm.Name, s)
		if err != nil {
			return err
		}
		if v.Why == "" {
			known++
		}
		all.Vary, all.DurationS = append(all.Vary, v), all.DurationS+took.Seconds()
	}
	d, err := s.document()
	if err != nil {
		return err
	}
	d.Capacity = all
	if err := output(cmd.OutOrStdout(), s.o.run.out, s.o.run.format, d); err != nil {
		return err
	}
	if known == 0 {
		return &exitError{exitMissed, errors.New("nothing is known of the capacity with any of the settings")}
	}
	return nil
}

// variant searches with one setting; last notes the last good trial.
func (s *capacitySearch) variant(ctx context.Context, setting string, last *capacitySearch) (v result.CapacityVariant, took time.Duration, err error) {
	v.Setting = setting
	c, err := s.find(ctx)
	if s.last != nil {
		last.last = s.last
	}
	switch {
	case errors.Is(err, loadgen.ErrNoCapacity):
		v.Why = err.Error()
		return v, 0, nil
	case err != nil:
		return v, 0, err
	case c.Generator:
		v.Why = "the load generator was the limit"
		return v, c.Time, nil
	}
	v.Rate, v.Low, v.High = c.Rate, c.Low, c.High
	v.Saturated, _ = c.Saturated(runtime.NumCPU())
	at := &c.Profile[1] // 70 %
	v.P50NS, v.P95NS, v.P99NS = int64(at.P50), int64(at.P95), int64(at.P99)
	v.ServerCPU, v.RSSBytes = at.Resources.ServerCPU, at.Resources.RSS
	return v, c.Time, nil
}
