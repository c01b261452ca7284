package main

import (
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestOpenExecutors(t *testing.T) {
	open, closed := loadgen.Executor{Kind: loadgen.Open}, loadgen.Executor{Kind: loadgen.Closed}
	for name, tc := range map[string]struct {
		plan loadgen.Plan
		want int
	}{
		"one":            {loadgen.Plan{Executor: open}, 1},
		"closed":         {loadgen.Plan{Executor: closed}, 0},
		"a shared one":   {loadgen.Plan{Executor: open, Mix: make([]loadgen.Part, 3)}, 1},
		"of its own":     {loadgen.Plan{Executor: open, Mix: []loadgen.Part{{Executor: &open}, {Executor: &closed}}}, 1},
		"both":           {loadgen.Plan{Executor: open, Mix: []loadgen.Part{{Executor: &open}, {}}}, 2},
		"only their own": {loadgen.Plan{Mix: []loadgen.Part{{Executor: &open}, {Executor: &open}}}, 2},
	} {
		if got := openExecutors(&tc.plan); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}
