package main

import (
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func TestOverridesFitTheExecutor(t *testing.T) {
	stages := []loadgen.Stage{{Target: 5, Duration: time.Second}}
	kinds := map[string]loadgen.Executor{
		"constant": {Kind: loadgen.Open, Rate: 5, Duration: time.Second},
		"poisson":  {Kind: loadgen.Open, Rate: 5, Arrivals: loadgen.Poisson, Duration: time.Second},
		"ramp":     {Kind: loadgen.Open, Stages: stages},
		"trace":    {Kind: loadgen.Open, Trace: []time.Duration{0, 1}},
		"closed":   {Kind: loadgen.Closed, VUs: 2, Duration: time.Second},
		"rise":     {Kind: loadgen.Closed, Stages: stages},
		"occupy":   {Kind: loadgen.Occupancy, Holders: 3, Duration: time.Second},
		"mixed":    {Duration: time.Second},
	}
	for flag, refused := range map[string]map[string]string{
		"rate": {
			"ramp": "stages set the load", "trace": "trace sets the load", "closed": "use --vus", "rise": "stages set the load",
			"occupy": "holders set the load", "mixed": "each part of its mix",
		},
		"vus": {
			"constant": "use --rate", "poisson": "use --rate", "ramp": "stages set the load", "trace": "trace sets the load", "rise": "stages set the load",
			"occupy": "holders set the load", "mixed": "each part of its mix",
		},
		"duration": {"ramp": "stages say how long", "rise": "stages say how long"},
		"warmup":   {},
	} {
		for kind, e := range kinds {
			o := overrides{rate: 7, vus: 7, duration: 7 * time.Second, warmup: 7 * time.Second, changed: func(f string) bool { return f == flag }}
			p := &loadgen.Plan{Name: kind, Executor: e}
			err := o.apply([]*loadgen.Plan{p})
			if want := refused[kind]; (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("--%s on %s: %v, want %q", flag, kind, err, want)
			}
			got := map[string]bool{
				"rate": p.Executor.Rate == 7, "vus": p.Executor.VUs == 7, "duration": p.Executor.Duration == 7*time.Second, "warmup": p.Executor.Warmup == 7*time.Second,
			}
			for name, set := range got {
				if set != (name == flag && err == nil) {
					t.Errorf("--%s on %s: %s set is %v", flag, kind, name, set)
				}
			}
			both := []*loadgen.Plan{{Name: "other", Executor: kinds["constant"]}, {Name: "another", Executor: kinds["closed"]}, p}
			if err := o.apply(both); err != nil {
				t.Errorf("--%s is refused though it fits a scenario: %v", flag, err)
			}
		}
	}
}
