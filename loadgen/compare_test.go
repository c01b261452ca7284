package loadgen

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// measuredCell is a cell of an arm with one latency and a rate.
func measuredCell(arm string, latency time.Duration, rate float64) Cell {
	c := Cell{Arm: arm, Step: "exec", Requests: 100, AchievedRate: rate, Measured: time.Second}
	c.Latency = &stats.Histogram{}
	for range c.Requests {
		c.Latency.Record(latency)
	}
	return c
}

func TestComparisons(t *testing.T) {
	cells := []Cell{
		measuredCell("ssh", 500*time.Microsecond, 6000), measuredCell("raw", 300*time.Microsecond, 12000), measuredCell("noop", 150*time.Microsecond, 12000),
	}
	for _, tt := range []struct {
		c     Comparison
		expr  string
		value string
		ok    bool
	}{
		{Comparison{Metric: "p50", Arms: []string{"raw", "noop"}, Plus: 60 * time.Microsecond}, "p50<=p50(raw)+p50(noop)+60µs", "bound 510", true},
		{Comparison{Metric: "p50", Arms: []string{"raw", "noop"}, Plus: 40 * time.Microsecond}, "p50<=p50(raw)+p50(noop)+40µs", "bound 490", false},
		{Comparison{Metric: "p50", Arms: []string{"raw", "noop"}, Times: 2}, "p50<=2×(p50(raw)+p50(noop))", "bound 900", true},
		{Comparison{Metric: "p50", Arms: []string{"raw"}, Times: 0.5}, "p50<=0.5×p50(raw)", "bound 150", false},
		{Comparison{Metric: "p50", Arms: []string{"raw"}}, "p50<=p50(raw)", "bound 300", false},
		{Comparison{Metric: "rate", Arms: []string{"raw", "noop"}, Times: 0.85}, "rate>=0.85/(1/rate(raw)+1/rate(noop))", "6000.0, bound 5100.0", true},
		{Comparison{Metric: "rate", Arms: []string{"raw", "noop"}, Times: 1.01}, "rate>=1.01/(1/rate(raw)+1/rate(noop))", "6000.0, bound 6060.0", false},
		{Comparison{Metric: "rate", Arms: []string{"noop"}, Times: 0.4}, "rate>=0.4×rate(noop)", "6000.0, bound 4800.0", true},
		{Comparison{Metric: "rate", Arms: []string{"noop"}}, "rate>=rate(noop)", "6000.0, bound 12000.0", false},
		{Comparison{Metric: "p50", Arms: []string{"other"}}, "p50<=p50(other)", "no data", false},
		{Comparison{Metric: "service.p50", Arms: []string{"raw"}}, "service.p50<=service.p50(raw)", "no data", false},
	} {
		got := judgeComparisons([]Comparison{tt.c}, "ssh", cells)
		if len(got) != 1 || got[0].Expr != tt.expr || !strings.Contains(got[0].Value, tt.value) || got[0].OK != tt.ok || got[0].Step != "exec" && tt.ok {
			t.Errorf("%+v: %+v, want %q with %q, %v", tt.c, got, tt.expr, tt.value, tt.ok)
		}
	}
	if got := judgeComparisons([]Comparison{{Metric: "p50", Arms: []string{"raw"}}}, "gone", cells); len(got) != 1 || got[0].OK || got[0].Value != "no data" {
		t.Errorf("without a first arm: %+v", got)
	}
}

func TestComparisonMistakes(t *testing.T) {
	for _, tt := range []struct {
		c    Comparison
		want string
	}{
		{Comparison{Metric: "error_rate", Arms: []string{"b"}}, `compare[0].metric: "error_rate" is no rate and no duration`},
		{Comparison{Metric: "p50"}, "compare[0].arms: it compares with no arm"},
		{Comparison{Metric: "p50", Arms: []string{"a"}}, `compare[0].arms[0]: "a" is none of the arms`},
		{Comparison{Metric: "p50", Arms: []string{"b", "c"}}, `compare[0].arms[1]: "c" is none of the arms`},
		{Comparison{Metric: "p50", Arms: []string{"b"}, Times: -1}, "compare[0].times: -1 cannot be a factor"},
		{Comparison{Metric: "rate", Arms: []string{"b"}, Plus: 1}, "compare[0].plus: 1ns cannot be added to a bound on rate"},
		{Comparison{Metric: "p50", Arms: []string{"b"}, Plus: -1}, "compare[0].plus: -1ns cannot be added"},
	} {
		p := closedPlan(1, time.Second)
		p.Arms, p.Compare = []Arm{{Name: "a"}, {Name: "b"}}, []Comparison{tt.c}
		if err := ValidatePlan(p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
	}
}

// TestComparedArms measures two arms of which the second takes twice as long.
func TestComparedArms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, 4*time.Second)
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
		p.Compare = []Comparison{{Metric: "p50", Arms: []string{"b"}, Times: 0.6}, {Metric: "rate", Arms: []string{"b"}, Times: 3}}
		res, _ := measureArms(t, t.Context(), p)
		if len(res.Thresholds) != 2 || !res.Thresholds[0].OK || res.Thresholds[1].OK {
			t.Errorf("%+v", res.Thresholds)
		}
	})
}

func TestComparesMissing(t *testing.T) {
	c := Comparison{Metric: "p50", Arms: []string{"b", "c"}}
	for arms, want := range map[string]bool{"a b c": false, "b c": true, "a c": true, "": true, "a c b d": false} {
		var list []Arm
		for _, name := range strings.Fields(arms) {
			list = append(list, Arm{Name: name})
		}
		if got := c.ComparesMissing("a", list); got != want {
			t.Errorf("%q: %v", arms, got)
		}
	}
}
