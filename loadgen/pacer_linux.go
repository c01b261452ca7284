package loadgen

import (
	"context"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// newPacer returns a pacer that is about a tenth of a millisecond late, or sleepTimer where the kernel gives none. release frees it; neither may
// be called by two goroutines at once.
//
// It waits on a timer of the kernel, which is exact where Go's are up to a millisecond late, through the poller that also waits for
// the network. So the goroutine that it wakes keeps its processor when it goes to sleep again, and whoever it has handed an arrival to runs
// there at once. A thread that sleeps in the kernel by itself is as exact, but takes its processor along until the runtime notices.
func newPacer() (p pacer, release func()) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return sleepTimer, func() {}
	}
	k := &kernelTimer{fd: fd, f: os.NewFile(uintptr(fd), "timer"), forget: func() bool { return true }}
	return k.wait, k.release
}

// kernelTimer is a pacer.
type kernelTimer struct {
	fd     int
	f      *os.File
	ctx    context.Context // whose end interrupts a wait
	forget func() bool
}

func (k *kernelTimer) release() {
	k.forget()
	k.f.Close()
}

func (k *kernelTimer) wait(ctx context.Context, t time.Time) error {
	k.heed(ctx)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		d := time.Until(t)
		if d <= 0 {
			return nil
		}
		spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
		if err := unix.TimerfdSettime(k.fd, 0, &spec, nil); err != nil {
			return sleepTimer(ctx, t)
		}
		var expired [8]byte
		if _, err := k.f.Read(expired[:]); err != nil && ctx.Err() == nil {
			return sleepTimer(ctx, t)
		}
		runtime.KeepAlive(k.f)
	}
}

// heed makes the end of ctx interrupt every wait from now on.
func (k *kernelTimer) heed(ctx context.Context) {
	if ctx == k.ctx {
		return
	}
	k.forget()
	_ = k.f.SetReadDeadline(time.Time{})
	k.ctx = ctx
	k.forget = context.AfterFunc(ctx, func() { _ = k.f.SetReadDeadline(time.Now()) })
}
