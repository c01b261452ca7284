package reports

import "github.com/openaccess-mcp/openaccess-mcp/reports/result"

// stages are the parts of a call that the server reports, in their order.
var stages = []string{"queue", "dial", "channel", "remote"}

// spent says where the time of a cell's mean call went, in nanoseconds.
type spent struct {
	cell    *result.Scenario
	latency int64
	unsent  int64   // before the call was sent
	stages  []int64 // as the server reports them, in the order of stages
	rest    int64   // elsewhere: the protocol, the server's own work, what the server does not report
}

// spentTimes has a row for each cell whose server reports its stages.
func spentTimes(d *result.Doc) []spent {
	var rows []spent
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		if !s.Ran() || len(s.Timing) == 0 || s.Latency == nil || s.Service == nil || s.Latency.Mean == nil || s.Service.Mean == nil {
			continue
		}
		row := spent{cell: s, latency: *s.Latency.Mean, unsent: *s.Latency.Mean - *s.Service.Mean, rest: *s.Service.Mean}
		for _, stage := range stages {
			v := share(s.Timing[stage], s.Service.N)
			row.rest -= v
			row.stages = append(row.stages, v)
		}
		rows = append(rows, row)
	}
	return rows
}

// partNames heads what parts writes.
func partNames() []string {
	return append(append([]string{"unsent"}, stages...), "rest")
}

func (r *spent) all() []int64 { return append(append([]int64{r.unsent}, r.stages...), r.rest) }

// parts writes the parts of the mean call, in the order of partNames.
func (r *spent) parts() []string {
	var out []string
	for _, v := range r.all() {
		out = append(out, orZero(v))
	}
	return out
}

// share is the mean over n calls of durations that only some of them report.
func share(d *result.Distribution, n int64) int64 {
	if d == nil || d.Mean == nil || n == 0 {
		return 0
	}
	return int64(float64(*d.Mean) * float64(d.N) / float64(n))
}
