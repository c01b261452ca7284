package loadgen

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// minSlice bounds Plan.Slice from below.
const minSlice = 100 * time.Millisecond

// maxLead bounds the part of a slice that is not measured, in which the server gets used to the load again: a tenth of the slice, if less.
const maxLead = 200 * time.Millisecond

// next is the arm's next turn: all of its time, or where arms alternate a slice of it, of which the first has the warm-up in front.
func (x *execution) next(alternate bool, slice time.Duration) turn {
	t := turn{from: x.turn.to, to: x.end}
	if !alternate {
		t.measure = x.begin
		return t
	}
	begin := max(t.from, x.begin)
	if x.end-begin > slice {
		t.to = begin + slice
	}
	t.measure = max(begin, t.from+min(maxLead, (t.to-begin)/10))
	return t
}

// alternate runs the arms' turns until all are finished or ctx ends. In each round every arm has one turn; the order is drawn from the seed.
func (r *runner) alternate(ctx context.Context, arms []*execution) (interrupted bool) {
	slice := r.plan.Slice
	if slice == 0 {
		slice = DefaultSlice
	}
	alternate := len(arms) > 1 && !r.prog.occupies()
	order := make([]int, len(arms))
	for i := range order {
		order[i] = i
	}
	chance := rand.New(rand.NewPCG(r.plan.Seed, orderStream))
	for running, first := true, true; running; first = false {
		running = false
		switch {
		case !r.plan.mirrored:
			chance.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		case !first:
			slices.Reverse(order)
		}
		for _, i := range order {
			x := arms[i]
			if x.finished() {
				continue
			}
			running = true
			r.progress.arm(i, x.arm.Name)
			x.start(x.next(alternate, slice))
			guarded, release := x.guard(ctx)
			ended := x.run(guarded)
			release()
			r.progress.phase(PhaseDrain)
			if ended {
				return ctx.Err() != nil
			}
		}
	}
	return false
}

// occupies reports whether the plan holds something, which is not let go for a slice of another arm.
func (prog *program) occupies() bool {
	for i := range prog.loads {
		if prog.loads[i].exec.Kind == Occupancy {
			return true
		}
	}
	return false
}

// ratios compares the cells of all arms with those of the base.
func ratios(cells []Cell, base string) []Ratio {
	type key struct{ part, step string }
	bases := map[key]*Cell{}
	var out []Ratio
	for i := range cells {
		c := &cells[i]
		if c.Arm == base {
			bases[key{c.Part, c.Step}] = c
		}
	}
	for i := range cells {
		c := &cells[i]
		b := bases[key{c.Part, c.Step}]
		if b == nil || c.Arm == base {
			continue
		}
		add := func(statistic string, value, of float64) {
			if value > 0 && of > 0 {
				out = append(out, Ratio{Step: c.Step, Part: c.Part, Arm: c.Arm, Base: base, Statistic: statistic, Ratio: value / of})
			}
		}
		for _, statistic := range []string{"p50", "p95", "p99"} {
			add(statistic, percentile(c.Latency, statistic), percentile(b.Latency, statistic))
		}
		add("rate", c.AchievedRate, b.AchievedRate)
	}
	return out
}

// percentile is 0 where too little was measured.
func percentile(h *stats.Histogram, statistic string) float64 {
	q, _ := parseQuantile(statistic)
	v, _ := h.Percentile(q)
	return float64(v)
}
