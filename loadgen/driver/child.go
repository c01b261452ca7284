package driver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a server process. It belongs to a process group of its own, so that Ctrl-C in a terminal reaches the generator alone, which then
// ends the server when it is done with it.
type child struct {
	cfg    ChildConfig
	cmd    *exec.Cmd
	stdin  *os.File // closing it asks a stdio server to end; nil when it reads nothing
	stdout *os.File // nil when it is not read
	tail   *tail
	exited chan struct{} // closed with waitErr set
	err    error         // of Wait
	stop   sync.Once
	stopEr error
}

// exitGrace is how long the rest of a dead server's output may take to arrive.
const exitGrace = time.Second

// startChild starts the server. With pipes its standard input and output are the caller's to use; otherwise they are the null device.
// line is called with each line of its standard error, and may be nil.
func startChild(cfg ChildConfig, pipes bool, line func(string)) (*child, error) {
	c := &child{cfg: cfg, exited: make(chan struct{}), tail: &tail{also: cfg.Stderr, line: line}}
	c.cmd = exec.Command(cfg.Path, cfg.Args...)
	c.cmd.Dir, c.cmd.Env = cfg.Dir, append(os.Environ(), cfg.Env...)
	c.cmd.Stderr, c.cmd.WaitDelay = c.tail, exitGrace
	c.cmd.SysProcAttr = ownGroup()
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
	}()
	if pipes {
		in, stdin, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		stdout, out, err := os.Pipe()
		if err != nil {
			in.Close()
			stdin.Close()
			return nil, err
		}
		c.cmd.Stdin, c.cmd.Stdout = in, out
		c.stdin, c.stdout, theirs = stdin, stdout, []*os.File{in, out}
	}
	if err := c.cmd.Start(); err != nil {
		c.closePipes()
		return nil, fmt.Errorf("%w: %s: %v", ErrServerStart, cfg.Path, startReason(err))
	}
	go c.wait()
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// startReason drops the program's name, which the caller gives, from an error of exec.
func startReason(err error) error {
	var pathErr *os.PathError
	var execErr *exec.Error
	switch {
	case errors.As(err, &pathErr):
		return pathErr.Err
	case errors.As(err, &execErr):
		return execErr.Err
	}
	return err
}

// wait reaps the process. Its output then has a moment to arrive, even if a process that it left behind holds the pipe open.
func (c *child) wait() {
	c.err = c.cmd.Wait()
	if c.stdout != nil {
		_ = c.stdout.SetReadDeadline(time.Now().Add(exitGrace))
	}
	close(c.exited)
}

// explain adds how the process ended, once it has, to an error that its end may have caused.
func (c *child) explain(err error) error { return c.explainWithin(exitGrace, err) }

func (c *child) explainWithin(d time.Duration, err error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.exited:
		return fmt.Errorf("the server %s (%s)%s", c.cfg.Path, exitReason(c.err), c.tail.last())
	case <-timer.C:
		return err
	}
}

func exitReason(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "exited with status 0"
	case errors.As(err, &exit):
		return "ended: " + exit.String()
	}
	return "ended: " + err.Error()
}

// end makes the process go: closed input, then SIGTERM, then SIGKILL, with StopTimeout for each of the first two. It is an error when
// these do not do, or when the server ended in failure. The process is gone when end returns, unless the error says otherwise.
func (c *child) end() error {
	c.stop.Do(func() {
		c.stopEr = c.doEnd()
		c.closePipes()
	})
	return c.stopEr
}

func (c *child) doEnd() error {
	if c.stdin != nil {
		c.stdin.Close()
		if c.endsWithin(c.cfg.StopTimeout) {
			return c.failure()
		}
	}
	// Where there is no SIGTERM this fails, and SIGKILL follows at once.
	if c.cmd.Process.Signal(syscall.SIGTERM) == nil && c.endsWithin(c.cfg.StopTimeout) {
		return c.failure()
	}
	_ = c.cmd.Process.Kill()
	if !c.endsWithin(max(c.cfg.StopTimeout, killTime)) {
		return fmt.Errorf("server process %d does not end after SIGKILL", c.cmd.Process.Pid)
	}
	return fmt.Errorf("the server had to be killed: it did not end within %v of being asked to%s", c.cfg.StopTimeout, c.tail.last())
}

// gone reports whether the process has ended.
func (c *child) gone() bool {
	select {
	case <-c.exited:
		return true
	default:
		return false
	}
}

// killTime is what the system gets at least to end a process that was killed.
const killTime = 10 * time.Second

// endsWithin waits for the process, for at most d.
func (c *child) endsWithin(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.exited:
		return true
	case <-timer.C:
		return false
	}
}

// failure is the error of a process that is gone; ending by our SIGTERM is none.
func (c *child) failure() error {
	var exit *exec.ExitError
	if c.err == nil || errors.As(c.err, &exit) && endedBySIGTERM(exit) {
		return nil
	}
	return fmt.Errorf("the server %s%s", exitReason(c.err), c.tail.last())
}

func (c *child) closePipes() {
	for _, f := range []*os.File{c.stdin, c.stdout} {
		if f != nil {
			f.Close()
		}
	}
}

const (
	tailBytes = 8 << 10
	tailLines = 5
)

// tail keeps the end of a stream, and hands its lines on.
type tail struct {
	also io.Writer
	line func(string)

	mu   sync.Mutex
	kept []byte
	part []byte // of a line not yet complete, when line is set
}

// Write never fails: the server must not block or die because nobody listens.
func (t *tail) Write(p []byte) (int, error) {
	if t.also != nil {
		_, _ = t.also.Write(p)
	}
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	t.mu.Unlock()
	if t.line != nil {
		t.split(p)
	}
	return len(p), nil
}

func (t *tail) split(p []byte) {
	t.part = append(t.part, p...)
	for {
		line, rest, found := bytes.Cut(t.part, []byte("\n"))
		if !found {
			break
		}
		t.line(string(line))
		t.part = rest
	}
	if len(t.part) > tailBytes {
		t.part = nil
	}
}

// last is the last lines written, ready to stand at the end of a message.
func (t *tail) last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "\uFFFD"))
	if text == "" {
		return "; it wrote nothing to standard error"
	}
	lines := strings.Split(text, "\n")
	if len(lines) > tailLines {
		lines = lines[len(lines)-tailLines:]
	}
	return "; its last words:\n\t" + strings.Join(lines, "\n\t")
}
