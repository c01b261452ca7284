package netem

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// alarm is a timer of the kernel. Go's poller waits for it as for a socket, and so to the nanosecond where its own timers are rounded up.
type alarm struct {
	file *os.File
	fd   int // of file, whose Fd method would take it away from the poller
	buf  [8]byte
}

func newAlarm() (*alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &alarm{file: os.NewFile(uintptr(fd), "timerfd"), fd: fd}, nil
}

// set makes the alarm ring at t, and then only. It is not for use after close.
func (a *alarm) set(t time.Time) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(time.Until(t)), 1))} // 0 would disarm it
	_ = unix.TimerfdSettime(a.fd, 0, &spec, nil)                                      // fails on bad arguments alone
}

// ring blocks until the alarm rings; false means that it is closed.
func (a *alarm) ring() bool {
	_, err := a.file.Read(a.buf[:])
	return err == nil
}

func (a *alarm) close() { a.file.Close() }
