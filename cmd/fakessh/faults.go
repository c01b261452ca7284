package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// pollFaults is how often the file of --faults is looked at.
const pollFaults = 250 * time.Millisecond

// faultsFile is the file of --faults, which may be edited while the host runs.
type faultsFile struct {
	name string
	seen os.FileInfo // as it was when it was read last; nil where it was missing
}

// read reads the file as it is now.
func (f *faultsFile) read() (fakessh.Faults, error) {
	f.seen, _ = os.Stat(f.name) // before it is read, so that no later edit is missed
	text, err := os.ReadFile(f.name)
	if err != nil {
		return fakessh.Faults{}, err
	}
	return fakessh.ParseFaults(f.name, text)
}

// changed reports whether the file is not the one that was read last.
func (f *faultsFile) changed() bool {
	now, _ := os.Stat(f.name)
	switch {
	case now == nil:
		return false // between two versions, or gone, and then the last one holds
	case f.seen == nil:
		return true
	}
	return !now.ModTime().Equal(f.seen.ModTime()) || now.Size() != f.seen.Size() || !os.SameFile(now, f.seen)
}

// follow makes each good version of the file hold, when it changes and at every
// hangup, until ctx ends. It tells log of each, and of broken ones, which leave
// the last good one in force.
func (f *faultsFile) follow(ctx context.Context, host *fakessh.Host, hangup <-chan os.Signal, log io.Writer) {
	tick := time.NewTicker(pollFaults)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		case <-tick.C:
			if !f.changed() {
				continue
			}
		}
		faults, err := f.read()
		if err == nil {
			err = host.SetFaults(faults)
		}
		if err != nil {
			fmt.Fprintf(log, "fakessh: --faults: %v\nfakessh: --faults: the last good version of %s stays in force\n", err, f.name)
			continue
		}
		fmt.Fprintf(log, "fakessh: --faults: %s is in force\n", f.name)
	}
}
