package loadgen

import (
	"strings"
	"testing"
	"time"
)

func TestHealthJudges(t *testing.T) {
	for name, c := range map[string]struct {
		change func(h *health)
		want   string // part of the only reason; empty for none
	}{
		"healthy":          {func(*health) {}, ""},
		"late":             {func(h *health) { h.lateness.Record(time.Second) }, "late at p99, more than 10ms"},
		"late, allowed":    {func(h *health) { h.bound = 2 * time.Second; h.lateness.Record(time.Second) }, ""},
		"not issued":       {func(h *health) { h.issued = 98 }, "only 98.0 % of the arrivals were issued in time"},
		"waits":            {func(h *health) { h.probe.wait = 1100 * time.Millisecond }, "it waited for a CPU 11 % of the time, more than 10 %"},
		"waits a little":   {func(h *health) { h.probe.wait = 900 * time.Millisecond }, ""},
		"throttled":        {func(h *health) { h.probe.wait, h.load.throttled = 6*time.Second, 7*time.Second }, "60 % of the time, more than 10 %, held back by its cgroup's CPU quota for 7s"},
		"closed, waits":    {func(h *health) { h.due, h.issued, h.probe.wait = 0, 0, 4*time.Second }, ""},
		"closed, starved":  {func(h *health) { h.due, h.issued, h.probe.wait = 0, 0, 6*time.Second }, "it waited for a CPU 60 % of the time, more than 50 %"},
		"stopped":          {func(h *health) { h.probe.woke(3 * time.Second) }, "it did not run at all for 30 % of the time, more than 25 %, once for 3s"},
		"stopped a little": {func(h *health) { h.probe.woke(2 * time.Second) }, ""},
		"woken late":       {func(h *health) { h.probe.woke(minStall - 1) }, ""},
	} {
		h := &health{bound: MaxLatenessP99, due: 100, issued: 100, load: machineTime{elapsed: 10 * time.Second}}
		for range 98 {
			h.lateness.Record(time.Millisecond)
		}
		h.lateness.Record(time.Millisecond)
		c.change(h)
		if strings.HasPrefix(name, "late") {
			h.lateness.Record(time.Second)
		}
		g := h.report()
		if g.Valid != (c.want == "") || !g.Valid && (len(g.Why) != 1 || !strings.Contains(g.Why[0], c.want)) {
			t.Errorf("%s: valid %v, %q, want %q", name, g.Valid, g.Why, c.want)
		}
	}
}

func TestHealthCountsPerCall(t *testing.T) {
	h := &health{bound: MaxLatenessP99, calls: 1000, load: machineTime{elapsed: time.Second, cpu: 250 * time.Millisecond}}
	if g := h.report(); g.CPUPerCall != 250*time.Microsecond {
		t.Errorf("%v per call", g.CPUPerCall)
	}
}

// TestProbe runs in the kernel's own time, as a run does.
func TestProbe(t *testing.T) {
	kernelTime = true
	defer func() { kernelTime = false }()
	h := startHealth(&Plan{})
	end := h.underLoad()
	time.Sleep(3 * probeInterval)
	end()
	if h.load.elapsed < probeInterval || h.probe.wait < 0 {
		t.Errorf("under load for %v, waited %v", h.load.elapsed, h.probe.wait)
	}
}
