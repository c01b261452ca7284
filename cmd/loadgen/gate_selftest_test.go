package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// answering is a driver whose calls take d.
type answering struct {
	loadgen.Driver
	d time.Duration
}

func (a answering) Open(context.Context) (loadgen.Session, error) {
	return answeringSession{d: a.d}, nil
}

type answeringSession struct {
	loadgen.Session
	d time.Duration
}

func (s answeringSession) Call(ctx context.Context, _ loadgen.Call) (loadgen.Reply, error) {
	if s.d < 0 {
		return loadgen.Reply{}, errors.New("broken")
	}
	time.Sleep(s.d)
	return loadgen.Reply{Data: map[string]any{"answered": true}}, nil
}

func slowedSessionOf(t *testing.T, d time.Duration, share float64) loadgen.Session {
	t.Helper()
	open := func(context.Context, loadgen.Arm) (loadgen.Driver, error) { return answering{d: d}, nil }
	driver, err := slow(open, slowdown{share: share})(t.Context(), loadgen.Arm{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := driver.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSlowedCallsTakeLonger(t *testing.T) {
	for _, d := range []time.Duration{time.Millisecond, 10 * time.Millisecond} {
		began := time.Now()
		r, err := slowedSessionOf(t, d, 0.5).Call(t.Context(), loadgen.Call{})
		if took := time.Since(began); err != nil || r.Data["answered"] != true || took < d+d/2 {
			t.Errorf("%v: took %v, reply %v, %v", d, took, r, err)
		}
	}
	if _, err := slowedSessionOf(t, -1, 0.5).Call(t.Context(), loadgen.Call{}); err == nil {
		t.Error("an error of the call is lost")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := slowedSessionOf(t, 5*time.Millisecond, 1e6).Call(ctx, loadgen.Call{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that is given up: %v", err)
	}
}

// Of calls whose time is log-normal the slowest twentieth is found, nearly all of the slowest hundredth among it, and anew when the machine is slower.
func TestTailOfCalls(t *testing.T) {
	tail := &tail{share: 0.05, start: map[string]float64{}}
	chance := rand.New(rand.NewPCG(1, 2))
	for _, median := range []time.Duration{time.Millisecond, 3 * time.Millisecond} {
		const calls, learn = 20_000, 2_000
		var n, slowest, missed int
		for i := range calls {
			z := chance.NormFloat64()
			in := tail.has("ssh_exec", time.Duration(float64(median)*math.Exp(z/4)))
			tail.has("sftp_transfer", time.Second) // another tool's times are its own
			if i < learn {
				continue
			}
			if in {
				n++
			}
			if z > 2.326 {
				slowest++
				if !in {
					missed++
				}
			}
		}
		if share := float64(n) / (calls - learn); share < 0.045 || share > 0.055 {
			t.Errorf("median %v: %.1f %% of calls are among the slowest 5 %%", median, 100*share)
		}
		if slowest < 100 || missed > slowest/50 {
			t.Errorf("median %v: %d of the %d slowest calls were missed", median, missed, slowest)
		}
	}
}

func TestNamesOfSlowdowns(t *testing.T) {
	for want, by := range map[string]slowdown{
		"no difference": {}, "calls 5 % slower": {share: 0.05}, "slowest 5 % of calls 10 % slower": {share: 0.1, slowest: 0.05},
	} {
		if got := kindOf(by).name; got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// trials are gates with a verdict each, of one pair in which head is 10 % above base.
func trials(verdicts ...result.GateVerdict) (out []*trial) {
	figures := func(v float64) result.Slice {
		return result.Slice{Figures: []result.Figure{{Scenario: "a", Measure: result.MeasureP50, Value: v, N: 100}}}
	}
	for i, v := range verdicts {
		cell := result.GateCell{Cell: result.Cell{Scenario: "a", Measure: result.MeasureP50}, Verdict: v, Margin: 0.05}
		out = append(out, &trial{elapsed: time.Minute, gate: result.Gate{
			Verdict: v, Used: 10, Cells: []result.GateCell{cell}, Pairs: []result.Pair{{Index: 1, HeadFirst: i%2 == 0, Base: figures(100), Head: figures(110)}},
		}})
	}
	return out
}

func TestSelfTestIsJudged(t *testing.T) {
	const equivalent, regressed, inconclusive = result.GateEquivalent, result.GateRegressed, result.GateInconclusive
	for _, tt := range []struct {
		name         string
		null, slowed []*trial
		code         int
	}{
		{"all as it should be", trials(equivalent, inconclusive), trials(regressed, inconclusive), exitHeld},
		{"one alarm of two is beyond chance", trials(regressed, equivalent), trials(regressed, regressed), exitMissed},
		{"a slowdown that passes", trials(equivalent), trials(equivalent), exitMissed},
		{"nothing found", trials(equivalent), trials(inconclusive), exitInconclusive},
	} {
		err := judgeSelfTest([]*kindOfGate{{name: "null", gates: tt.null}, {injected: slowdown{share: 0.1}, gates: tt.slowed}}, 0.005)
		var exit *exitError
		code := exitHeld
		if errors.As(err, &exit) {
			code = exit.code
		}
		if code != tt.code {
			t.Errorf("%s: exit code %d, %v", tt.name, code, err)
		}
	}
}

func TestSelfTestReport(t *testing.T) {
	var b strings.Builder
	writeSelfTest(&b, []*kindOfGate{{name: "no difference", gates: trials(result.GateEquivalent, result.GateEquivalent, result.GateInconclusive)}})
	for _, want := range []string{"0 of 3, 0.0 % (0.0 to 70.8 %)", "1 of 3, 33.3 % (0.8 to 90.6 %)", "10.0", "1m0s", "a p50", "+9.5 %"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	last := strings.Fields(strings.TrimSpace(b.String())[strings.LastIndex(strings.TrimSpace(b.String()), "\n"):])
	if n := len(last); last[n-2] != "3" || last[n-1] != "1" {
		t.Errorf("head was larger in 3 pairs and the second side in 1, not as in %q", last)
	}
}
