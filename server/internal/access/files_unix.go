//go:build unix

package access

import "syscall"

// openFiles is how many files and sockets the process may have open; 0 where that is not known.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(l.Cur, 1<<30))
}
