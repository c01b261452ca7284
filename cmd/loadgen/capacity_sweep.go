package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// How long a point of a sweep is measured.
const (
	sweepWarmup = 750 * time.Millisecond
	sweepTime   = 3 * time.Second
)

// checkSweep finds mistakes in --sweep and --repeats.
func (o *capacityOptions) checkSweep() error {
	changed := o.run.overrides.changed
	switch {
	case len(o.sweep) == 0 && changed("repeats"):
		return usage("--repeats says how often each number of --sweep is measured: add --sweep, or drop it")
	case len(o.sweep) == 0:
		return nil
	case o.repeats < 1:
		return usage("--repeats %d is not above 0: give how often each number is measured", o.repeats)
	}
	for _, flag := range []string{"slo", "start", "max-rate", "budget", "demand"} {
		if changed(flag) {
			return usage("--%s belongs to a search, and --sweep makes none: drop one", flag)
		}
	}
	slices.Sort(o.sweep)
	if n := len(slices.Compact(slices.Clone(o.sweep))); n < 4 || n < len(o.sweep) || o.sweep[0] < 1 {
		return usage("--sweep %v: give four different numbers of users or more, each 1 or more, such as 1,2,4,8,16,32,64", o.sweep)
	}
	return nil
}

// sweep measures closed loops and reports the law that they follow. The order of the points is drawn anew for each repeat, so that what changes on
// the machine meanwhile meets all of them.
func (s *capacitySearch) sweep(cmd *cobra.Command) error {
	chance := rand.New(rand.NewPCG(s.plan.Seed, 0))
	var points []loadgen.SweepPoint
	for range s.o.repeats {
		for _, i := range chance.Perm(len(s.o.sweep)) {
			p, err := s.point(cmd.Context(), s.o.sweep[i])
			if err != nil {
				return err
			}
			points = append(points, p)
			fmt.Fprintf(s.notes, "loadgen: capacity: %d at once: %.5g/s\n", p.N, p.Throughput)
		}
	}
	sweep, err := loadgen.FitSweep(points, s.plan.Seed)
	if err != nil {
		return &exitError{exitMissed, err}
	}
	d, err := s.document()
	if err != nil {
		return err
	}
	d.Capacity = &result.Capacity{Scenario: s.plan.Name, Profile: []result.CapacityTrial{}, Trials: []result.CapacityTrial{}, Sweep: result.NewSweep(sweep)}
	return output(cmd.OutOrStdout(), s.o.run.out, s.o.run.format, d)
}

// point measures a number of users at once.
func (s *capacitySearch) point(ctx context.Context, n int) (loadgen.SweepPoint, error) {
	plan := *s.plan
	plan.Executor = loadgen.Executor{Kind: loadgen.Closed, VUs: n, Sessions: min(plan.Executor.Sessions, n), Warmup: sweepWarmup, Duration: sweepTime}
	r, err := s.measure(ctx, plan)
	if err != nil {
		return loadgen.SweepPoint{}, err
	}
	s.last = r
	return loadgen.PointOf(n, r), nil
}
