//go:build unix

package remote

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/rsyncshell"
)

// rsyncShell carries one local rsync to the host: what its remote shell hands over goes through a session of the pool.
type rsyncShell struct {
	pool     *pool.Pool
	target   *profile.Target
	listener *rsyncshell.Listener
	done     chan struct{} // closed when serve has returned; then the rest is settled

	started bool // the host accepted the command
	lease   pool.Info
	stderr  []byte // of the host's command, its beginning
	code    int    // that the host's command ended with
	signal  string // that ended it instead
	lost    bool   // the channel ended by itself and without an exit status
	err     error  // why the command was not started
}

// carry starts cmd, serves its shell, and returns cmd's end when nothing of both is left.
func (s *rsyncShell) carry(ctx context.Context, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { defer close(s.done); s.serve(serving) }()
	ended, stopped := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(stopped); stopGroup(cmd.Process.Pid, ended) })
	err := cmd.Wait()
	close(ended)
	if !stop() {
		<-stopped
	}
	s.listener.Close()
	cancel()
	<-s.done
	endGroup(cmd.Process.Pid)
	return err
}

type openedSession struct {
	*pool.Session
	err error
}

// serve opens a session while rsync starts its shell, and connects the two.
func (s *rsyncShell) serve(ctx context.Context) {
	opened := make(chan openedSession, 1)
	go func() {
		sess, err := s.pool.Session(ctx, s.target)
		opened <- openedSession{sess, err}
	}()
	peer, err := s.listener.Accept()
	o := <-opened
	if o.err == nil {
		defer o.Close()
		s.lease = o.Info
	}
	switch {
	case err != nil: // rsync has ended before
		if o.err == nil {
			go ssh.DiscardRequests(o.Requests)
		}
	case o.err != nil:
		s.err = o.err
		peer.Exit(shellDisconnected)
		peer.Close()
	default:
		s.connect(ctx, peer, o.Session)
		peer.Close()
	}
}

// plain is a word that means itself to every shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9=.,_/:+-]+$`)

// connect runs the command on the host, with its streams those of the peer.
func (s *rsyncShell) connect(ctx context.Context, peer *rsyncshell.Peer, sess *pool.Session) {
	x := &execution{sess: sess, ended: make(chan struct{})}
	go x.watch()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(interrupted); hangUp(peer, x) })
	var rsyncEnded sync.WaitGroup
	if s.err = startWords(sess, peer.Words); s.err == nil {
		s.started = true
		s.pump(peer, x, &rsyncEnded)
	} else {
		sess.Channel.Close()
		<-x.ended
	}
	s.lost = !x.exited && ctx.Err() == nil
	if !stop() {
		<-interrupted
	}
	s.code, s.signal = x.code, x.signal
	if x.exited && x.signal == "" {
		peer.Exit(x.code)
	} else {
		peer.Exit(shellDisconnected)
	}
	rsyncEnded.Wait()
}

// hangUp ends the host's rsync as one does that loses its other side, which makes it tidy up, and interrupts it if that takes too long.
func hangUp(peer *rsyncshell.Peer, x *execution) {
	_ = peer.In.SetReadDeadline(time.Now()) // pump then sends the end
	t := time.NewTimer(stopGrace)
	defer t.Stop()
	select {
	case <-x.ended:
	case <-t.C:
		x.interrupt()
	}
}

// startWords runs rsync's command line. It holds no path: those go over its connection.
func startWords(sess *pool.Session, words []string) error {
	for _, w := range words {
		if !plain.MatchString(w) {
			return &Error{Kind: Refused, Err: fmt.Errorf("the local rsync wants to run a command on the host with %q, which a shell could misread", w)}
		}
	}
	ok, err := sess.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{strings.Join(words, " ")}))
	switch {
	case err != nil:
		return &Error{Kind: Broken, Err: fmt.Errorf("the connection broke before rsync was started on the host: %w", err)}
	case !ok:
		return &Error{Kind: Refused, Err: errRefused}
	}
	return nil
}

// pumpSize is how many bytes are read at once: as many as rsync writes at once.
const pumpSize = 256 << 10

// pump moves bytes both ways until the host's command has ended and all it wrote has been read. What rsync writes is read until it closes
// its end, which is later: an rsync that cannot write kills its receiver, which may then leave a temporary file, while one that reads the
// end of its input lets it tidy up.
func (s *rsyncShell) pump(peer *rsyncshell.Peer, x *execution, rsyncEnded *sync.WaitGroup) {
	rsyncEnded.Go(func() {
		_, err := io.CopyBuffer(x.sess.Channel, onlyReader{peer.In}, make([]byte, pumpSize))
		_ = x.sess.CloseWrite()
		if err != nil {
			_ = peer.In.SetReadDeadline(time.Time{})
			_, _ = io.Copy(io.Discard, peer.In)
		}
	})
	var out sync.WaitGroup
	out.Go(func() {
		_, err := io.CopyBuffer(onlyWriter{peer.Out}, x.sess.Channel, make([]byte, pumpSize))
		peer.Out.Close()
		if err != nil { // rsync is gone, and what more comes must not block the connection
			_, _ = io.Copy(io.Discard, x.sess.Channel)
		}
	})
	out.Go(func() { s.stderr, _ = capture(x.sess.Stderr(), 16<<10) })
	out.Wait()
	<-x.ended
}

// onlyReader and onlyWriter hide what would make io.CopyBuffer ignore its buffer.
type onlyReader struct{ io.Reader }

type onlyWriter struct{ io.Writer }
