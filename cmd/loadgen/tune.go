package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// gcPercent lets the heap grow to five times what lives on it before the next collection, Go's own setting to twice that. A generator has
	// little that lives, so this costs some tens of megabytes, and saves most of the collections, during which calls are sent late.
	gcPercent = 400
	// spareProcs is how many more threads than CPUs may run Go code. One of them always sleeps in the kernel until the next arrival; when it
	// wakes, it must not wait for another to let go.
	spareProcs = 1
)

// tuneGC is for the whole program, unless GOGC says otherwise.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// tuneThreads is for a process that generates load, unless GOMAXPROCS says otherwise.
func tuneThreads() {
	if os.Getenv("GOMAXPROCS") == "" && runtime.GOMAXPROCS(0) == runtime.NumCPU() {
		runtime.GOMAXPROCS(runtime.NumCPU() + spareProcs)
	}
}
