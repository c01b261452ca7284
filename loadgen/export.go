package loadgen

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultMaxSamples bounds the samples of an Export.
const DefaultMaxSamples = 1_000_000

// exportQueue is how many samples may wait to be written. A sample that finds the queue full is left out: the measurement never waits.
const exportQueue = 16 << 10

// exportHeader names the columns. Times are nanoseconds since the arm began; durations are nanoseconds.
const exportHeader = "scenario,part,arm,step,intended_ns,start_ns,end_ns,bytes,outcome,queue_ns,dial_ns,channel_ns,remote_ns\n"

// Export writes the samples of measured calls as compressed CSV, one a line under a header, in the order in which they ended. Beyond its
// bound, and where the writer falls behind, samples are left out; a comment in the last line, which begins with #, says how many. What is
// left out beyond the bound is the end of the run: a stream cannot draw evenly from a length that it does not know.
//
// StartExport makes one. Runs may share it, one after another or at the same time.
type Export struct {
	queue   chan exported
	done    chan struct{}
	limit   int64
	taken   atomic.Int64 // samples offered to the queue, up to limit
	beyond  atomic.Int64 // samples left out beyond limit
	late    atomic.Int64 // samples left out because the queue was full
	written int64        // guarded by done
	err     error        // guarded by done
}

// ExportCounts says what an Export holds.
type ExportCounts struct {
	Written int64
	Beyond  int64 // left out because the bound was reached
	Late    int64 // left out because the writer fell behind
}

// exported is one line.
type exported struct {
	scenario, part, arm, step string
	sample                    Sample
}

// StartExport writes to w, at most limit samples; 0 means DefaultMaxSamples. Close ends it and does not close w.
func StartExport(w io.Writer, limit int64) *Export {
	if limit <= 0 {
		limit = DefaultMaxSamples
	}
	e := &Export{queue: make(chan exported, exportQueue), done: make(chan struct{}), limit: limit}
	go e.run(w)
	return e
}

// Close writes what still waits and the last line. The error is the first of writing. No Run may use the export any more.
func (e *Export) Close() (ExportCounts, error) {
	close(e.queue)
	<-e.done
	return ExportCounts{Written: e.written, Beyond: e.beyond.Load(), Late: e.late.Load()}, e.err
}

// add hands a sample over without ever waiting. A nil export takes none.
func (e *Export) add(x exported) {
	if e == nil {
		return
	}
	if e.taken.Add(1) > e.limit {
		e.beyond.Add(1)
		return
	}
	select {
	case e.queue <- x:
	default:
		e.late.Add(1)
	}
}

// run writes until the queue is closed. After an error it only empties the queue.
func (e *Export) run(w io.Writer) {
	defer close(e.done)
	zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // the level is valid
	out := bufio.NewWriterSize(zip, 64<<10)
	line := []byte(exportHeader)
	_, e.err = out.Write(line)
	for x := range e.queue {
		if e.err != nil {
			e.late.Add(1)
			continue
		}
		line = x.append(line[:0])
		if _, e.err = out.Write(line); e.err == nil {
			e.written++
		}
	}
	if e.err == nil {
		_, e.err = fmt.Fprintf(out, "# %d samples; left out: %d beyond the bound of %d, %d because writing fell behind\n",
			e.written, e.beyond.Load(), e.limit, e.late.Load())
	}
	for _, flush := range []func() error{out.Flush, zip.Close} {
		if err := flush(); e.err == nil {
			e.err = err
		}
	}
}

func (x *exported) append(b []byte) []byte {
	s := &x.sample
	for _, name := range []string{x.scenario, x.part, x.arm, x.step} {
		b = append(appendField(b, name), ',')
	}
	for _, n := range []int64{int64(s.Intended), int64(s.Start), int64(s.End), s.Bytes} {
		b = append(strconv.AppendInt(b, n, 10), ',')
	}
	outcome := s.Outcome
	if outcome == "" && s.Cut > 0 {
		outcome = "cancelled"
	}
	b = appendField(b, outcome)
	for _, d := range []time.Duration{s.Timing.Queue, s.Timing.Dial, s.Timing.Channel, s.Timing.Remote} {
		b = strconv.AppendInt(append(b, ','), int64(d), 10)
	}
	return append(b, '\n')
}

// appendField quotes what CSV needs quoted.
func appendField(b []byte, s string) []byte {
	if !strings.ContainsAny(s, "\",\r\n#") {
		return append(b, s...)
	}
	return append(append(append(b, '"'), strings.ReplaceAll(s, `"`, `""`)...), '"')
}
