package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

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
		cleanup()
		os.Exit(exitInterrupted)
	})
	return func() {
		signal.Stop(signals)
		close(done)
		wg.Wait()
	}
}

// serverProcess is the process of the server under measurement, for as long as its driver is open.
type serverProcess struct {
	mu  sync.Mutex
	pid int
}

// kill kills the server if there is one. A server on stdio would end by itself once its input does; one on HTTP would stay.
func (p *serverProcess) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == 0 {
		return
	}
	if proc, err := os.FindProcess(p.pid); err == nil {
		_ = proc.Kill() // it may be gone
	}
}

func (p *serverProcess) set(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pid = pid
}

// watch notes the server that a driver has started until the driver is closed.
func (p *serverProcess) watch(d loadgen.Driver) loadgen.Driver {
	p.set(d.Info().PID)
	return &watchedDriver{d, p}
}

type watchedDriver struct {
	loadgen.Driver
	process *serverProcess
}

func (d *watchedDriver) Close() error {
	defer d.process.set(0)
	return d.Driver.Close()
}
