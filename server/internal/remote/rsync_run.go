//go:build unix

package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/rsyncshell"
)

// rsyncResult is what one run left, also a failed one.
type rsyncResult struct {
	output   *rsyncOutput
	problems []Problem
	unread   bool // some of them are of the source
	lease    pool.Info
	began    bool // something may have been changed
}

// run runs rsync once, from here to the host and back. Errors are *pool.Error (nothing happened) or *Error; what concerns single paths is
// in the result. When ctx ends, both programs lose each other, which makes them remove their temporary files, and are killed if they go on.
func (e *rsyncEngine) run(ctx context.Context, at *rsyncPlace, o rsyncOptions) (*rsyncResult, error) {
	res := &rsyncResult{output: &rsyncOutput{}}
	if ctx.Err() != nil {
		return res, &Error{Kind: Stopped, Err: fmt.Errorf("stopped before rsync was started: %w", context.Cause(ctx))}
	}
	if e.sync.Progress != nil {
		res.output.progress = func(done int64) { e.sync.Progress(done, o.total) }
	}
	listener, err := rsyncshell.Listen()
	if err != nil {
		return res, &Error{Kind: Failed, Err: fmt.Errorf("no socket for rsync's remote shell: %w", err)}
	}
	defer listener.Close()
	cmd, err := e.command(at, listener, o)
	if err != nil {
		return res, &Error{Kind: Failed, Err: err}
	}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = res.output, &stderr
	shell := &rsyncShell{
		pool: e.pool, target: e.target, listener: listener, words: e.program.foretell(e.kind(o)), done: make(chan struct{}),
	}
	err = shell.carry(ctx, cmd)
	if shell.started {
		e.program.learn(e.kind(o), shell.words)
	}
	res.lease = shell.lease
	v := &rsyncVerdict{shell: shell, wait: err, stderr: stderr.String() + string(shell.stderr), upload: e.sync.Direction == Upload}
	err = v.judge(ctx)
	res.began = shell.started && !v.unstarted
	if !v.unstarted {
		here, _ := filepath.EvalSymlinks(cmd.Dir) // as rsync calls it
		here = strings.TrimSuffix(path.Join(here, at.name), "/")
		res.problems, res.unread = rsyncProblems(v.stderr, v.upload, here, strings.TrimRight(e.sync.Remote, "/"))
		res.problems = append(res.problems, res.output.refused...)
	}
	return res, err
}

// stopWait is how long rsync may take to tidy up, and how long its output may be held open by what it started.
const stopWait = 2 * time.Second

// command is the local rsync, ready to start.
func (e *rsyncEngine) command(at *rsyncPlace, l *rsyncshell.Listener, o rsyncOptions) (*exec.Cmd, error) {
	rsh, err := rsyncshell.Command()
	if err != nil {
		return nil, err
	}
	dir, err := at.directory()
	if err != nil {
		return nil, err
	}
	name, args, err := rsyncshell.Confined(e.program.path, e.sync.Direction == Download && !o.dryRun, e.rsyncArgs(at, rsh, o))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = rsyncEnviron(l.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that all it starts can be stopped at once
	cmd.WaitDelay = stopWait
	return cmd, nil
}

// stopGroup ends a process, and what it started, that does not end by itself: an rsync whose other side is gone tidies up and ends, which
// one that is signalled does not always.
func stopGroup(pid int, ended <-chan struct{}) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t := time.NewTimer(stopWait)
		select {
		case <-ended:
			t.Stop()
			return
		case <-t.C:
			_ = syscall.Kill(-pid, sig)
		}
	}
}

// endGroup waits for what a process that has ended started: rsync's receiver is one of its own and may have a temporary file to remove.
func endGroup(pid int) {
	for deadline := time.Now().Add(stopWait); syscall.Kill(-pid, 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			return
		}
	}
}

// rsyncVerdict says what became of a run.
type rsyncVerdict struct {
	shell     *rsyncShell
	wait      error // of the local rsync
	stderr    string
	upload    bool
	unstarted bool // rsync gave up before it changed anything
}

// Exit codes of rsync, from its manual.
const (
	noCode           = -1 // the host's rsync was not waited for, once the local one was content
	rsyncSyntax      = 1
	rsyncProtocol    = 2
	rsyncSelection   = 3
	rsyncUnsupported = 4
	rsyncStart       = 5
	rsyncSocketIO    = 10
	rsyncFileIO      = 11
	rsyncStream      = 12
	rsyncDiagnostics = 13
	rsyncIPC         = 14
	rsyncSignal1     = 19
	rsyncSignal      = 20
	rsyncPartial     = 23
	rsyncVanished    = 24
	rsyncTimeout     = 30
	rsyncConnTimeout = 35
	shellNotRunnable = 126
	shellNotFound    = 127
	shellSignal      = 128 // plus the signal
	shellUnreachable = 255
)

// errNoParentDir is behind the error of an rsync that makes one directory and no more.
var errNoParentDir = errors.New("no such directory on the host")

func (v *rsyncVerdict) judge(ctx context.Context) error {
	var exit *exec.ExitError
	s := v.shell
	switch {
	case s.err != nil:
		return s.err
	case v.wait == nil:
		return v.code(s.code) // which the local rsync does not learn; most errors come over its connection
	case ctx.Err() != nil:
		return &Error{Kind: Stopped, Err: fmt.Errorf("rsync was stopped: %w", context.Cause(ctx))}
	case !errors.As(v.wait, &exit):
		return &Error{Kind: Failed, Err: fmt.Errorf("rsync: %w", v.wait)}
	case exit.Sys().(syscall.WaitStatus).Signaled():
		return &Error{Kind: Broken, Err: fmt.Errorf("the local rsync was ended by a signal (%v)", exit)}
	case s.lost:
		return &Error{Kind: Broken, Err: errors.New("the connection broke while rsync ran")}
	case s.signal != "":
		return &Error{Kind: Broken, Err: fmt.Errorf("the host's rsync was ended by SIG%s", s.signal)}
	}
	switch code := exit.ExitCode(); {
	case s.code > 0 && (code == rsyncStream || code == rsyncSocketIO || code == rsyncSignal):
		return v.code(s.code) // of the host's rsync, whose end is all that the local one noticed
	default:
		return v.code(code)
	}
}

// code judges an exit code.
func (v *rsyncVerdict) code(code int) error {
	say := func(kind Kind, format string, args ...any) error {
		return &Error{Kind: kind, Err: fmt.Errorf(format+": %s (rsync's exit code %d)", append(args, v.why(), code)...)}
	}
	switch code {
	case 0, noCode:
		return nil
	case rsyncPartial, rsyncVanished:
		return v.partial()
	case shellNotFound, shellNotRunnable:
		v.unstarted = true
		return say(Refused, "the host has no rsync: install its package rsync there, or use the engine sftp")
	case rsyncSyntax, rsyncUnsupported:
		v.unstarted = true
		return say(Refused, "the host's rsync does not know what is asked of it: install version 3.1 or newer there, or use the engine sftp")
	case rsyncProtocol, rsyncStart:
		v.unstarted = true
		return say(Refused, "the host's rsync does not answer as one; its login shell may print something, or it is too old")
	case rsyncTimeout, rsyncConnTimeout:
		return &Error{Kind: Stopped, Err: fmt.Errorf("rsync: %s: %w", v.why(), os.ErrDeadlineExceeded)}
	case rsyncSocketIO, rsyncStream, rsyncDiagnostics, rsyncIPC, shellUnreachable:
		return say(Broken, "the two rsync programs lost each other")
	case rsyncSelection:
		v.unstarted = true
		if strings.Contains(v.stderr, "Not a directory") {
			return &Error{Kind: Refused, Err: errDestination}
		}
		return v.files()
	case rsyncFileIO:
		return v.files()
	case rsyncSignal1, rsyncSignal:
		return say(Broken, "a signal ended rsync")
	}
	if code > shellSignal {
		return say(Broken, "a signal ended the host's rsync")
	}
	return say(Failed, "rsync failed")
}

// partial judges a run that went on past an error. An error with the source itself is one of the whole.
func (v *rsyncVerdict) partial() error {
	if !strings.Contains(v.stderr, `change_dir "`) {
		return nil
	}
	v.unstarted = true
	switch {
	case strings.Contains(v.stderr, "Not a directory"):
		return &Error{Kind: Refused, Err: errNoDirectory}
	case strings.Contains(v.stderr, "No such file"):
		return &Error{Kind: NotFound, Err: errors.New("the source does not exist")}
	case strings.Contains(v.stderr, "Permission denied"):
		return &Error{Kind: Denied, Err: errors.New("the source cannot be read")}
	}
	return &Error{Kind: Failed, Err: errors.New(v.why())}
}

// files judges a run that ended at an error with a file.
func (v *rsyncVerdict) files() error {
	switch {
	case saysFull(v.stderr):
		return &Error{Kind: Full, Err: errFull}
	case !strings.Contains(v.stderr, `mkdir "`):
		return &Error{Kind: Failed, Err: errors.New(v.why())}
	}
	v.unstarted = true
	switch {
	case strings.Contains(v.stderr, "No such file"):
		return &Error{Kind: NotFound, Err: errNoParentDir}
	case strings.Contains(v.stderr, "Permission denied"):
		return &Error{Kind: Denied, Err: errors.New("the destination cannot be made: " + v.why())}
	}
	return &Error{Kind: Refused, Err: errors.New("the destination cannot be made: " + v.why())}
}

// maxWhy bounds the words of rsync in an error.
const maxWhy = 500

// why is the first that rsync, or the host in its place, had to say, but for what always follows something else.
func (v *rsyncVerdict) why() string {
	why := "without a word"
	for line := range strings.Lines(v.stderr) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		why = line[:min(len(line), maxWhy)]
		if !strings.Contains(line, "connection unexpectedly closed") && !strings.HasPrefix(line, "rsync error: ") {
			break
		}
	}
	return why
}
