package server

import (
	"math"
	"runtime/metrics"
)

// gcStats is the garbage collector's part of server_stats.
type gcStats struct {
	cycles    uint64
	heapBytes uint64
	pauseP99S float64 // seconds, the upper end of its bucket
	pauseMaxS float64 // likewise
}

// readGC asks the runtime, which answers without stopping the program.
func readGC() gcStats {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	var g gcStats
	if s[0].Value.Kind() == metrics.KindUint64 {
		g.cycles = s[0].Value.Uint64()
	}
	if s[1].Value.Kind() == metrics.KindUint64 {
		g.heapBytes = s[1].Value.Uint64()
	}
	if s[2].Value.Kind() == metrics.KindFloat64Histogram {
		h := s[2].Value.Float64Histogram()
		g.pauseP99S, g.pauseMaxS = quantile(h, 0.99), quantile(h, 1)
	}
	return g
}

// quantile is the upper end of the bucket that holds the quantile q, 0 for an empty histogram.
func quantile(h *metrics.Float64Histogram, q float64) float64 {
	var total, seen uint64
	for _, n := range h.Counts {
		total += n
	}
	rank := uint64(math.Ceil(q * float64(total)))
	for i, n := range h.Counts {
		if seen += n; n > 0 && seen >= rank {
			if end := h.Buckets[i+1]; !math.IsInf(end, 1) {
				return end
			}
			return h.Buckets[i]
		}
	}
	return 0
}
