package loadgen

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// judged runs samples through the window of a threshold over a measured time.
func judged(t *testing.T, expr string, length time.Duration, samples []Sample, drops ...time.Duration) windowVerdict {
	t.Helper()
	th, err := ParseThreshold(expr)
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch([]Threshold{th}, []cellName{{step: "exec"}})
	for i := range samples {
		w.add(0, &samples[i], samples[i].End)
	}
	for _, at := range drops {
		w.drop(0, at)
	}
	w.reach(length)
	return w.outcome()[0]
}

// steady gives ten calls a second that take d, from a second up to another.
func steady(from, to int, d time.Duration) []Sample {
	var out []Sample
	for i := from * 10; i < to*10; i++ {
		end := time.Duration(i)*100*time.Millisecond + 50*time.Millisecond
		out = append(out, Sample{Intended: end - d, Start: end - d, End: end, Bytes: 1024})
	}
	return out
}

func TestWorstWindowDecides(t *testing.T) {
	slow := slices.Concat(steady(0, 8, 10*time.Millisecond), steady(8, 11, 30*time.Millisecond), steady(11, 20, 10*time.Millisecond))
	failing := slices.Clone(slow)
	for i := 60; i < 70; i++ {
		failing[i].Outcome = []string{"TIMEOUT", "LIMIT_EXCEEDED"}[i%2]
	}
	for _, tt := range []struct {
		expr    string
		samples []Sample
		value   string
		ok      bool
	}{
		{"p50<20ms over 3s", slow, "about 29.696ms from 8s to 11s", false},
		{"p50<=30ms over 3s", slow, "30ms from 7s to 10s", true},
		{"p50<20ms over 10s", slow, "", true},
		{"max<20ms over 1s", slow, "30ms from 8s to 9s", false},
		{"mean<25ms over 3s", slow, "30ms from 8s to 11s", false},
		{"mean<25ms over 6s", slow, "20ms from 5s to 11s", true},
		{"service.max<40ms over 5s", slow, "30ms from 4s to 9s", true},
		{"p90<1h over 1s", slow, "", true},
		{"p99<1h over 1s", slow, "no data", false},
		{"failed.max<1h over 1s", slow, "no data", false},
		{"rate>=10 over 5s", slow, "10.0 from 0s to 5s", true},
		{"rate>=11 over 5s", slow, "10.0 from 0s to 5s", false},
		{"rate>=6 over 2s", failing, "5.0 from 5s to 7s", false},
		{"bytes_rate>=9KiB over 5s", slow, "10.0KiB/s from 0s to 5s", true},
		{"error_rate<60% over 2s", failing, "50% from 5s to 7s", true},
		{"error_rate<60% over 1s", failing, "100% from 6s to 7s", false},
		{"errors.TIMEOUT<=5 over 10s", failing, "5 from 0s to 10s", true},
		{"errors.TIMEOUT<5 over 10s", failing, "5 from 0s to 10s", false},
		{"failed.max<1h over 1s", failing, "10ms from 6s to 7s", true},
		{"dropped==0 over 1s", slow, "2 from 19s to 20s", false},
		{"dropped<3 over 20s", slow, "2 from 0s to 20s", true},
		{"dropped<3 over 21s", slow, "no data", false},
	} {
		v := judged(t, tt.expr, 20*time.Second, slices.Clone(tt.samples), 19500*time.Millisecond, 19600*time.Millisecond)
		th, _ := ParseThreshold(tt.expr)
		r := v.result(th)
		if r.OK != tt.ok || tt.value != "" && r.Value != tt.value {
			t.Errorf("%s: %q %v, want %q %v", tt.expr, r.Value, r.OK, tt.value, tt.ok)
		}
	}
}

// TestWindowedPercentileIsExact compares verdicts with those of the sorted samples of every window.
func TestWindowedPercentileIsExact(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var samples []Sample
	for at := time.Duration(0); at < 12*time.Second; at += 5 * time.Millisecond {
		samples = append(samples, Sample{Start: at, End: at, Intended: at - time.Duration(chance.ExpFloat64()*float64(20*time.Millisecond))})
	}
	for _, metric := range []string{"p50", "p90", "p99"} {
		q, _ := parseQuantile(metric)
		worst := time.Duration(0)
		for first := range 9 {
			var all []time.Duration
			for _, s := range samples {
				if s.End >= time.Duration(first)*time.Second && s.End < time.Duration(first+4)*time.Second {
					all = append(all, s.End-s.Intended)
				}
			}
			slices.Sort(all)
			worst = max(worst, all[int(math.Ceil(q*float64(len(all))))-1])
		}
		for _, tt := range []struct {
			limit time.Duration
			op    string
			ok    bool
		}{{worst, "<", false}, {worst + 1, "<", true}, {worst, "<=", true}, {worst - 1, "<=", false}, {worst * 2, ">", false}} {
			th := Threshold{Metric: metric, Op: tt.op, Value: float64(tt.limit), Window: 4 * time.Second}
			if v := judged(t, th.String(), 12*time.Second, slices.Clone(samples)); v.ok != tt.ok || !compare(v.value, tt.op, th.Value) == v.ok {
				t.Errorf("%s: ok %v with %v, want %v: the worst is %v", th, v.ok, v.value, tt.ok, worst)
			}
		}
	}
}

func TestCallsThatEndAfterTheMeasuredTimeCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(10, 4*time.Second)
		p.Thresholds = []Threshold{{Metric: "max", Op: "<", Value: 1e9, Window: 2 * time.Second}}
		begin := time.Now()
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) {
			if at := time.Since(begin); at > 3*time.Second {
				time.Sleep(6*time.Second - at)
			}
			return Reply{}, nil
		}}
		res := run(t, t.Context(), p, d, Options{})
		if got := res.Thresholds; len(got) != 1 || got[0].OK || got[0].Value != "2.9s from 2s to 4s" || got[0].Start != 2*time.Second {
			t.Errorf("thresholds %+v", got)
		}
	})
}

func TestThresholdEndsTheRun(t *testing.T) {
	for _, tt := range []struct {
		name     string
		th       Threshold
		measured time.Duration // in which the run has to end, 0 for its whole time
		why      string
	}{
		{"whole", Threshold{Metric: "error_rate", Op: "<", Value: 30}, 2500 * time.Millisecond, "threshold error_rate<30% was missed by exec: "},
		{"whole, later", Threshold{Metric: "error_rate", Op: "<", Value: 30, After: 5 * time.Second}, 5500 * time.Millisecond, "was missed by exec"},
		{"window", Threshold{Metric: "errors.BUSY", Op: "==", Value: 0, Window: 2 * time.Second}, 3 * time.Second, "threshold errors.BUSY==0 over 2s was missed by exec: "},
		{"window, later", Threshold{Metric: "errors.BUSY", Op: "==", Value: 0, Window: 2 * time.Second, After: 4 * time.Second}, 6500 * time.Millisecond, "from 4s to 6s"},
		{"nothing ends", Threshold{Metric: "rate", Op: ">", Value: 1, Window: time.Second, After: 20 * time.Second}, 21500 * time.Millisecond, "rate>1 over 1s was missed by exec: 0.0 from 20s to 21s"},
		{"held", Threshold{Metric: "errors.OTHER", Op: "==", Value: 0, Window: time.Second}, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tt.th.Abort = true
				p := closedPlan(1, 30*time.Second)
				p.Executor.Warmup = 2 * time.Second
				p.Thresholds = []Threshold{tt.th}
				begin := time.Now()
				d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
					at := time.Since(begin)
					if at >= 22*time.Second && at < 25*time.Second {
						return takes(3*time.Second)(ctx, c)
					}
					time.Sleep(10 * time.Millisecond)
					if at > 3*time.Second {
						return Reply{Code: "BUSY"}, nil
					}
					return Reply{}, nil
				}}
				res := run(t, t.Context(), p, d, Options{})
				if tt.measured == 0 {
					if res.Aborted != "" || !res.Thresholds[0].OK || len(res.Cells) != 1 {
						t.Errorf("ended by %q, thresholds %+v, %d cells", res.Aborted, res.Thresholds, len(res.Cells))
					}
					return
				}
				if res.Interrupted || !strings.Contains(res.Aborted, tt.why) || len(res.Cells) != 1 || len(res.Thresholds) != 1 {
					t.Fatalf("interrupted %v, ended by %q, %d cells", res.Interrupted, res.Aborted, len(res.Cells))
				}
				if th := res.Thresholds[0]; th.OK || !th.Aborted {
					t.Errorf("threshold %+v", th)
				}
				if got := res.Cells[0].Measured; got > tt.measured || got < tt.th.After {
					t.Errorf("ended after %v, want by %v", got, tt.measured)
				}
			})
		})
	}
}

// TestThresholdOnAPart judges a step of one part of a mix, whole and over windows.
func TestThresholdOnAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, 4*time.Second)
		p.Steps = nil
		p.Mix = []Part{
			{Name: "a", Weight: 1, Steps: []Step{{Name: "exec", Tool: "quick"}}}, {Name: "b", Weight: 1, Steps: []Step{{Name: "exec", Tool: "slow"}}},
		}
		for _, expr := range []string{"b.exec:max<1s", "b.exec:max<1s over 2s", "a:max<20ms over 2s", "exec:error_rate<1%"} {
			th, err := ParseThreshold(expr)
			if err != nil {
				t.Fatal(err)
			}
			p.Thresholds = append(p.Thresholds, th)
		}
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			time.Sleep(map[string]time.Duration{"quick": 10 * time.Millisecond, "slow": 30 * time.Millisecond}[c.Tool])
			return Reply{}, nil
		}}
		var got []string
		for _, r := range run(t, t.Context(), p, d, Options{}).Thresholds {
			if !r.OK {
				t.Errorf("%+v", r)
			}
			got = append(got, r.Part+" "+r.Expr)
		}
		want := "b b.exec:max<1s, b b.exec:max<1s over 2s, a a:max<20ms over 2s, a exec:error_rate<1%, b exec:error_rate<1%"
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("judged %s, want %s", text, want)
		}
	})
}
