package reports

import (
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// serverRow is what a server used under one arm.
type serverRow struct {
	Scenario, Part, Arm                                                                    string
	CPUPerOp, CPU, RSS, Heap, GCPause, Cycles, Goroutines, Threads, FDs, Sockets, NetPerOp string
}

// serverRows has a row for each arm whose server was watched: its steps share it.
func serverRows(d *result.Doc) []serverRow {
	var rows []serverRow
	seen := map[string]bool{}
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		r := s.Server
		key := strings.Join([]string{s.Name, s.Part, s.Arm}, "\n")
		if !s.Ran() || r == nil || seen[key] {
			continue
		}
		seen[key] = true
		rows = append(rows, serverRow{
			Scenario: clean(s.Name), Part: clean(s.Part), Arm: clean(s.Arm),
			CPUPerOp: written(r.CPUSPerOp, func(v float64) string { return Duration(time.Duration(v * float64(time.Second))) }),
			CPU:      written(r.CPUPercent, func(v float64) string { return significant(v) + " %" }),
			RSS:      written(r.RSSPeakBytes, Size[int64]), Heap: written(r.HeapBytes, Size[int64]),
			GCPause: written(r.GCPauseP99NS, func(v int64) string { return Duration(time.Duration(v)) }), Cycles: written(r.GCCycles, whole),
			Goroutines: written(r.Goroutines, whole), Threads: written(r.Threads, whole), FDs: written(r.FDs, whole), Sockets: written(r.Sockets, whole),
			NetPerOp: written(r.NetBytesPerOp, Size[float64]),
		})
	}
	return rows
}

// written writes a figure that may be absent.
func written[V any](v *V, write func(V) string) string {
	if v == nil {
		return none
	}
	return write(*v)
}
