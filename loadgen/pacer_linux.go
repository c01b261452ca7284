package loadgen

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel may be asked for no more than fineSleep, since its sleep does not hear of a context; the rest is slept on a timer, which is
// ended timerSlack early because it fires late.
const (
	fineSleep  = 10 * time.Millisecond
	timerSlack = 5 * time.Millisecond
)

// slice is how long a pacing thread asks to run at a time. The kernel (EEVDF, since Linux 6.12) lets a thread that asks for less interrupt one
// that asks for more, such as the server's on the same machine, as soon as it wakes. Older kernels ignore it.
const slice = 100 * time.Microsecond

// newPacer returns a pacer that is about a tenth of a millisecond late. It keeps the calling goroutine on its thread until release is
// called, from the same goroutine.
func newPacer() (p pacer, release func()) {
	runtime.LockOSThread()
	askForShortSlices()
	// Without this the kernel adds up to 50 µs to each sleep so that it can wake several threads at once. It may refuse.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	return sleepPrecise, func() {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0) // 0 restores the default
		runtime.UnlockOSThread()
	}
}

func sleepPrecise(ctx context.Context, t time.Time) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := time.Until(t)
		switch {
		case d <= 0:
			return nil
		case d > fineSleep:
			if err := sleepTimer(ctx, t.Add(-timerSlack)); err != nil {
				return err
			}
		default:
			// A signal may cut it short; the loop then sleeps the rest.
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
		}
	}
}

// askForShortSlices is for the calling thread, for good: whichever thread of the generator has paced once is prompt from then on. Processes that
// it starts, such as the server, have the kernel's own slice.
func askForShortSlices() {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL || attr.Runtime == uint64(slice) && attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0 {
		return
	}
	attr.Runtime, attr.Flags = uint64(slice), attr.Flags|unix.SCHED_FLAG_RESET_ON_FORK
	_ = unix.SchedSetAttr(0, attr, 0) // a wish
}
