// Package remote does the work of the tools on a host: it runs commands and moves files, each over a lease from the pool.
//
// Start with Exec and Transfer. Both say in their error's Kind what became of the work: nothing happened, it was stopped, or
// nobody knows. Neither ever repeats work that may have begun. OpenTunnel (forward.go) makes what lives on after its call.
package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Command is one command line for the login shell of the remote user.
type Command struct {
	Line      string
	Sudo      bool  // run it as root through `sudo -n`, which never asks for a password
	PTY       bool  // with a terminal; standard error then arrives on standard output
	MaxOutput int64 // bytes kept of each stream; what comes after is read and dropped

	// Stdout and Stderr take all of a stream as it arrives, in place of Output; nil keeps MaxOutput bytes of it there. Their errors are not heard.
	Stdout, Stderr io.Writer
}

// Output is what a command left. After an error of Kind Stopped or Unknown it holds what had arrived by then.
type Output struct {
	Stdout, Stderr []byte
	Truncated      bool   // one of the streams was longer than MaxOutput
	ExitCode       int    // -1 when a signal ended the command
	Signal         string // without "SIG", such as "TERM"
	Session        string // names the connection, for logs
	Lease          pool.Info
	Remote         time.Duration // from the request to the end of the command
}

// When a command must stop, it gets TERM, then KILL after stopGrace, and its channel is closed after another.
const stopGrace = 500 * time.Millisecond

// Exec runs c on t and waits for its end, or for ctx's; then the command is signalled (TERM, KILL) and its channel closed before
// Exec returns. A non-zero exit code is not an error. Errors are *pool.Error (nothing ran) or *Error.
func Exec(ctx context.Context, p *pool.Pool, t *profile.Target, c Command) (*Output, error) {
	sess, err := p.Session(ctx, t)
	if err != nil {
		return nil, err
	}
	defer sess.Close()
	x := &execution{sess: sess, ended: make(chan struct{})}
	start := time.Now()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(interrupted); x.interrupt() })
	out := x.run(c)
	if !stop() {
		<-interrupted
	}
	out.Lease = sess.Info
	out.Session = t.Profile.ID + "/" + strconv.FormatInt(sess.Conn, 10)
	out.Remote = time.Since(start)
	return out, x.verdict(ctx)
}

// execution is one command on one channel.
type execution struct {
	sess     *pool.Session
	ended    chan struct{} // closed when the host has closed the channel
	startErr error         // the request was refused or could not be sent
	exited   bool          // an exit status or signal arrived
	givenUp  bool          // the host had not closed the channel when its time after the signals was over
	code     int
	signal   string
}

// run sends the request and reads everything until the channel ends. The request's reply is awaited beside the output, which saves a
// round trip.
func (x *execution) run(c Command) *Output {
	var out Output
	var moreErr, moreOut bool
	var wg sync.WaitGroup
	go x.watch()
	x.sess.Another()
	wg.Go(func() {
		if x.startErr = x.start(c); x.startErr != nil {
			x.sess.Channel.Close()
		}
		out.Stderr, moreErr = capture(x.sess.Stderr(), c.Stderr, c.MaxOutput)
	})
	out.Stdout, moreOut = capture(x.sess, c.Stdout, c.MaxOutput)
	wg.Wait()
	<-x.ended
	out.Truncated = moreOut || moreErr
	out.ExitCode, out.Signal = x.code, x.signal
	return &out
}

func (x *execution) start(c Command) error {
	if c.PTY {
		modes := string([]byte{53, 0, 0, 0, 0, 0}) // ECHO off, TTY_OP_END (RFC 4254, section 8)
		ok, err := x.sess.SendRequest("pty-req", true, ssh.Marshal(struct {
			Term                 string
			Cols, Rows, PxW, PxH uint32
			Modes                string
		}{"xterm", 120, 40, 0, 0, modes}))
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("the host allocates no terminal")
		}
	}
	line := c.Line
	if c.Sudo {
		line = "sudo -n -- sh -c " + quote(line)
	}
	ok, err := x.sess.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line}))
	if err == nil && !ok {
		err = errRefused
	}
	runtime.Gosched() // the command may be over already
	if err == nil && !x.over() {
		err = x.sess.CloseWrite() // standard input is empty: a command that reads it must not wait for ever
	}
	return err
}

// over reports whether the host has closed the channel.
func (x *execution) over() bool {
	select {
	case <-x.ended:
		return true
	default:
		return false
	}
}

// errRefused is the host's answer to a command that it does not start.
var errRefused = errors.New("the host refused to start the command")

// quote makes s one word of a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// watch reads the channel's requests until the host closes it.
func (x *execution) watch() {
	defer close(x.ended)
	x.code = -1
	for req := range x.sess.Requests {
		switch req.Type {
		case "exit-status":
			var m struct{ Status uint32 }
			if ssh.Unmarshal(req.Payload, &m) == nil {
				x.exited, x.code = true, int(m.Status)
			}
		case "exit-signal":
			var m struct {
				Signal     string
				CoreDumped bool
				Message    string
				Lang       string
			}
			if ssh.Unmarshal(req.Payload, &m) == nil {
				x.exited, x.signal = true, m.Signal
			}
		}
		if req.WantReply {
			_ = req.Reply(false, nil)
		}
	}
}

// interrupt stops the command and closes the channel, so that run returns. A host signals the command's process group, and can no longer do so when the
// login shell has ended: what has left the group runs on. So does what a shell begins while it holds signals back, as dash 0.5.12 does around vfork, since
// the signal then comes to the shell alone.
func (x *execution) interrupt() {
	for _, sig := range []string{"TERM", "KILL"} {
		if _, err := x.sess.SendRequest("signal", false, ssh.Marshal(struct{ Signal string }{sig})); err != nil {
			break
		}
		t := time.NewTimer(stopGrace)
		select {
		case <-x.ended:
			t.Stop()
			return
		case <-t.C:
		}
	}
	x.givenUp = true
	x.sess.Channel.Close()
}

// verdict says what became of the command; run has returned.
func (x *execution) verdict(ctx context.Context) error {
	switch {
	case ctx.Err() != nil && !(x.exited && x.signal == ""):
		if x.exited && x.givenUp {
			return &Error{Kind: Stopped, Err: fmt.Errorf("the command was stopped by SIG%s, but something that it started holds its output open, and may run on: %w", x.signal, context.Cause(ctx))}
		}
		if x.exited {
			return &Error{Kind: Stopped, Err: fmt.Errorf("the command was stopped by SIG%s: %w", x.signal, context.Cause(ctx))}
		}
		return &Error{Kind: Stopped, Err: fmt.Errorf("the command was sent TERM and KILL, but the host did not confirm its end: %w", context.Cause(ctx))}
	case x.exited:
		return nil
	case errors.Is(x.startErr, errRefused):
		return &Error{Kind: Refused, Err: x.startErr}
	case x.startErr != nil:
		return &Error{Kind: Unknown, Err: fmt.Errorf("the connection broke while the command was being started: %w", x.startErr)}
	default:
		return &Error{Kind: Unknown, Err: errors.New("the connection ended before the command's exit status arrived")}
	}
}

// capture reads r to its end, keeps the first limit bytes, and reports whether there were more. Where there is a to, that gets all, and nothing is kept.
func capture(r io.Reader, to io.Writer, limit int64) ([]byte, bool) {
	if to != nil {
		_, _ = io.Copy(to, r)
		_, _ = io.Copy(io.Discard, r) // where to gave up
		return nil, false
	}
	room := rooms.Get().(*[roomSize]byte)
	defer rooms.Put(room)
	n, err := io.ReadFull(r, room[:min(limit, roomSize)])
	if err != nil { // all is there
		return bytes.Clone(room[:n]), false
	}
	var kept bytes.Buffer
	kept.Write(room[:n])
	_, _ = kept.ReadFrom(io.LimitReader(r, limit-int64(n)))
	dropped, _ := io.Copy(io.Discard, r)
	return kept.Bytes(), dropped > 0
}

// rooms are for output to arrive in, most of which is short.
var rooms = sync.Pool{New: func() any { return new([roomSize]byte) }}

const roomSize = 2048
