package loadgen

import (
	"testing"
	"time"
)

func TestAccounts(t *testing.T) {
	var a accounts
	at := time.Unix(0, 0)
	one := func(cpu time.Duration, rss, peak, net int64) processUsage {
		return processUsage{cpu: cpu, rss: rss, rssPeak: peak, vms: 10, threads: 3, fds: 7, sockets: 2, net: net}
	}
	a.resume(at, map[int]processUsage{1: one(5*time.Second, 100, 500, 1000)}) // what it used and held before does not count
	at = at.Add(time.Second)
	if p := a.read(at, map[int]processUsage{1: one(5500*time.Millisecond, 200, 500, 2000)}); p != 50 {
		t.Errorf("half a CPU is %v %%", p)
	}
	at = at.Add(time.Second)
	a.pause(at, map[int]processUsage{1: one(6*time.Second, 120, 900, 3000), 2: one(time.Second, 50, 60, 1000)}) // a new one
	at = at.Add(time.Hour)
	if a.read(at, map[int]processUsage{1: one(time.Hour, 1, 1, 1)}); a.cpu != 2*time.Second {
		t.Errorf("%v of CPU, want 2s", a.cpu)
	}
	a.resume(at, map[int]processUsage{1: one(time.Hour, 10, 900, 9000)})
	a.pause(at.Add(2*time.Second), map[int]processUsage{1: one(time.Hour, 10, 900, 9000)})

	var r Resources
	a.report(&r, 100)
	if *r.CPUSPerOp != 0.02 || *r.CPUPercent != 50 || *r.RSSPeakBytes != 950 || *r.NetBytesPerOp != 30 || r.Processes != 2 {
		t.Errorf("%v s/op, %v %%, %v bytes, %v net bytes/op, %v processes",
			*r.CPUSPerOp, *r.CPUPercent, *r.RSSPeakBytes, *r.NetBytesPerOp, r.Processes)
	}
	if *r.Threads != 6 || *r.FDs != 14 || *r.Sockets != 4 || *r.VMSBytes != 20 {
		t.Errorf("%v threads, %v descriptors, %v sockets, %v bytes of address space", *r.Threads, *r.FDs, *r.Sockets, *r.VMSBytes)
	}
	if s := r.Series; s.Width != time.Second || len(s.CPUPercent) != 3 || s.CPUPercent[0] != 50 || s.CPUPercent[1] != 150 || s.RSSBytes[1] != 170 {
		t.Errorf("series %+v", *s)
	}
}

func TestAccountsWithoutNetwork(t *testing.T) {
	var a accounts
	a.resume(time.Unix(0, 0), map[int]processUsage{1: {net: 5, fds: -1, sockets: -1}})
	a.pause(time.Unix(1, 0), map[int]processUsage{1: {net: -1, fds: -1, sockets: -1}})
	var r Resources
	a.report(&r, 1)
	if r.NetBytesPerOp != nil || r.FDs != nil || r.Sockets != nil {
		t.Errorf("figures that are not known: %+v", r)
	}
	a, r = accounts{}, Resources{}
	if a.report(&r, 1); r.Processes != 0 || r.RSSPeakBytes != nil {
		t.Errorf("of nothing: %+v", r)
	}
}

func TestResourceTimelineStaysShort(t *testing.T) {
	var tl resourceTimeline
	for i := range 36000 { // ten hours
		tl.add(time.Duration(i)*time.Second, time.Second, 250*time.Millisecond, int64(i))
	}
	s := tl.list()
	if len(s.CPUPercent) > maxWindows || len(s.CPUPercent) < maxWindows/2 || s.Width != 128*time.Second {
		t.Errorf("%d stretches of %v", len(s.CPUPercent), s.Width)
	}
	for i, p := range s.CPUPercent {
		if p != 25 {
			t.Errorf("stretch %d: %v %%", i, p)
		}
	}
	if last := s.RSSBytes[len(s.RSSBytes)-1]; last != 35999 {
		t.Errorf("last memory %d", last)
	}
}
