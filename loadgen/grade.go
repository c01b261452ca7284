package loadgen

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// defaultStatistic grades a Target that names none.
const defaultStatistic = "p95"

// maxErrorShare is the share of failed calls beyond which a row is poor however fast the rest was.
const maxErrorShare = 0.01

// gradeTarget grades the cells of one arm: the judged step in the worst band decides, and of those in the same band the slowest.
func gradeTarget(t *Target, cells []Cell) *Grade {
	if t == nil {
		return nil
	}
	statistic := cmp.Or(t.Statistic, defaultStatistic)
	worst := &Grade{Statistic: statistic, Band: BandNoData, Why: "no step was measured"}
	first := true
	for i := range cells {
		if len(t.Steps) > 0 && !slices.Contains(t.Steps, cells[i].Step) {
			continue
		}
		if g := gradeCell(t, statistic, &cells[i]); first || worse(g, worst) {
			worst, first = g, false
		}
	}
	return worst
}

// severity orders bands for picking the step that decides. A step without data outweighs a fast one, never a poor one.
var severity = map[Band]int{BandTarget: 0, BandAcceptable: 1, BandNoData: 2, BandPoor: 3}

func worse(a, b *Grade) bool {
	return cmp.Or(cmp.Compare(severity[a.Band], severity[b.Band]), cmp.Compare(a.Value, b.Value)) > 0
}

func gradeCell(t *Target, statistic string, c *Cell) *Grade {
	q, _ := parseQuantile(statistic)
	g := &Grade{Statistic: statistic, Step: c.Step}
	var enough bool
	g.Value, enough = c.Latency.Percentile(q)
	failed, shown := c.errorCount(), formatMeasured(unitDuration, float64(g.Value))
	switch {
	case c.Dropped > 0:
		g.Band, g.Why = BandPoor, fmt.Sprintf("%d arrivals were dropped", c.Dropped)
	case c.Requests > 0 && float64(failed) > maxErrorShare*float64(c.Requests):
		g.Band, g.Why = BandPoor, fmt.Sprintf("%d of %d calls failed, more than 1 %%", failed, c.Requests)
	case c.Latency.Count() == 0:
		g.Band, g.Why = BandNoData, "no call was measured"
	case !enough:
		g.Band, g.Why = BandNoData, fmt.Sprintf("%s needs %d samples, there are %d", statistic, stats.MinSamples(q), c.Latency.Count())
	case g.Value < t.Target:
		g.Band, g.Why = BandTarget, fmt.Sprintf("%s of %s is below the target of %s", statistic, shown, formatDuration(t.Target))
	case g.Value <= t.Acceptable:
		g.Band, g.Why = BandAcceptable, fmt.Sprintf("%s of %s is within the acceptable %s", statistic, shown, formatDuration(t.Acceptable))
	default:
		g.Band, g.Why = BandPoor, fmt.Sprintf("%s of %s is beyond the acceptable %s", statistic, shown, formatDuration(t.Acceptable))
	}
	return g
}
