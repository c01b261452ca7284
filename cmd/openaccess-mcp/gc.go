package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// heapFloor is what the heap may grow to before the collector runs at all. What lives on a server's heap is a few megabytes, so that by Go's own
// setting, twice what lives, it would be collected some twenty times a second under load, for a tenth of the server's time.
const heapFloor = 32 << 20

// tuneGC keeps the collector off a heap below heapFloor and has it run often while the heap grows beyond, unless GOGC says otherwise. The memory
// limit comes before both.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	var p gcPacer
	percent := p.percent(0)
	debug.SetGCPercent(percent)
	afterEachCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if live[0].Value.Kind() != metrics.KindUint64 {
			return
		}
		if now := p.percent(live[0].Value.Uint64()); now != percent {
			percent = now
			debug.SetGCPercent(now)
		}
	})
}

// gcPacer decides how far the heap may grow until the next collection.
type gcPacer struct {
	peak uint64 // of what has lived on the heap
}

// growing is the percentage for a heap that has never been as large: while connections and profiles come to stay, there shall be little garbage
// between them. The holes that it leaves remain as long as they do, and would add half of what lives.
const growing = 15

// percent is how far the heap may grow beyond what lives on it now, in steps of 50 percent, since each change stops the program for a moment.
func (p *gcPacer) percent(live uint64) int {
	const least, most = 100, 800 // of Go's smallest heap, 4 MiB, the most makes 32
	grew := live > p.peak+p.peak/128
	p.peak = max(p.peak, live)
	switch {
	case live == 0:
		return most
	case grew && live > heapFloor/4:
		return growing
	}
	percent := 100 * (heapFloor - int64(min(live, heapFloor))) / int64(live)
	return min(most, max(least, int(percent/50*50)))
}

// afterEachCollection calls f, one call at a time, after collections of garbage as long as the program runs. Some may share a call.
func afterEachCollection(f func()) {
	type mark struct{ _ [16]byte } // collected alone, which tiny objects are not
	runtime.AddCleanup(new(mark), func(int) {
		f()
		afterEachCollection(f)
	}, 0)
}
