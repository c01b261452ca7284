package loadgen

import (
	"errors"
	"testing"
	"time"
)

// measured is a capacity of about 100/s, whose calls are at the host for 100 ms.
func measuredCapacity() *Capacity {
	c := &Capacity{Rate: 100, Low: 96, High: 104}
	for i, share := range ProfileShares {
		c.Profile = append(c.Profile, Trial{
			Plan: TrialPlan{Rate: share * c.Rate}, Achieved: share * c.Rate,
			P50: time.Duration(100+10*i) * time.Millisecond, P95: time.Duration(110+100*i) * time.Millisecond,
			Resources: TrialResources{Remote: 100 * time.Millisecond, RSS: int64(50+i) << 20, ServerCPU: 7, GeneratorCPU: 14},
		})
	}
	return c
}

func TestPlanServers(t *testing.T) {
	standard := PoolSettings{MaxPerProfile: 10, MaxOperations: 100, MaxSSHConnections: 10, MaxMemoryMB: 1024}
	for _, c := range []struct {
		name               string
		demand             Demand
		servers, low, high int
		use                PoolSettings
	}{
		{"one is enough", Demand{Rate: 50}, 1, 1, 1, PoolSettings{MaxPerProfile: 12, MaxOperations: 100, MaxSSHConnections: 10, MaxMemoryMB: 1024}}, // 5 at once, and three times the root of it
		{"exactly one", Demand{Rate: 96}, 1, 1, 1, PoolSettings{19, 100, 10, 1024}},
		{"the interval matters", Demand{Rate: 200}, 3, 2, 3, PoolSettings{15, 100, 10, 1024}},
		{"headroom and loss", Demand{Rate: 200, Headroom: 0.3, Survive: 1}, 4, 4, 4, PoolSettings{18, 100, 10, 1024}},
		{"over four profiles", Demand{Rate: 200, Headroom: 0.3, Survive: 1, Profiles: 4}, 4, 4, 4, PoolSettings{10, 100, 10, 1024}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.demand.InEffect = standard
			p, err := PlanServers(measuredCapacity(), c.demand)
			if err != nil {
				t.Fatal(err)
			}
			if p.Servers != c.servers || p.ServersLow != c.low || p.ServersHigh != c.high || p.Use != c.use {
				t.Errorf("%d servers (%d to %d) with %+v, want %d (%d to %d) with %+v", p.Servers, p.ServersLow, p.ServersHigh, p.Use, c.servers, c.low, c.high, c.use)
			}
			if p.RSS != 52<<20 {
				t.Errorf("memory of %d bytes", p.RSS)
			}
		})
	}
}

func TestPlanPredictsLatency(t *testing.T) {
	p, err := PlanServers(measuredCapacity(), Demand{Rate: 180, Survive: 1})
	if err != nil {
		t.Fatal(err)
	}
	// Three servers with 60/s each, between 50 and 70 % of what one holds; two with 90/s.
	if want := (Latencies{105 * time.Millisecond, 0, 0}); !about(p.Whole.P50.At, want.At) || p.Whole.P50.Low >= p.Whole.P50.At || p.Whole.P50.High <= p.Whole.P50.At {
		t.Errorf("whole: %+v, want about %v", p.Whole, want.At)
	}
	if !about(p.Reduced.P95.At, 310*time.Millisecond) || p.Reduced.Rate != 90 || p.Reduced.P95.High < p.Reduced.P95.At {
		t.Errorf("reduced: %+v", p.Reduced)
	}
	small := measuredCapacity().predict(1)
	if small.P50.At != 100*time.Millisecond {
		t.Errorf("below what was measured: %+v", small)
	}
	if servers, generator := measuredCapacity().CPUs(200); servers < 0.199 || servers > 0.201 || generator < 0.399 || generator > 0.401 {
		t.Errorf("%v and %v CPUs for 200/s", servers, generator)
	}
}

func TestNoPlan(t *testing.T) {
	for name, change := range map[string]func(*Capacity, *Demand){
		"generator": func(c *Capacity, _ *Demand) { c.Generator = true },
		"nothing":   func(c *Capacity, _ *Demand) { *c = Capacity{} },
		"demand":    func(_ *Capacity, d *Demand) { d.Rate = 0 },
		"survive":   func(_ *Capacity, d *Demand) { d.Survive = -1 },
	} {
		c, d := measuredCapacity(), Demand{Rate: 10}
		change(c, &d)
		if _, err := PlanServers(c, d); !errors.Is(err, ErrNoPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
