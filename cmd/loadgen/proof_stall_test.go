//go:build proof

package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
	"github.com/openaccess-mcp/openaccess-mcp/scenarios"
)

// impliedP99 is the p99 that a schedule implies when a host stops for a time, again and again, and answers at once otherwise: whoever
// arrives during a stall waits for its end. phase is how long after an arrival a stall begins.
func impliedP99(rate float64, every, stall, phase time.Duration) time.Duration {
	gap := time.Duration(float64(time.Second) / rate)
	var waits []time.Duration
	for at := time.Duration(0); at < every; at += gap {
		waits = append(waits, 0)
		if at >= phase && at < phase+stall {
			waits[len(waits)-1] = phase + stall - at
		}
	}
	slices.Sort(waits)
	return waits[(len(waits)*99+99)/100-1]
}

func TestProofImpliedP99(t *testing.T) {
	for phase, want := range map[time.Duration]time.Duration{0: 900 * time.Millisecond, time.Nanosecond: 895*time.Millisecond + 1, 4 * time.Second: 900 * time.Millisecond} {
		if got := impliedP99(200, 10*time.Second, time.Second, phase); got != want {
			t.Errorf("a stall %v after an arrival: %v, want %v", phase, got, want)
		}
	}
}

// TestProofStall runs the example of docs/coordinated-omission.md: of a host that stalls, the open executor's latency tells what the schedule
// implies, and the closed executor's service time next to nothing.
func TestProofStall(t *testing.T) {
	p, err := scenarios.Load("stall")
	if err != nil {
		t.Fatal(err)
	}
	f, err := faultsOf(p)
	if err != nil {
		t.Fatal(err)
	}
	stall := f.faults.Network.Stall
	if p.Executor.Duration%stall.Every != 0 {
		t.Fatalf("%v do not hold stalls every %v evenly", p.Executor.Duration, stall.Every)
	}
	args, codes := []string{"stall"}, []int{exitHeld}
	if !whole() { // one stall, and room for the machine's other work in the thresholds, which are the claim
		args, codes = append(args, "--duration", stall.Every.String()), append(codes, exitMissed)
	}
	d, u := measureTo(t, codes, args...)
	open, closed := partOf(t, d, "open"), partOf(t, d, "closed")
	rate := p.Mix[0].Executor.Rate
	high, low := impliedP99(rate, stall.Every, stall.For, 0), impliedP99(rate, stall.Every, stall.For, time.Nanosecond)
	got, hidden, longest := time.Duration(*open.Latency.P99), time.Duration(*closed.Service.P99), time.Duration(*closed.Service.Max)
	within := slack(0.05, 0.15)
	if float64(got) < float64(low)*(1-within) || float64(got) > float64(high)*(1+within) {
		t.Errorf("the open executor's latency p99 is %v, and the schedule implies %v to %v", got, low, high)
	}
	if hidden > stall.For/10 || longest < stall.For*9/10 {
		t.Errorf("the closed executor's service time is %v at p99 and %v at most: it does not hide the stalls", hidden, longest)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "A host that lets nothing through for %v in every %v, under %.0f commands a second.\n\n", stall.For, stall.Every, rate)
	fmt.Fprintf(&text, "latency p99 that the schedule implies       %v to %v, by where a stall falls between two arrivals\n", rounded(low), rounded(high))
	fmt.Fprintf(&text, "latency p99 of the open executor            %v (%+.1f %%)\n", rounded(got), 100*(float64(got)/float64(high)-1))
	fmt.Fprintf(&text, "service time p99 of the closed executor     %v\n", rounded(hidden))
	fmt.Fprintf(&text, "longest service time of the closed executor %v\n\n", rounded(longest))
	report, _, _ := strings.Cut(string(u.stdout), "\n\nserver ")
	fmt.Fprintf(&text, "$ loadgen run %s\n%s\n", strings.Join(args, " "), report)
	keep(t, "stall.txt", text.String())
}

func partOf(t *testing.T, d *result.Doc, part string) *result.Scenario {
	t.Helper()
	for i := range d.Scenarios {
		if d.Scenarios[i].Part == part {
			return &d.Scenarios[i]
		}
	}
	t.Fatalf("no part %s in the result", part)
	return nil
}
