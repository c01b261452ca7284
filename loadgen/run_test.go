package loadgen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	kernelTime = false
	goleak.VerifyTestMain(m)
}

// run measures in virtual time.
func run(t *testing.T, ctx context.Context, p *Plan, d *fakeDriver, opts Options) *Result {
	t.Helper()
	opts.pacer = timerPacer
	res, err := Run(ctx, p, d.opener, opts)
	if err != nil {
		t.Fatal(err)
	}
	if n := d.open.Load(); n != 0 {
		t.Errorf("%d sessions or drivers are still open", n)
	}
	return res
}

func TestOpenLoopCountsFromIntendedStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stall{time.Now(), 2 * time.Second, 2995 * time.Millisecond}
		d := &fakeDriver{answer: s.answer}
		p := openPlan(100, 10*time.Second)
		p.Executor.MaxInFlight = 10 // the stall holds ten, then drops
		c := run(t, t.Context(), p, d, Options{}).Cells[0]
		if c.Requests+c.Dropped != 1000 || c.Dropped != 90 {
			t.Errorf("requests %d, dropped %d, want 910 and 90", c.Requests, c.Dropped)
		}
		if got := c.Latency.Max(); !about(got, 996*time.Millisecond) {
			t.Errorf("longest latency %v, want the whole stall", got)
		}
		if c.Lateness.Max() != 0 || c.OfferedRate != 100 || c.AchievedRate != 91 {
			t.Errorf("lateness %v, offered %v, achieved %v", c.Lateness.Max(), c.OfferedRate, c.AchievedRate)
		}
	})
}

// TestLateGenerator delays the generator itself: latency holds the delay, service time does not, and the run is called invalid.
func TestLateGenerator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := func() (pacer, func()) {
			return func(ctx context.Context, at time.Time) error {
				if time.Since(at) > -10*time.Millisecond {
					return sleepTimer(ctx, at.Add(50*time.Millisecond))
				}
				return sleepTimer(ctx, at)
			}, func() {}
		}
		d := &fakeDriver{answer: takes(time.Millisecond)}
		res, err := Run(t.Context(), openPlan(100, time.Second), d.opener, Options{pacer: late})
		if err != nil {
			t.Fatal(err)
		}
		c := res.Cells[0]
		if c.Requests != 100 || !about(c.Latency.Max(), 51*time.Millisecond) || !about(c.Service.Max(), time.Millisecond) ||
			!about(c.Lateness.Max(), 50*time.Millisecond) {
			t.Errorf("n %d latency %v service %v lateness %v", c.Requests, c.Latency.Max(), c.Service.Max(), c.Lateness.Max())
		}
		if res.Generator.Valid || len(res.Generator.Why) != 2 {
			t.Errorf("generator %+v, want invalid for lateness and unissued arrivals", res.Generator)
		}
	})
}

func TestOpenLoopAccountsForEveryArrival(t *testing.T) {
	for _, rate := range []float64{0.5, 3, 7, 33.3, 1000} {
		synctest.Test(t, func(t *testing.T) {
			p := openPlan(rate, 4*time.Second)
			p.Executor.Warmup = time.Second
			p.Executor.MaxInFlight = 5
			p.Steps = append(p.Steps, Step{Name: "second", Tool: "ssh_exec"})
			d := &fakeDriver{answer: takes(20 * time.Millisecond)}
			res := run(t, t.Context(), p, d, Options{})
			want := arrivals(rate, 5*time.Second) - arrivals(rate, time.Second)
			for _, c := range res.Cells {
				if c.Requests+c.Dropped != want {
					t.Errorf("rate %v step %s: %d sent + %d dropped, want %d", rate, c.Step, c.Requests, c.Dropped, want)
				}
			}
			if !res.Generator.Valid {
				t.Errorf("rate %v: generator %+v", rate, res.Generator)
			}
		})
	}
}

func TestOpenLoopNeverSharesVU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inUse [4]atomic.Bool
		var highest atomic.Int64
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			var vu int64
			fmt.Sscan(c.Args["vu"].(string), &vu)
			if inUse[vu].Swap(true) {
				t.Errorf("vu %d is used twice at the same time", vu)
			}
			highest.Store(max(highest.Load(), vu))
			time.Sleep(15 * time.Millisecond)
			inUse[vu].Store(false)
			return Reply{}, nil
		}}
		p := openPlan(100, time.Second)
		p.Executor.MaxInFlight = 4
		p.Steps[0].Args = map[string]any{"vu": "${vu}"}
		run(t, t.Context(), p, d, Options{})
		if highest.Load() != 1 {
			t.Errorf("highest vu %d, want 1: two calls overlap at most and the lowest free number is taken", highest.Load())
		}
	})
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(4, 10*time.Second)
		p.Executor.Warmup = 2 * time.Second
		d := &fakeDriver{answer: takes(100 * time.Millisecond)}
		c := run(t, t.Context(), p, d, Options{}).Cells[0]
		if c.Requests != 400 || c.AchievedRate != 40 || c.Measured != 10*time.Second || c.OfferedRate != 0 {
			t.Errorf("requests %d, rate %v in %v, offered %v, want 400, 40 in 10 s", c.Requests, c.AchievedRate, c.Measured, c.OfferedRate)
		}
		if d.opened != 4 || len(c.Windows) != 10 || c.Windows[3].Requests != 40 || c.Windows[3].Start != 3*time.Second {
			t.Errorf("%d sessions, %d windows: %+v", d.opened, len(c.Windows), c.Windows[3])
		}
	})
}

func TestClosedIterations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(3, 0)
		p.Executor.Iterations = 10
		p.Executor.Warmup = time.Second
		p.Steps[0].Args = map[string]any{"n": "${iteration}", "p": "${profile}"}
		d := &fakeDriver{answer: takes(100 * time.Millisecond)}
		c := run(t, t.Context(), p, d, Options{Profiles: []string{"a", "b"}}).Cells[0]
		if c.Requests != 10 || c.Measured != 400*time.Millisecond || c.AchievedRate != 25 {
			t.Errorf("requests %d in %v at %v, want 10 in 400 ms at 25", c.Requests, c.Measured, c.AchievedRate)
		}
		seen := map[any]bool{}
		for _, args := range d.called("ssh_exec") {
			if seen[args["n"]] {
				t.Errorf("iteration %v occurs twice", args["n"])
			}
			seen[args["n"]] = true
			var n int
			fmt.Sscan(args["n"].(string), &n)
			if want := []string{"a", "b"}[n%2]; args["p"] != want {
				t.Errorf("iteration %d uses profile %v, want %s", n, args["p"], want)
			}
		}
	})
}

func TestInterrupt(t *testing.T) {
	for name, p := range map[string]*Plan{"open": openPlan(10, time.Hour), "closed": closedPlan(1, time.Hour)} {
		for _, callTime := range []time.Duration{100 * time.Millisecond, time.Minute} {
			t.Run(fmt.Sprintf("%s/%v", name, callTime), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 5050*time.Millisecond)
					defer cancel()
					start := time.Now()
					p := *p
					p.Teardown = []Step{{Name: "clean", Tool: "clean"}}
					d := &fakeDriver{answer: takes(callTime)}
					d.answer = func(inner func(context.Context, Call) (Reply, error)) func(context.Context, Call) (Reply, error) {
						return func(ctx context.Context, c Call) (Reply, error) {
							if c.Tool == "clean" {
								return Reply{}, ctx.Err()
							}
							return inner(ctx, c)
						}
					}(d.answer)
					var log strings.Builder
					res := run(t, ctx, &p, d, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
					if log.Len() > 0 {
						t.Errorf("the teardown has no time of its own: %s", &log)
					}
					if !res.Interrupted || len(res.Cells) != 1 {
						t.Fatalf("interrupted %v, %d cells, want one", res.Interrupted, len(res.Cells))
					}
					if took := time.Since(start); took > 5050*time.Millisecond+interruptTimeout {
						t.Errorf("took %v", took)
					}
					if len(d.called("clean")) != 1 {
						t.Error("the teardown did not run")
					}
					c := res.Cells[0]
					want := int64(51)
					if callTime == time.Minute {
						want = 0 // the calls under way are cut off and count nowhere
					}
					if c.Requests != want || len(c.Errors) != 0 || c.Measured != 5050*time.Millisecond {
						t.Errorf("%d requests, errors %v in %v, want %d without errors", c.Requests, c.Errors, c.Measured, want)
					}
					if done := float64(max(0, want-1)) / 5.05; c.AchievedRate != done { // the last call ended after the interrupt
						t.Errorf("rate %v, want %v", c.AchievedRate, done)
					}
				})
			})
		}
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(1, 3*time.Second)
		d := &fakeDriver{answer: takes(10 * time.Second)}
		c := run(t, t.Context(), p, d, Options{}).Cells[0]
		if c.Requests != 3 || len(c.Errors) != 0 || !about(c.Latency.Max(), 10*time.Second) || c.AchievedRate != 0 {
			t.Errorf("slow calls: %d requests, errors %v, latency %v, rate %v", c.Requests, c.Errors, c.Latency.Max(), c.AchievedRate)
		}
		d = &fakeDriver{answer: takes(time.Hour)}
		c = run(t, t.Context(), p, d, Options{}).Cells[0]
		if c.Errors[CodeTimeout] != 3 || !strings.Contains(c.ErrorSamples[CodeTimeout], "ended before") {
			t.Errorf("hung calls: errors %v, %v", c.Errors, c.ErrorSamples)
		}
	})
}

func TestEveryCallFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(2, 2*time.Second)
		p.Target = &Target{Target: time.Second, Acceptable: time.Second}
		p.Thresholds = []Threshold{{Metric: "p95", Op: "<", Value: 1e9}}
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) { return Reply{}, errBroken }}
		res := run(t, t.Context(), p, d, Options{})
		c := res.Cells[0]
		if c.Errors[CodeTransport] != 40 || c.ErrorSamples[CodeTransport] != errBroken.Error() {
			t.Errorf("errors %v, %v, want 40: a broken session is tried ten times a second", c.Errors, c.ErrorSamples)
		}
		if res.Grade.Band != BandPoor || res.Thresholds[0].OK || c.Failed.Count() != 40 || c.Latency.Count() != 0 {
			t.Errorf("grade %+v, threshold %+v", res.Grade, res.Thresholds[0])
		}
	})
}

func TestStepsChecksAndTiming(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, time.Second)
		p.Steps = []Step{
			{Name: "up", Tool: "put", Checks: []Check{{Field: "ok", Op: "==", Value: true}}},
			{Name: "down", Tool: "get"},
		}
		n := 0
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			time.Sleep(50 * time.Millisecond)
			if c.Tool == "get" {
				return Reply{Code: "TIMEOUT", Error: "too slow"}, nil
			}
			n++
			return Reply{Data: map[string]any{"ok": n%4 != 0, "bytes_transferred": 7.0}, Timing: Timing{Queue: time.Millisecond, Reused: true}}, nil
		}}
		res := run(t, t.Context(), p, d, Options{})
		up, down := res.Cells[0], res.Cells[1]
		if up.Errors[CodeCheckFailed] == 0 || up.Requests != down.Requests+up.Errors[CodeCheckFailed] {
			t.Errorf("up %d with errors %v, down %d: a failed step ends its iteration", up.Requests, up.Errors, down.Requests)
		}
		good := up.Latency.Count()
		if up.Bytes != 7*good || up.Reused != good || up.Timing["queue"].Count() != good || down.Timing["queue"].Count() != 0 {
			t.Errorf("bytes %d reused %d timing %d for %d successes", up.Bytes, up.Reused, up.Timing["queue"].Count(), good)
		}
		if got := up.ErrorSamples[CodeCheckFailed]; got != "ok is false, want == true" {
			t.Errorf("message %q", got)
		}
		if down.Errors["TIMEOUT"] != down.Requests || down.ErrorSamples["TIMEOUT"] != "too slow" {
			t.Errorf("down: %v %v", down.Errors, down.ErrorSamples)
		}
	})
}

func TestSetupForEachProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, time.Second)
		p.Setup = []Step{{Name: "mkdir", Tool: "mkdir", Args: map[string]any{"on": "${profile}", "dir": "${remote_dir}"}}, {Name: "once", Tool: "once"}}
		p.Teardown = []Step{{Name: "rm", Tool: "rm", Args: map[string]any{"on": "${profile}"}}}
		d := &fakeDriver{answer: takes(time.Millisecond)}
		run(t, t.Context(), p, d, Options{Profiles: []string{"a", "b"}, RemoteDir: "/tmp/x"})
		if got := fmt.Sprint(d.called("mkdir"), len(d.called("once")), d.called("rm")); got !=
			"[map[dir:/tmp/x on:a] map[dir:/tmp/x on:b]] 1 [map[on:a] map[on:b]]" {
			t.Error(got)
		}
	})
}

func TestRunErrors(t *testing.T) {
	errOpen := errors.New("no server")
	fails := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
		return Reply{Code: "AUTHENTICATION_FAILED", Error: "wrong password"}, nil
	}}
	setup := closedPlan(1, time.Second)
	setup.Setup = []Step{{Name: "mkdir", Tool: "ssh_exec", Args: map[string]any{"profile_id": "${profile}"}}}
	setup.Arms = []Arm{{Name: "pooled"}}
	files := closedPlan(1, time.Second)
	files.Files = []File{{Name: "a", Size: 1}}
	for name, tt := range map[string]struct {
		p    *Plan
		open Opener
		opts Options
		want string
	}{
		"invalid":   {&Plan{}, nil, Options{}, "executor.kind"},
		"opener":    {closedPlan(1, time.Second), func(context.Context, Arm) (Driver, error) { return nil, errOpen }, Options{}, "no server"},
		"setup":     {setup, fails.opener, Options{Profiles: []string{"web"}}, "arm pooled: setup step mkdir (ssh_exec on web): AUTHENTICATION_FAILED: wrong password"},
		"variable":  {setup, fails.opener, Options{}, "set Options.Profiles"},
		"no dir":    {files, fails.opener, Options{}, "set Options.WorkDir"},
		"wrong dir": {files, fails.opener, Options{WorkDir: "/nonexistent"}, "open work directory"},
	} {
		res, err := Run(t.Context(), tt.p, tt.open, tt.opts)
		if err == nil || res != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	_, err := Run(t.Context(), closedPlan(1, time.Second), func(context.Context, Arm) (Driver, error) { return nil, errOpen }, Options{})
	if !errors.Is(err, errOpen) {
		t.Errorf("the opener's error is lost in %v", err)
	}
	if n := fails.open.Load(); n != 0 {
		t.Errorf("%d still open", n)
	}
}

func TestInterruptedBeforeStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &fakeDriver{}
	if res := run(t, ctx, closedPlan(1, time.Second), d, Options{}); !res.Interrupted || len(res.Cells) != 0 {
		t.Errorf("%+v", res)
	}
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(100, 3*time.Second)
		p.Executor.Warmup = time.Second
		var seen []Progress
		d := &fakeDriver{answer: takes(10 * time.Millisecond)}
		run(t, t.Context(), p, d, Options{Progress: func(p Progress) { seen = append(seen, p) }})
		if len(seen) < 15 || len(seen) > 18 {
			t.Fatalf("%d reports in 4 s, want about 16", len(seen))
		}
		if seen[1].Phase != PhaseWarmup || seen[10].Phase != PhaseMeasure || seen[10].Total != 4*time.Second {
			t.Errorf("%+v, %+v", seen[1], seen[10])
		}
		if r := seen[10].Rate; r < 95 || r > 105 {
			t.Errorf("rate %v, want about 100", r)
		}
		last := seen[len(seen)-1]
		if last.Phase != PhaseTeardown || last.Requests != 400 || last.InFlight != 0 || last.P95 == 0 {
			t.Errorf("last %+v", last)
		}
	})
}

func TestFailedCloseIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		d := &fakeDriver{answer: takes(time.Millisecond), closes: func() error { return errBroken }}
		run(t, t.Context(), closedPlan(1, time.Second), d, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !strings.Contains(log.String(), errBroken.Error()) {
			t.Errorf("log %q", log.String())
		}
	})
}

// about allows for the histogram's precision.
func about(got, want time.Duration) bool {
	return got >= want-want/500 && got <= want+want/500
}
