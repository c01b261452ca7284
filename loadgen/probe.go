package loadgen

import (
	"runtime"
	"sync"
	"time"
)

const (
	probeInterval = 10 * time.Millisecond
	// minStall is the shortest stall that counts: twice as long as Go lets one goroutine run while others wait.
	minStall = 20 * time.Millisecond
)

// probe finds out what the machine gives to the generator, with a thread that asks for a CPU every probeInterval and does nothing with it.
// Read its figures when it is stopped.
//
// How long that thread is ready to run without a CPU is the measure of GeneratorHealth.CPUWait. It meets what every other thread of the
// generator meets at that moment, a full machine or a used-up quota, but neither the rate of calls nor the number of threads changes it. The
// sum over all threads would grow with each that wakes for a microsecond, the wait of the pacing thread with the rate, and both with waits
// that are too short to matter; those of the pacing thread that do matter show in the lateness.
//
// A wake-up that is late by minStall or more is a stall: nothing of the generator ran, or Go had no thread for this part of it. It shows a
// process that was stopped, which the kernel does not count as waiting, also between two arrivals and under a closed executor.
type probe struct {
	wait             time.Duration // for a CPU
	longest, stalled time.Duration // the longest stall, all together
}

// kernelTime is false in this package's own tests: their clock is one that the kernel does not know.
var kernelTime = true

// start watches until stop is called.
func (p *probe) start() (stop func()) {
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if !kernelTime {
			p.watch(quit, func(d time.Duration) { waitFor(quit, d) })
			return
		}
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		before := ownThreadWait()
		p.watch(quit, kernelSleep)
		p.wait += ownThreadWait() - before
	})
	return func() {
		close(quit)
		wg.Wait()
	}
}

func (p *probe) watch(quit <-chan struct{}, sleep func(time.Duration)) {
	for last := time.Now(); ; {
		sleep(probeInterval)
		now := time.Now()
		p.woke(now.Sub(last) - probeInterval)
		last = now
		select {
		case <-quit:
			return
		default:
		}
	}
}

func (p *probe) woke(late time.Duration) {
	if late >= minStall {
		p.longest = max(p.longest, late)
		p.stalled += late
	}
}
