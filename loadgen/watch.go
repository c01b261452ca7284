package loadgen

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// watchInterval is the time between two judgements of the thresholds that may end the run.
const watchInterval = 500 * time.Millisecond

// watch judges thresholds while an arm is measured: those with windows, and those that may end the run. The collector's mutex guards it, and
// its times count from the start of the measured time. A nil one judges nothing.
type watch struct {
	thresholds []Threshold
	windows    [][]*windowWatch // by cell
	verdicts   []windowVerdict  // of thresholds without windows that ended the run
	aborted    error            // why the run must end, nil as long as it need not
	abort      func(error)
}

// cellName says what a cell is called.
type cellName struct {
	part, step string
	hidden     bool
}

// newWatch returns nil where none of the thresholds needs one.
func newWatch(ts []Threshold, cells []cellName) *watch {
	if !slices.ContainsFunc(ts, func(t Threshold) bool { return t.Window > 0 || t.Abort }) {
		return nil
	}
	w := &watch{thresholds: ts, windows: make([][]*windowWatch, len(cells)), abort: func(error) {}}
	for i, c := range cells {
		for n, t := range ts {
			if t.Window > 0 && !c.hidden && t.speaksOf(c.part, c.step) {
				w.windows[i] = append(w.windows[i], newWindowWatch(t, windowVerdict{threshold: n, part: c.part, step: c.step}))
			}
		}
	}
	return w
}

// add counts a call of a cell that ended, drop an arrival that was dropped.
func (w *watch) add(cell int, s *Sample, at time.Duration) {
	if w == nil {
		return
	}
	for _, win := range w.windows[cell] {
		w.advance(win, at)
		win.add(s)
	}
}

func (w *watch) drop(cell int, at time.Duration) {
	if w == nil {
		return
	}
	for _, win := range w.windows[cell] {
		w.advance(win, at)
		win.drop()
	}
}

// reach closes the windows that ended up to a time.
func (w *watch) reach(at time.Duration) {
	for _, list := range w.windows {
		for _, win := range list {
			w.advance(win, at)
		}
	}
}

func (w *watch) advance(win *windowWatch, at time.Duration) {
	win.advance(at)
	if win.verdict.aborted && w.aborted == nil {
		w.end(win.verdict)
	}
}

// judge judges the thresholds on the whole measured time so far that may end the run.
func (w *watch) judge(cells []Cell, at time.Duration) {
	for n, t := range w.thresholds {
		if !t.Abort || t.Window > 0 || at < t.After || w.aborted != nil {
			continue
		}
		for i := range cells {
			c := &cells[i]
			if !t.speaksOf(c.Part, c.Step) {
				continue
			}
			if v, ok := t.measure(figures{cell: c, generatorCPU: -1}); ok && !compare(v, t.Op, t.Value) {
				verdict := windowVerdict{threshold: n, part: c.Part, step: c.Step, known: true, value: v, aborted: true}
				w.verdicts = append(w.verdicts, verdict)
				w.end(verdict)
				break
			}
		}
	}
}

func (w *watch) end(v windowVerdict) {
	r := v.result(w.thresholds[v.threshold])
	w.aborted = fmt.Errorf("threshold %s was missed by %s: %s", r.Expr, v.step, r.Value)
	w.abort(w.aborted)
}

// outcome lists the verdicts.
func (w *watch) outcome() []windowVerdict {
	if w == nil {
		return nil
	}
	out := slices.Clone(w.verdicts)
	for _, list := range w.windows {
		for _, win := range list {
			out = append(out, win.verdict)
		}
	}
	return out
}

// why is the threshold that ended the run and how it was missed, or "".
func (w *watch) why() string {
	if w == nil || w.aborted == nil {
		return ""
	}
	return w.aborted.Error()
}

// guard gives a context that ends when a threshold of x ends the run, and judges those until release is called.
func (x *execution) guard(ctx context.Context) (guarded context.Context, release func()) {
	w := x.coll.watch
	if w == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	w.abort = cancel
	var wg sync.WaitGroup
	quit := make(chan struct{})
	wg.Go(func() {
		ticker := time.NewTicker(watchInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				x.coll.judge(x.now())
			case <-quit:
				return
			}
		}
	})
	return ctx, func() {
		close(quit)
		wg.Wait()
		cancel(nil)
	}
}

// judge judges the thresholds of the watch, if now lies in the measured time.
func (c *collector) judge(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now < c.begin || now >= c.end {
		return
	}
	at := c.past + now - c.begin
	c.watch.reach(at)
	if slices.ContainsFunc(c.watch.thresholds, func(t Threshold) bool { return t.Abort && t.Window == 0 }) {
		var cells []Cell
		for i := range c.cells {
			cell := c.cell(i, at, false)
			cell.Step, cell.Part = c.names[i].step, c.names[i].part
			if c.shown(i) {
				cells = append(cells, cell)
			}
		}
		c.watch.judge(cells, at)
	}
}

// close closes the windows of the measured time, whose length is known now.
func (c *collector) close(measured time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch != nil {
		c.watch.reach(measured)
	}
}

// measuredAt is where in the measured time something that happened at an offset of the arm counts.
func (c *collector) measuredAt(at time.Duration) time.Duration {
	return c.past + max(0, min(at, c.end-1)-c.begin)
}

// planned is the length of the measured time as planned; 0 where iterations alone end it.
func (e *Executor) planned() time.Duration {
	d := e.Duration
	if d == 0 && len(e.Trace) > 0 {
		d = e.Trace[len(e.Trace)-1]
	}
	for i := 0; i < len(e.Stages) && e.Duration == 0; i++ {
		d += e.Stages[i].Duration
	}
	return d
}
