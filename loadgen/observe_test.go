package loadgen

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tellingDriver has this process as its server, which answers server_stats with the numbers of an ascending count.
type tellingDriver struct {
	info DriverInfo
	fail func(n int) (Reply, error) // nil for never

	mu        sync.Mutex
	asked     int
	stretches []bool
}

func (d *tellingDriver) Open(context.Context) (Session, error) { return d, nil }
func (d *tellingDriver) Info() DriverInfo                      { return d.info }
func (d *tellingDriver) Close() error                          { return nil }

func (d *tellingDriver) Call(_ context.Context, c Call) (Reply, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.Tool != statsTool {
		return Reply{Code: "UNKNOWN"}, nil
	}
	d.asked++
	if d.fail != nil {
		return d.fail(d.asked)
	}
	n := float64(d.asked)
	return Reply{Data: map[string]any{"goroutines": 100 - n, "heap_bytes": 1000 * n, "gc_cycles": 10 + n, "gc_pause_p99_s": 0.001}}, nil
}

// Measuring implements Watcher.
func (d *tellingDriver) Measuring(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stretches = append(d.stretches, on)
}

func TestObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &tellingDriver{info: DriverInfo{Kind: "http", PID: os.Getpid(), PIDs: []int{os.Getpid()}}}
		o := startObserver(d, d, statsInterval)
		time.Sleep(5 * time.Second) // before the measured time nobody asks
		o.resume()
		time.Sleep(5500 * time.Millisecond)
		if _, rss, ok := o.live(); kernelHasAccounts() && (!ok || rss == 0) {
			t.Error("nothing is known of a live process")
		}
		o.pause()
		time.Sleep(5 * time.Second)
		r := o.report(10)
		if !slices.Equal(d.stretches, []bool{true, false}) {
			t.Errorf("the driver heard %v of the measured time", d.stretches)
		}
		if d.asked < 4 || d.asked > 5 { // at the begin and end, and every two seconds between
			t.Errorf("asked %d times", d.asked)
		}
		if *r.Goroutines != 99 || *r.HeapBytes != int64(1000*d.asked) || *r.GCCycles != int64(d.asked-1) || *r.GCPauseP99 != time.Millisecond {
			t.Errorf("%d goroutines, %d bytes, %d cycles, pause %v", *r.Goroutines, *r.HeapBytes, *r.GCCycles, *r.GCPauseP99)
		}
		if kernelHasAccounts() && (r.CPUSPerOp == nil || *r.RSSPeakBytes == 0 || len(r.Series.CPUPercent) < 5 || r.Processes != 1) {
			t.Errorf("from outside: %+v", r)
		}
	})
}

// kernelHasAccounts reports whether processes can be seen from outside here.
func kernelHasAccounts() bool {
	_, err := readProcess(os.Getpid())
	return err == nil
}

func TestObserverStopsAsking(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(n int) (Reply, error)
		want int
	}{
		"no such tool":  {func(int) (Reply, error) { return Reply{Code: "NOT_FOUND"}, nil }, 1},
		"broken":        {func(int) (Reply, error) { return Reply{}, errors.New("broken") }, 1},
		"another's":     {func(int) (Reply, error) { return Reply{Data: map[string]any{"uptime": 1.0}}, nil }, 1},
		"only too slow": {func(int) (Reply, error) { time.Sleep(time.Minute); return Reply{}, context.DeadlineExceeded }, 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := &tellingDriver{info: DriverInfo{Kind: "http"}, fail: c.fail}
			o := startObserver(d, d, statsInterval)
			o.resume()
			time.Sleep(90 * time.Second)
			if r := o.report(10); r != nil {
				t.Errorf("%s: reports %+v", name, r)
			}
			if d.asked < c.want || name != "only too slow" && d.asked != c.want {
				t.Errorf("%s: asked %d times, want %d", name, d.asked, c.want)
			}
		})
	}
}

func TestObserverLeavesItsOwnProcessAlone(t *testing.T) {
	d := &tellingDriver{info: DriverInfo{Kind: "inprocess"}}
	o := startObserver(d, d, statsInterval)
	o.resume()
	o.pause()
	if r := o.report(1); r != nil || d.asked != 0 {
		t.Errorf("asked %d times, reports %+v", d.asked, r)
	}
}
