package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// ending is locked for good before the second interrupt cleans up.
var ending sync.Mutex

// unlessEnding returns while the program goes on. What becomes of a server that was killed at the second interrupt is no result to report.
func unlessEnding() {
	ending.Lock()
	defer ending.Unlock()
}

// endOnSecondInterrupt ends the program at the second interrupt, after cleanup, without waiting for a report; the first one ends the
// context of main. Call the function it returns when there is nothing left to clean up.
func endOnSecondInterrupt(cleanup func()) (stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 2 {
			select {
			case <-signals:
			case <-done:
				return
			}
		}
		ending.Lock()
		cleanup()
		os.Exit(exitInterrupted)
	})
	return func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
	}
}

// serverProcess is the processes of the servers under measurement, for as long as their drivers are open.
type serverProcess struct {
	mu      sync.Mutex
	drivers map[*watchedDriver]struct{}
}

// kill kills the servers. One on stdio would end by itself once its input does; one on HTTP would stay.
func (p *serverProcess) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.drivers {
		for _, pid := range d.Info().PIDs {
			if proc, err := os.FindProcess(pid); err == nil {
				_ = proc.Kill() // it may be gone
			}
		}
	}
}

// watch notes the servers that a driver starts until the driver is closed.
func (p *serverProcess) watch(d loadgen.Driver) loadgen.Driver {
	w := &watchedDriver{d, p}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drivers == nil {
		p.drivers = map[*watchedDriver]struct{}{}
	}
	p.drivers[w] = struct{}{}
	return w
}

type watchedDriver struct {
	loadgen.Driver
	process *serverProcess
}

func (d *watchedDriver) Close() error {
	err := d.Driver.Close()
	d.process.mu.Lock()
	defer d.process.mu.Unlock()
	delete(d.process.drivers, d)
	return err
}
