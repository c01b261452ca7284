//go:build unix

// Package rsyncshell is the remote shell of an rsync that the server runs. Where ssh would open a connection, it hands rsync's standard
// input and output, and the command line for the host, to the server, which carries them over a connection that it has.
//
// Listen makes the private socket on which the shell reports, and Accept waits for it. The shell itself (package helper) is the same
// program again: rsync starts what Command names, with what Environ holds. So is what keeps the local rsync in its folder, see Confined.
package rsyncshell

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/rsyncshell/helper"
)

// Listener is a socket for one shell. It lies in a folder of its own that only this user may enter.
type Listener struct {
	dir    string
	socket *net.UnixListener
}

// Listen makes the socket. The caller closes it.
func Listen() (*Listener, error) {
	dir, err := os.MkdirTemp("", "rsync-shell-") // with mode 0700
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"})
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return &Listener{dir, socket}, nil
}

// Close removes the socket. A waiting Accept fails.
func (l *Listener) Close() error {
	l.socket.Close()
	return os.RemoveAll(l.dir)
}

// Environ is the variable that rsync's environment must hold for the shell to find the listener.
func (l *Listener) Environ() string { return helper.Variable + "=" + l.socket.Addr().String() }

// Command is the value of rsync's option --rsh: this program, as a shell.
func Command() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	return "'" + strings.ReplaceAll(exe, "'", "''") + "' " + helper.Name, nil // rsync knows no backslash here, but doubled quotes
}

// Confined is the command line of an rsync that reads, and with writes set changes, no files but those below the folder that it is started in, whatever
// becomes of the names there while it runs: this program again, which on Linux asks that of the system before it becomes rsync. A system that does not
// know Landlock leaves it as free as it is elsewhere. Environ must be in its environment.
func Confined(rsync string, writes bool, args []string) (name string, all []string, err error) {
	if runtime.GOOS != "linux" {
		return rsync, args, nil
	}
	exe, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	access := helper.Reads
	if writes {
		access = helper.Writes
	}
	return exe, append([]string{helper.Confined, access, rsync}, args...), nil
}

// Peer is what a shell handed over. Its user closes it.
type Peer struct {
	Words   []string // the command for the host, its arguments, without the host's name
	In, Out *os.File // what rsync writes to its shell and reads from it
}

// maxReport bounds what a shell may report, in bytes.
const maxReport = 64 << 10

// Accept waits for the shell. The listener serves no second one.
func (l *Listener) Accept() (*Peer, error) {
	conn, err := l.socket.AcceptUnix()
	if err != nil {
		return nil, err
	}
	l.socket.Close()
	defer conn.Close()
	p := &Peer{}
	if err := p.receive(conn); err != nil {
		p.Close()
		return nil, fmt.Errorf("the remote shell of rsync: %w", err)
	}
	return p, nil
}

// receive reads a report.
func (p *Peer) receive(conn *net.UnixConn) error {
	var head [4]byte
	rights := make([]byte, syscall.CmsgSpace(2*4))
	n, rightsLen, _, _, err := conn.ReadMsgUnix(head[:], rights)
	if err != nil {
		return err
	}
	if err := p.files(rights[:rightsLen]); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, head[n:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxReport {
		return fmt.Errorf("reports a command of %d bytes", size)
	}
	words := make([]byte, size)
	if _, err := io.ReadFull(conn, words); err != nil {
		return err
	}
	if p.Words = strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00"); len(p.Words) < 2 {
		return fmt.Errorf("reports no command")
	}
	p.Words = p.Words[1:] // after the host's name
	return nil
}

// files makes In and Out of the two descriptors in a control message.
func (p *Peer) files(rights []byte) error {
	messages, err := syscall.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return fmt.Errorf("hands over no descriptors: %v", err)
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil {
		return err
	}
	var files []*os.File
	for _, fd := range fds {
		_ = syscall.SetNonblock(fd, true) // lets Close end a Read; the shell itself reads no more
		files = append(files, os.NewFile(uintptr(fd), "rsync"))
	}
	if len(files) != 2 {
		for _, f := range files {
			f.Close()
		}
		return fmt.Errorf("hands over %d descriptors instead of 2", len(files))
	}
	p.In, p.Out = files[0], files[1]
	return nil
}

// Close closes In and Out.
func (p *Peer) Close() {
	for _, f := range []*os.File{p.In, p.Out} {
		if f != nil {
			f.Close()
		}
	}
}
