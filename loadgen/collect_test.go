package loadgen

import (
	"testing"
	"time"
)

// sampleAt is call i of ten a second, as varied as calls are.
func sampleAt(i int) *Sample {
	at := time.Duration(i) * 100 * time.Millisecond
	return &Sample{
		Intended: at, Start: at + time.Duration(i%97)*time.Microsecond, End: at + time.Duration(1+i%991)*100*time.Microsecond,
		Bytes: 100, Timing: Timing{Queue: time.Duration(i % 89), Remote: time.Duration(i%83) * time.Millisecond},
	}
}

// TestCollectorKeepsItsSize takes ten hours' calls, after the first of which nothing more may be allocated.
func TestCollectorKeepsItsSize(t *testing.T) {
	c := collectorOf([]step{{name: "exec"}}, 0, forever)
	i := 0
	add := func() {
		s := sampleAt(i)
		if i++; i%50 == 0 {
			s.Outcome = CodeTimeout
		}
		c.add(s, true, "late")
	}
	for range 36_000 {
		add()
	}
	s := &Sample{}
	for range 9 {
		if n := testing.AllocsPerRun(1000, func() {
			*s = *sampleAt(i)
			i++
			c.add(s, true, "")
		}); n > 1 { // sampleAt's own
			t.Errorf("%v allocations per call after %d", n, i)
		}
		for range 35_000 {
			add()
		}
	}
	cell := c.cell(0, 10*time.Hour, false)
	if n := len(cell.Windows); n > maxWindows || n < maxWindows/2 {
		t.Errorf("%d windows", n)
	}
	var requests int64
	for _, w := range cell.Windows {
		requests += w.Requests
	}
	if requests != cell.Requests || requests != int64(i) {
		t.Errorf("windows hold %d calls, the cell %d, of %d", requests, cell.Requests, i)
	}
}
