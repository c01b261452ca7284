package loadgen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Comparison wants a metric of the plan's first arm to be no worse than what other arms show. Durations of several arms add up, and so do
// rates in their way: the bound is that of who does the work of one arm after the work of the other, 1/(1/a + 1/b). It is judged for each
// step, and stands among the thresholds of the result. Too little measured on either side misses it.
type Comparison struct {
	Metric string        // "rate", or a duration such as "p50" or "service.p95"
	Arms   []string      // whose figures make the bound, at least one and not the first of the plan
	Times  float64       // the bound is multiplied by it; 0 means 1
	Plus   time.Duration // added to a bound on a duration
}

// factor is Times with its default.
func (c Comparison) factor() float64 {
	if c.Times == 0 {
		return 1
	}
	return c.Times
}

// String writes the comparison out, such as p50<=p50(raw)+p50(noop)+60µs or rate>=0.85/(1/rate(raw)+1/rate(noop)).
func (c Comparison) String() string {
	terms := make([]string, len(c.Arms))
	for i, arm := range c.Arms {
		terms[i] = fmt.Sprintf("%s(%s)", c.Metric, arm)
	}
	times := ""
	if f := c.factor(); f != 1 {
		times = strconv.FormatFloat(f, 'g', -1, 64) + "×"
	}
	if c.Metric == "rate" {
		if len(terms) == 1 {
			return "rate>=" + times + terms[0]
		}
		return fmt.Sprintf("rate>=%g/(1/%s)", c.factor(), strings.Join(terms, "+1/"))
	}
	bound := times + strings.Join(terms, "+")
	if times != "" && len(terms) > 1 {
		bound = times + "(" + strings.Join(terms, "+") + ")"
	}
	if c.Plus > 0 {
		bound += "+" + formatDuration(c.Plus)
	}
	return c.Metric + "<=" + bound
}

// bound is what the figures of the other arms admit.
func (c Comparison) bound(others []float64) float64 {
	sum := 0.0
	for _, v := range others {
		if c.Metric == "rate" {
			v = 1 / v
		}
		sum += v
	}
	if c.Metric == "rate" {
		return c.factor() / sum
	}
	return c.factor()*sum + float64(c.Plus)
}

// judge compares the figure of a cell with those of the same step in the other arms.
func (c Comparison) judge(cell *Cell, all []Cell) ThresholdResult {
	r := ThresholdResult{Expr: c.String(), Step: cell.Step, Part: cell.Part, Value: "no data"}
	t := Threshold{Metric: c.Metric}
	value, ok := t.measure(figures{cell: cell})
	var others []float64
	for _, arm := range c.Arms {
		at := slices.IndexFunc(all, func(o Cell) bool { return o.Arm == arm && o.Part == cell.Part && o.Step == cell.Step })
		if at < 0 {
			return r
		}
		other, known := t.measure(figures{cell: &all[at]})
		ok = ok && known && other > 0
		others = append(others, other)
	}
	if !ok {
		return r
	}
	u, bound := metricUnit(c.Metric), c.bound(others)
	r.OK = compare(value, "<=", bound)
	if c.Metric == "rate" {
		r.OK = compare(value, ">=", bound)
	}
	r.Value = fmt.Sprintf("%s, bound %s", formatMeasured(u, value), formatMeasured(u, bound))
	return r
}

// judgeComparisons judges each comparison on every cell of the first arm.
func judgeComparisons(cs []Comparison, first string, cells []Cell) []ThresholdResult {
	var out []ThresholdResult
	for _, c := range cs {
		before := len(out)
		for i := range cells {
			if cells[i].Arm == first {
				out = append(out, c.judge(&cells[i], cells))
			}
		}
		if len(out) == before {
			out = append(out, ThresholdResult{Expr: c.String(), Value: "no data"})
		}
	}
	return out
}

// comparisons finds what is wrong with them.
func (c *planCompiler) comparisons(p *Plan) {
	for i, x := range p.Compare {
		path := fmt.Sprintf("compare[%d]", i)
		m, _ := findMetric(x.Metric)
		if x.Metric != "rate" && m.durations == nil {
			c.add(path+".metric", fmt.Sprintf("%q is no rate and no duration", x.Metric), "use rate, or a duration such as p50 or service.p95")
		}
		if len(x.Arms) == 0 {
			c.add(path+".arms", "it compares with no arm", "name at least one")
		}
		for j, arm := range x.Arms {
			at := slices.IndexFunc(p.Arms, func(a Arm) bool { return a.Name == arm })
			if at <= 0 {
				c.add(fmt.Sprintf("%s.arms[%d]", path, j), fmt.Sprintf("%q is none of the arms that the first can be compared with", arm), "name another arm of the plan")
			}
		}
		if !(x.Times >= 0) || x.Times > 1e6 {
			c.add(path+".times", fmt.Sprintf("%v cannot be a factor", x.Times), "use a number above 0, or leave it out")
		}
		if x.Plus < 0 || x.Plus > 0 && x.Metric == "rate" {
			c.add(path+".plus", fmt.Sprintf("%v cannot be added to a bound on %s", x.Plus, x.Metric), "use a duration with a metric that is one, or leave it out")
		}
	}
}

// ComparesMissing reports whether the comparison cannot be judged with these arms, since the plan's own first arm, or one that it names, is not
// among them.
func (c Comparison) ComparesMissing(first string, arms []Arm) bool {
	if len(arms) == 0 || arms[0].Name != first {
		return true
	}
	return slices.ContainsFunc(c.Arms, func(name string) bool {
		return !slices.ContainsFunc(arms, func(a Arm) bool { return a.Name == name })
	})
}
