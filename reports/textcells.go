package reports

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// names of a cell, for the columns named("…", "part", "step", "arm").
func names(s *result.Scenario) []string {
	return []string{clean(s.Name), clean(s.Part), clean(s.Step), clean(s.Arm)}
}

// cells shows the latency of each cell, and under it the service time where waiting before the call made much of it, and the time to the
// first progress where calls told any.
func (t text) cells(d *result.Doc) {
	tab := table{columns: append(named("Cells", "part", "step", "arm"),
		column{head: "load", spare: 1}, column{head: "done/s"}, column{head: "p50"}, column{head: "p95"}, column{head: "p99"},
		column{head: "max", spare: 2}, column{head: "errors"}, column{head: "dropped", optional: true},
		column{head: "cancelled", optional: true}, column{head: "data/s", optional: true, spare: 3})}
	hidden := false
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		if !s.Ran() {
			continue
		}
		c := newCell(s)
		tab.add(append(names(s), c.Load, c.Rate, c.P50, c.P95, c.P99, c.Max, c.Errors, c.Dropped, whole(s.Cancelled), bytesRate(s.Throughput.BytesPerS))...)
		below := func(what string, v *result.Distribution) {
			tab.add("", "", "", "", "", what, nanos(v.P50), nanos(v.P95), nanos(v.P99), nanos(v.Max), "", "", "", "")
		}
		if waited(s) {
			hidden = true
			below("service", s.Service)
		}
		if p := s.FirstProgress; p != nil && p.N > 0 {
			below("progress", p)
		}
	}
	tab.write(t, t.columns)
	if hidden {
		t.paragraph("  ", "Latency counts from the moment that the schedule intended, service only from the actual send: what lies between the two is waiting "+
			"that a closed loop would not have shown.")
	}
}

// waited reports whether the latency is much longer than the service time at p50 or p99.
func waited(s *result.Scenario) bool {
	if s.Latency == nil || s.Service == nil {
		return false
	}
	much := func(latency, service *int64) bool {
		return latency != nil && service != nil && *latency-*service > int64(time.Millisecond) && float64(*latency) > 1.25*float64(*service)
	}
	return much(s.Latency.P50, s.Service.P50) || much(s.Latency.P99, s.Service.P99)
}

// arms sets the arms of each step side by side, with what each is of the first.
func (t text) arms(d *result.Doc) {
	tab := table{columns: append(named("Arms", "part", "step", "arm"),
		column{head: "p50"}, column{text: true}, column{head: "p95", spare: 2}, column{text: true, spare: 1}, column{head: "p99"}, column{text: true},
		column{head: "done/s"}, column{text: true})}
	for i := range d.Scenarios {
		base := &d.Scenarios[i]
		if !base.Ran() || baseOf(d, base) != nil {
			continue
		}
		others := armsOver(d, base)
		if len(others) == 0 {
			continue
		}
		a := latency(base)
		tab.add(append(names(base), nanos(a.P50), "", nanos(a.P95), "", nanos(a.P99), "", rate(base.AchievedRate), "")...)
		for _, s := range others {
			b := latency(s)
			row := []string{"", "", "", clean(s.Arm)}
			tab.add(append(row, nanos(b.P50), ratio(a.P50, b.P50), nanos(b.P95), ratio(a.P95, b.P95), nanos(b.P99), ratio(a.P99, b.P99),
				rate(s.AchievedRate), times(base.AchievedRate, s.AchievedRate))...)
		}
	}
	tab.write(t, t.columns)
}

// armsOver lists the cells of the same step under the other arms.
func armsOver(d *result.Doc, base *result.Scenario) []*result.Scenario {
	var out []*result.Scenario
	for i := range d.Scenarios {
		if s := &d.Scenarios[i]; baseOf(d, s) == base {
			out = append(out, s)
		}
	}
	return out
}

// times says where the time of the mean call went: before it was sent, in each stage that the server reports, and elsewhere.
func (t text) times(d *result.Doc) {
	tab := table{columns: append(named("Mean time", "part", "step", "arm"),
		column{head: "latency", spare: 1}, column{head: "unsent", optional: true}, column{head: "queue"}, column{head: "dial"}, column{head: "channel"},
		column{head: "remote"}, column{head: "rest"})}
	for _, r := range spentTimes(d) {
		row := append(names(r.cell), nanos(&r.latency), unsent(r.unsent))
		for _, v := range r.stages {
			row = append(row, orZero(v))
		}
		tab.add(append(row, orZero(r.rest))...)
	}
	tab.write(t, t.columns)
}

// unsent leaves out what is within the resolution of the histograms.
func unsent(d int64) string {
	if d < int64(100*time.Microsecond) {
		return none
	}
	return Duration(time.Duration(d))
}

func orZero(d int64) string {
	if d <= 0 {
		return "0"
	}
	return Duration(time.Duration(d))
}

// server shows what the server used, where it was measured.
func (t text) server(d *result.Doc) {
	figure := func(head string, spare int) column { return column{head: head, optional: true, spare: spare} }
	tab := table{columns: append(named("Server", "part", "arm"), figure("CPU/op", 0), figure("CPU", 0), figure("RSS peak", 0),
		figure("heap", 1), figure("GC p99", 2), figure("goroutines", 0), figure("threads", 3), figure("fds", 0), figure("sockets", 4), figure("net/op", 5))}
	for _, r := range serverRows(d) {
		tab.add(r.Scenario, r.Part, r.Arm, r.CPUPerOp, r.CPU, r.RSS, r.Heap, r.GCPause, r.Goroutines, r.Threads, r.FDs, r.Sockets, r.NetPerOp)
	}
	tab.write(t, t.columns)
}

func whole(v int64) string { return fmt.Sprint(v) }

// Size writes a number of bytes with three significant digits and one binary unit, such as "34.2 MiB".
func Size[N int64 | float64](bytes N) string {
	v := float64(bytes)
	if v < 1024 {
		return fmt.Sprintf("%.0f B", v)
	}
	step := min(int(math.Log2(v)/10), 4)
	return significant(v/math.Pow(1024, float64(step))) + " " + []string{"", "KiB", "MiB", "GiB", "TiB"}[step]
}

// bytesRate is left empty below 64 KiB a second, where the replies' own few bytes are all that moves.
func bytesRate(v float64) string {
	if v < 64<<10 {
		return ""
	}
	return Size(v)
}

// generator says in one line whether the load generator can be believed.
func generator(d *result.Doc) string {
	g := &d.Generator
	facts := []string{"generator valid"}
	if !g.Valid {
		facts[0] = "generator invalid"
	}
	facts = append(facts, "lateness p99 "+Duration(time.Duration(g.LatenessP99NS)), fmt.Sprintf("CPU wait %.1f %%", 100*g.CPUWait))
	if g.CPUSPerCall > 0 {
		facts = append(facts, "CPU/call "+Duration(time.Duration(g.CPUSPerCall*float64(time.Second))))
	}
	if g.GCPauseP99NS > 0 {
		facts = append(facts, "GC pause p99 "+Duration(time.Duration(g.GCPauseP99NS)))
	}
	if g.MaxStallNS > 0 {
		facts = append(facts, "longest stall "+Duration(time.Duration(g.MaxStallNS)))
	}
	if g.ThrottledNS > 0 {
		facts = append(facts, "held back by a quota "+Duration(time.Duration(g.ThrottledNS)))
	}
	return strings.Join(facts, ", ")
}
