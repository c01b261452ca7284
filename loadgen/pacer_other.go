//go:build !linux

package loadgen

// newPacer returns a pacer on the runtime's timers. release does nothing.
func newPacer() (p pacer, release func()) {
	return sleepTimer, func() {}
}
