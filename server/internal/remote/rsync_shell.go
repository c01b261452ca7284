//go:build unix

package remote

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
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
	words    []string      // what rsync will probably want to run on the host, and at the end what it did
	done     chan struct{} // closed when serve has returned; then the rest is settled

	finished bool // rsync has ended well; set before serve's context ends

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
	living, bereave := context.WithCancel(ctx) // ends when cmd has no reason to go on
	defer bereave()
	go func() {
		defer close(s.done)
		s.serve(serving, bereave)
	}()
	ended, stopped := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(living, func() { defer close(stopped); stopGroup(cmd.Process.Pid, ended) })
	err := cmd.Wait()
	close(ended)
	if !stop() {
		<-stopped
	}
	s.listener.Close()
	s.finished = err == nil
	cancel()
	<-s.done
	endGroup(cmd.Process.Pid)
	return err
}

// hostRsync is a session for the host's rsync.
type hostRsync struct {
	*execution          // nil without a session
	words      []string // the command line that was started; or nil
	err        error
}

// open opens a session, and starts words there if there are any.
func (s *rsyncShell) open(ctx context.Context, words []string) hostRsync {
	sess, err := s.pool.Session(ctx, s.target)
	if err != nil {
		return hostRsync{err: err}
	}
	r := hostRsync{execution: &execution{sess: sess, ended: make(chan struct{})}}
	go r.watch()
	if words != nil {
		r.start(ctx, words)
	}
	return r
}

func (r *hostRsync) start(ctx context.Context, words []string) {
	defer context.AfterFunc(ctx, func() { r.sess.Channel.Close() })()
	r.words, r.err = words, startWords(r.sess, words)
}

// serve opens a session while rsync starts its shell, and connects the two. The host's rsync is started at once where its command line can
// be foretold: without what rsync sends it first, it does nothing. When the host's rsync has failed, bereave is called.
func (s *rsyncShell) serve(ctx context.Context, bereave func()) {
	first := make(chan hostRsync, 1)
	go func() { first <- s.open(ctx, s.words) }()
	peer, err := s.listener.Accept()
	r := <-first
	if err == nil {
		defer peer.Close()
		if r.err == nil && r.words != nil && !slices.Equal(r.words, peer.Words) {
			r.sess.Close()
			r = s.open(ctx, nil)
		}
		if r.err == nil && r.words == nil {
			r.start(ctx, peer.Words)
		}
	}
	if r.execution != nil {
		defer r.sess.Close()
		s.lease = r.sess.Info
	}
	switch {
	case err != nil: // rsync has ended before
	case r.err != nil:
		s.err = r.err
	default:
		s.started, s.words = true, r.words
		s.connect(ctx, peer, r.execution, bereave)
	}
}

// plain is a word that means itself to every shell.
var plain = regexp.MustCompile(`^[A-Za-z0-9=.,_/:+-]+$`)

// connect makes the peer's streams those of the host's rsync, until both have ended.
func (s *rsyncShell) connect(ctx context.Context, peer *rsyncshell.Peer, x *execution, bereave func()) {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(interrupted); s.hangUp(peer, x) })
	var rsyncEnded sync.WaitGroup
	s.pump(peer, x, &rsyncEnded)
	s.lost = !x.exited && ctx.Err() == nil
	if !stop() {
		<-interrupted
	}
	if s.code, s.signal = x.code, x.signal; s.code != 0 && s.code != rsyncPartial && s.code != rsyncVanished {
		bereave() // or it might sleep for long under a bandwidth limit before it notices
	}
	rsyncEnded.Wait()
}

// hangUp ends the host's rsync as one does that loses its other side, which makes it tidy up, and interrupts it if that takes too long. One
// whose other side has ended well has said its last word, when all was done: it only waits for a process of its own, in steps of 20 ms.
func (s *rsyncShell) hangUp(peer *rsyncshell.Peer, x *execution) {
	if s.finished {
		x.sess.Channel.Close()
		return
	}
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
	out.Go(func() { s.stderr, _ = capture(x.sess.Stderr(), nil, 16<<10) })
	out.Wait()
	<-x.ended
}

// onlyReader and onlyWriter hide what would make io.CopyBuffer ignore its buffer.
type onlyReader struct{ io.Reader }

type onlyWriter struct{ io.Writer }
