package main

import (
	"os"
	"runtime/debug"
)

// gcPercent lets the heap grow to five times what lives on it before the next collection, Go's own setting to twice that. A generator has little
// that lives, so this costs some tens of megabytes, and saves most of the collections, during which calls are sent late. GOGC overrides it.
const gcPercent = 400

func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
