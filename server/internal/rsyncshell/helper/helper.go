//go:build unix

// Package helper is the shell of package rsyncshell. Whatever program has it linked in is one, when Name is its first argument and its
// environment holds Variable. With Confined in place of Name it becomes the program that follows, and can reach no files but that one's.
//
// It runs before main, and imports next to nothing, so that it also runs before other packages are initialised: those of the server take
// 25 ms, for which every sync would wait, and the whole of a small one lasts 100 ms.
package helper

import (
	"os"
	"syscall"
)

// What makes a process a shell.
const (
	Name     = "rsync-shell"             // its first argument
	Variable = "OPENACCESS_RSYNC_SOCKET" // holds the path of the socket to report on
)

// What makes a process a program in its working folder: Confined as the first argument, what it may do there as the second, and then the program's path
// with its arguments.
const (
	Confined = "rsync-confined"
	Reads    = "reads"  // read files below the working folder
	Writes   = "writes" // and make, change and remove them
)

// unreachable is the exit code for what ssh calls a broken connection.
const unreachable = 255

func init() {
	socket := os.Getenv(Variable)
	switch {
	case socket == "" || len(os.Args) < 2:
	case os.Args[1] == Name:
		os.Exit(shell(socket, os.Args[2:]))
	case os.Args[1] == Confined && len(os.Args) > 3:
		os.Exit(become(os.Args[2] == Writes, os.Args[3:]))
	}
}

// become replaces this process by a confined program. It returns if it cannot.
func become(writes bool, words []string) (code int) {
	err := confine(writes, words[0])
	if err == nil {
		err = syscall.Exec(words[0], words, os.Environ())
	}
	os.Stderr.WriteString("openaccess-mcp " + Confined + ": " + err.Error() + "\n")
	return unreachable
}

// shell hands standard input, standard output and words to whom the socket belongs, and ends at once. It is not missed: rsync uses the two
// as before, and has no shell to wait for at its end, which it does in steps of 20 ms.
func shell(socket string, words []string) (code int) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket})
	}
	if err == nil {
		err = report(fd, words)
	}
	if err != nil {
		os.Stderr.WriteString("openaccess-mcp " + Name + ": " + err.Error() + "\n")
		return unreachable
	}
	return 0
}

// report sends the length of all words in four bytes, which carry the two descriptors, and the words, each ended by a zero byte.
func report(fd int, words []string) error {
	var text []byte
	for _, w := range words {
		text = append(append(text, w...), 0)
	}
	size := len(text)
	head := []byte{byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}
	if err := syscall.Sendmsg(fd, head, syscall.UnixRights(0, 1), nil, 0); err != nil {
		return err
	}
	for len(text) > 0 {
		n, err := syscall.Write(fd, text)
		if err != nil && err != syscall.EINTR {
			return err
		}
		text = text[max(n, 0):]
	}
	return nil
}
