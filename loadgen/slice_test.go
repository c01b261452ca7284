package loadgen

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// armCall is a call that an arm's server got.
type armCall struct {
	arm  string
	at   time.Duration // since the first call of any arm
	text string        // the call's argument
}

// measureArms runs a plan whose arms a, b and so on take 10, 20 and so on milliseconds a call.
func measureArms(t *testing.T, ctx context.Context, p *Plan) (*Result, []armCall) {
	t.Helper()
	p.Steps[0].Args = map[string]any{"text": "${iteration} ${remote_dir}"}
	var mu sync.Mutex
	var calls []armCall
	var begin time.Time
	busy := map[string]int{}
	var drivers []*fakeDriver
	open := func(ctx context.Context, arm Arm) (Driver, error) {
		answer := takes(time.Duration(arm.Name[0]-'a'+1) * 10 * time.Millisecond)
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			mu.Lock()
			if begin.IsZero() {
				begin = time.Now()
			}
			text, _ := c.Args["text"].(string)
			calls = append(calls, armCall{arm.Name, time.Since(begin), text})
			busy[arm.Name]++
			if len(busy) > 1 {
				t.Errorf("arms %v are loaded at once", busy)
			}
			mu.Unlock()
			defer func() {
				mu.Lock()
				if busy[arm.Name]--; busy[arm.Name] == 0 {
					delete(busy, arm.Name)
				}
				mu.Unlock()
			}()
			return answer(ctx, c)
		}}
		drivers = append(drivers, d)
		return d.opener(ctx, arm)
	}
	res, err := Run(ctx, p, open, Options{pacer: timerPacer, RemoteDir: "/tmp/x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range drivers {
		if d.open.Load() != 0 {
			t.Error("a driver or session is still open")
		}
	}
	return res, calls
}

func TestArmsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(100, 9*time.Second)
		p.Seed, p.Executor.Arrivals, p.Executor.Warmup = 3, Poisson, time.Second
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}, {Name: "c"}}
		res, calls := measureArms(t, t.Context(), p)
		due := taken(p.Executor.schedule(time.Second, p.Seed, arrivalStream), 10*time.Second)
		turns, shift, next := "", map[string]time.Duration{}, map[string]int{}
		for _, c := range calls {
			n := next[c.arm]
			if want := fmt.Sprintf("%d /tmp/x-%d", n, c.arm[0]-'a'+1); c.text != want {
				t.Fatalf("arm %s got %s, want %s", c.arm, c.text, want)
			}
			if off := c.at - due[n]; n == 0 || off != shift[c.arm] { // its clock stood still since its last turn
				turns, shift[c.arm] = turns+c.arm, off
			}
			next[c.arm]++
		}
		if len(turns) != 15 || next["a"] != len(due) || next["b"] != len(due) || next["c"] != len(due) {
			t.Fatalf("turns %s, want five rounds of three; arrivals %v, want %d", turns, next, len(due))
		}
		for i := 0; i+3 <= len(turns); i += 3 {
			round := []byte(turns[i : i+3])
			if slices.Sort(round); string(round) != "abc" {
				t.Errorf("turns %s: each arm has one in a round", turns)
			}
		}
		if turns[:3] == turns[3:6] && turns[3:6] == turns[6:9] && turns[6:9] == turns[9:12] {
			t.Errorf("turns %s always have the same order", turns)
		}
		if len(res.Cells) != 3 || res.Cells[0].Arm != "a" || res.Cells[2].Arm != "c" {
			t.Fatalf("cells %+v", res.Cells)
		}
		for i, c := range res.Cells {
			// The first slice needs no lead, since the warm-up is in front of it; the last is one second long.
			if want := 9*time.Second - 3*200*time.Millisecond - 100*time.Millisecond; c.Measured != want {
				t.Errorf("arm %s measured %v, want %v", c.Arm, c.Measured, want)
			}
			if c.Requests != res.Cells[0].Requests || !about(c.Latency.Max(), time.Duration(i+1)*10*time.Millisecond) || c.errorCount() > 0 {
				t.Errorf("arm %s: %d requests, %v, errors %v", c.Arm, c.Requests, c.Latency.Max(), c.Errors)
			}
			if math.Abs(c.OfferedRate-float64(c.Requests)/c.Measured.Seconds()) > 1e-9 {
				t.Errorf("arm %s: offered %v for %d requests in %v", c.Arm, c.OfferedRate, c.Requests, c.Measured)
			}
			total := int64(0)
			for _, w := range c.Windows {
				total += w.Requests
			}
			if total != c.Requests || time.Duration(len(c.Windows)) != 9 {
				t.Errorf("arm %s: %d windows hold %d of %d requests", c.Arm, len(c.Windows), total, c.Requests)
			}
		}
		if !res.Generator.Valid {
			t.Errorf("generator %+v", res.Generator)
		}
	})
}

func TestRatios(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, 4*time.Second)
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
		res, _ := measureArms(t, t.Context(), p)
		want := map[string]float64{"p50": 2, "p95": 2, "p99": 2, "rate": 0.5}
		if len(res.Ratios) != len(want) {
			t.Fatalf("ratios %+v", res.Ratios)
		}
		for _, r := range res.Ratios {
			if r.Step != "exec" || r.Arm != "b" || r.Base != "a" || math.Abs(r.Ratio-want[r.Statistic]) > 0.01 {
				t.Errorf("%+v, want %v", r, want[r.Statistic])
			}
		}
	})
}

func TestInterruptedArms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after, cells := range map[time.Duration]int{time.Second: 1, 3 * time.Second: 2} {
			ctx, cancel := context.WithTimeout(t.Context(), after+5*time.Millisecond)
			p := openPlan(100, time.Hour)
			p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
			res, _ := measureArms(t, ctx, p)
			cancel()
			measured := time.Duration(0)
			for _, c := range res.Cells {
				measured += c.Measured
			}
			if !res.Interrupted || len(res.Cells) != cells || measured > after || measured < after-500*time.Millisecond {
				t.Errorf("after %v: interrupted %v, %d cells, %v measured", after, res.Interrupted, len(res.Cells), measured)
			}
		}
	})
}

func TestArmsThatCountTheirIterations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(2, 0)
		p.Executor.Iterations, p.Slice = 500, time.Second
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
		res, _ := measureArms(t, t.Context(), p)
		for _, c := range res.Cells {
			if c.Requests != 500 {
				t.Errorf("arm %s: %d requests, want 500", c.Arm, c.Requests)
			}
		}
	})
}
