package reports

import (
	"bytes"
	"html"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func capacityFound() *loadgen.Capacity {
	trial := func(rate float64, good bool, wait, remote time.Duration) loadgen.Trial {
		t := loadgen.Trial{
			Plan: loadgen.TrialPlan{Rate: rate, Duration: 8 * time.Second}, Good: good, Calls: 6000, Achieved: rate,
			Mean: 12 * time.Millisecond, P50: 11 * time.Millisecond, P95: 20 * time.Millisecond, P99: 30 * time.Millisecond,
			Resources: loadgen.TrialResources{ServerCPU: 41, GeneratorCPU: 30, Wait: wait, Remote: remote},
		}
		if !good {
			t.Why = []string{"exec: p99<100ms was missed"}
		}
		return t
	}
	const ms = time.Millisecond
	return &loadgen.Capacity{
		Rate: 801, Low: 790.4, High: 809.5, Knee: 720, Time: 150 * time.Second,
		Trials:  []loadgen.Trial{trial(790, true, ms, 12*ms), trial(1600, false, 2*ms, 700*ms), trial(812, false, 2*ms, 90*ms)},
		Profile: []loadgen.Trial{trial(400.5, true, ms, 11*ms), trial(560.7, true, ms, 11*ms), trial(720.9, true, ms, 11*ms)},
	}
}

func TestCapacityIsReported(t *testing.T) {
	d := sample(t, execRun())
	d.Capacity = result.NewCapacity("ssh-exec", "p99<100ms", capacityFound(), 2)
	wants := []string{"801/s", "790.4/s", "809.5/s", "720/s", "target", "from 400.5/s to 812/s", "from 11ms to 90ms", "70 % of capacity", "560.7/s"}
	for name, render := range map[string]Render{"text": Text, "markdown": Markdown, "html": HTML} {
		var b bytes.Buffer
		if err := render(&b, d); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(html.UnescapeString(b.String())), " ")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", name, want, b.String())
			}
		}
	}
	var b bytes.Buffer
	if err := JSON(&b, d); err != nil {
		t.Fatal(err)
	}
	back, err := result.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if c := back.Capacity; c == nil || c.Rate != 801 || len(c.Profile) != 3 || len(c.Trials) != 3 || c.Saturated != loadgen.SaturatedTarget {
		t.Errorf("read back: %+v", c)
	}
}

// allCapacity is a document with everything that there may be on capacity.
func allCapacity(t *testing.T) *result.Doc {
	t.Helper()
	d := sample(t, execRun())
	c := capacityFound()
	d.Capacity = result.NewCapacity("ssh-exec", "p99<100ms", c, 2)
	var points []loadgen.SweepPoint
	law := stats.USL{Lambda: 100, Sigma: 0.02, Kappa: 0.002}
	for _, n := range []int{1, 2, 4, 8, 16, 32} {
		points = append(points, loadgen.SweepPoint{N: n, Throughput: law.Throughput(float64(n)), Little: 1, P50: 10 * time.Millisecond, P95: 20 * time.Millisecond})
	}
	sweep, err := loadgen.FitSweep(points, 1)
	if err != nil {
		t.Fatal(err)
	}
	d.Capacity.Sweep = result.NewSweep(sweep)
	plan, err := loadgen.PlanServers(c, loadgen.Demand{Rate: 1600, Headroom: 0.3, Survive: 1, InEffect: loadgen.PoolSettings{MaxPerProfile: 10, MaxOperations: 100, MaxSSHConnections: 10, MaxMemoryMB: 1024}})
	if err != nil {
		t.Fatal(err)
	}
	d.Capacity.Plan = result.NewPlan(plan)
	d.Capacity.Plan.Try(loadgen.Trial{Plan: loadgen.TrialPlan{Rate: 1600}, Why: []string{"exec: p99<100ms was missed"}, Achieved: 1500, P95: 200 * time.Millisecond}, 0.001, 1)
	d.Capacity.Vary = []result.CapacityVariant{
		{Setting: "connection_pooling.max_ssh_connections=5", Rate: 400, Low: 390, High: 410, P95NS: 12e6, ServerCPU: 30, RSSBytes: 60 << 20, Saturated: "pool wait"},
		{Setting: "connection_pooling.max_ssh_connections=10", Rate: 800, Low: 780, High: 820, P95NS: 13e6, ServerCPU: 60, RSSBytes: 70 << 20, Saturated: "target"},
		{Setting: "connection_pooling.max_ssh_connections=20", Why: "the load generator was the limit"},
	}
	return d
}

// TestAllFormatsTellOfCapacity looks for the figures that each format has to have.
func TestAllFormatsTellOfCapacity(t *testing.T) {
	said := []string{"16 at once reach", "coherence 0.002", "1600/s with 30 % to spare and 1 server to lose: 4 servers", "the objective was missed", "resource_limits.max_per_profile",
		"max_ssh_connections=10 is the first that is clearly better", "×2.00", "the load generator was the limit"}
	for format, wants := range map[string][]string{
		"text": said, "markdown": said, "html": append(said, "<svg", "Capacity by setting", "Throughput by calls at once"),
		"csv":         {"capacity_part", "sweep,,16,", "vary,connection_pooling.max_ssh_connections=10,,800,780,820,true", "plan,4 servers,,1600"},
		"junit":       {`name="capacity p99&lt;100ms" classname="ssh-exec"`, `plan of 4 servers for 1600/s`, `<failure message="exec: p99&lt;100ms was missed"`},
		"openmetrics": {`loadgen_capacity_rate{scenario="ssh-exec",objective="p99<100ms"} 801 `, `loadgen_scalability_throughput_rate{scenario="ssh-exec",objective="p99<100ms",at_once="8"}`, "loadgen_plan_servers", `setting="connection_pooling.max_ssh_connections=10"} 800 `},
		"benchfmt":    {"BenchmarkCapacity/scenario=ssh-exec-", "\t1\t801 ops/s", "/at_once=8-", "/setting=connection_pooling.max_ssh_connections=10-"},
		"json":        {`"servers": 4`, `"sigma"`},
		"github":      {},
	} {
		t.Run(format, func(t *testing.T) {
			render, err := Renderer(format)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := render(&b, allCapacity(t)); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if format == "text" || format == "markdown" || format == "html" {
				text = strings.Join(strings.Fields(html.UnescapeString(strings.ReplaceAll(text, "\\", ""))), " ")
			}
			for _, want := range wants {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

// TestCapacityWithoutAnEnd renders what is infinite in the law: no peak.
func TestCapacityWithoutAnEnd(t *testing.T) {
	var points []loadgen.SweepPoint
	for _, n := range []int{1, 2, 4, 8} {
		points = append(points, loadgen.SweepPoint{N: n, Throughput: 100 * float64(n), Little: 1})
	}
	s, err := loadgen.FitSweep(points, 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Fit.Kappa, s.Fit.PeakIn.High = 0, math.Inf(1)
	d := sample(t, execRun())
	d.Capacity = &result.Capacity{Scenario: "ssh-exec", Profile: []result.CapacityTrial{}, Trials: []result.CapacityTrial{}, Sweep: result.NewSweep(s)}
	for _, format := range Formats() {
		render, _ := Renderer(format)
		var b bytes.Buffer
		if err := render(&b, d); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if format != "json" && strings.Contains(b.String(), "Inf") {
			t.Errorf("%s says infinity:\n%s", format, b.String())
		}
	}
}

// TestCapacityNamesWhatIsShort changes the mildest overload.
func TestCapacityNamesWhatIsShort(t *testing.T) {
	for want, change := range map[string]func(c *loadgen.Capacity){
		loadgen.SaturatedTarget:    func(*loadgen.Capacity) {},
		loadgen.SaturatedPool:      func(c *loadgen.Capacity) { c.Trials[2].Resources.Wait = time.Second },
		loadgen.SaturatedCPU:       func(c *loadgen.Capacity) { c.Trials[2].Resources.ServerCPU = 150 },
		loadgen.SaturatedGenerator: func(c *loadgen.Capacity) { c.Generator = true },
		"":                         func(c *loadgen.Capacity) { c.Trials = c.Trials[:1] },
	} {
		c := capacityFound()
		change(c)
		if got, why := c.Saturated(2); got != want || (why == "") != (want == "") {
			t.Errorf("%q is short, said is %q: %s", want, got, why)
		}
	}
}

// TestCapacityThatContradictsItself wants it said where the objective was missed below the capacity found.
func TestCapacityThatContradictsItself(t *testing.T) {
	d := sample(t, execRun())
	c := capacityFound()
	c.Profile[0].Good, c.Profile[0].Why = false, []string{"exec: p99<100ms was missed"}
	d.Capacity = result.NewCapacity("ssh-exec", "p99<100ms", c, 2)
	var b bytes.Buffer
	if err := TextFor(400)(&b, d); err != nil {
		t.Fatal(err)
	}
	if want := "at 50 % of it, measured last, the objective was missed: exec: p99<100ms was missed"; !strings.Contains(b.String(), want) || strings.Contains(b.String(), "at 70 % of it") {
		t.Errorf("no %q, or more, in\n%s", want, &b)
	}
}

// TestSettingsThatDifferManifold wants none of them to lie at the edge of the chart, as if they were equal.
func TestSettingsThatDifferManifold(t *testing.T) {
	c := allCapacity(t).Capacity
	c.Vary = []result.CapacityVariant{{Setting: "a=1", Rate: 100, Low: 90, High: 110}, {Setting: "a=2", Rate: 300, Low: 290, High: 310}, {Setting: "a=3", Rate: 900, Low: 890, High: 910}}
	svg := string(varyChart(c))
	if !strings.Contains(svg, "+800 %") && !strings.Contains(svg, "+500 %") {
		t.Errorf("the range of the chart ends early:\n%s", svg)
	}
}
