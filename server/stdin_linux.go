package server

import (
	"io"
	"os"
	"strconv"
	"syscall"
)

// pollable returns a reader of the same pipe that waits in the runtime's poller, not in a system call, which would hold one of the few threads
// that run goroutines and keep the runtime's monitor awake. It has a file description of its own, so that nobody who shares the pipe is disturbed.
// Whatever is no pipe is returned as it is. done ends a Read that waits.
func pollable(in io.Reader) (r io.Reader, done func()) {
	nothing := func() {}
	f, ok := in.(*os.File)
	if !ok {
		return in, nothing
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return in, nothing
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return in, nothing
	}
	var again *os.File
	_ = raw.Control(func(fd uintptr) {
		again, err = os.OpenFile("/proc/self/fd/"+strconv.FormatUint(uint64(fd), 10), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	})
	if err != nil || again == nil { // where /proc is not mounted
		return in, nothing
	}
	return again, func() { again.Close() }
}
