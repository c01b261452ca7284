package fakessh

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"
)

// session is one session channel. The goroutine that serves its requests also
// waits for its command, which runs in a second one.
type session struct {
	host *Host
	conn *conn
	user string
	ch   gossh.Channel

	pty     bool
	started bool
	arrived time.Time // when the latest request did
	ctx     context.Context
	cancel  context.CancelFunc
	name    atomic.Pointer[string] // the exec string or the subsystem
	done    chan struct{}          // closed when the command has returned
	ended   atomic.Bool            // the last messages on the channel are decided
}

// serveSession accepts a session channel and serves it to its end.
func (h *Host) serveSession(_ *ssh.Server, sc *gossh.ServerConn, nc gossh.NewChannel, ctx ssh.Context) {
	c := ctx.Value(connKey{}).(*conn)
	s := &session{host: h, conn: c, user: sc.User()}
	if !h.admit(s) {
		nc.Reject(gossh.ConnectionFailed, "open failed")
		return
	}
	defer h.wg.Done()
	ch, reqs, err := nc.Accept()
	if err != nil {
		h.forget(s)
		return
	}
	s.ch = ch
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.serve(reqs)
}

// admit enters the session in the books unless it is one too many.
func (h *Host) admit(s *session) bool {
	bound := h.opts.MaxSessions
	if of := h.inject.now.Load().MaxSessions; of > 0 {
		bound = of
	}
	if n := s.conn.sessions.Add(1); bound > 0 && n > int64(bound) {
		s.conn.sessions.Add(-1)
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.sessions[s] = struct{}{}
	h.wg.Add(1)
	h.stats.sessionsOpened.Add(1)
	return true
}

// forget takes the session out of the books; its slot is free again. It does so
// once.
func (h *Host) forget(s *session) {
	h.mu.Lock()
	_, known := h.sessions[s]
	delete(h.sessions, s)
	h.mu.Unlock()
	if known {
		s.conn.sessions.Add(-1)
		h.stats.sessionsClosed.Add(1)
	}
}

// what names the work of the session for people.
func (s *session) what() string {
	if name := s.name.Load(); name != nil {
		return *name
	}
	return "idle session"
}

// serve answers requests until the channel is closed from either side, then
// waits for the command.
func (s *session) serve(reqs <-chan *gossh.Request) {
	for req := range reqs {
		s.arrived = time.Now()
		ok := s.request(req)
		if req.WantReply {
			req.Reply(ok, nil)
		}
		if ok {
			s.launch(req)
		}
	}
	s.cancel()
	if s.done != nil {
		<-s.done
	}
	s.ch.Close()
	s.host.forget(s)
}

// request decides a request before it is answered.
func (s *session) request(req *gossh.Request) bool {
	switch req.Type {
	case "exec", "subsystem":
		var p struct{ Value string }
		if s.started || gossh.Unmarshal(req.Payload, &p) != nil {
			return false
		}
		if req.Type == "subsystem" && p.Value != "sftp" {
			return false
		}
		s.started = true
		s.name.Store(&p.Value)
		return true
	case "shell":
		first := !s.started
		s.started = true
		return first
	case "pty-req":
		if s.started { // the command may be reading the field
			return false
		}
		s.pty = true
		return true
	case "env", "window-change":
		return true
	case "signal":
		var p struct{ Value string }
		if gossh.Unmarshal(req.Payload, &p) != nil {
			return false
		}
		s.signal(p.Value)
		return true
	}
	return false
}

// launch starts what an accepted request asks for.
func (s *session) launch(req *gossh.Request) {
	var run func() int
	switch req.Type {
	case "exec":
		line, arrived := *s.name.Load(), s.arrived
		run = func() int { return s.exec(line, arrived) }
	case "subsystem":
		run = s.sftp
	case "shell":
		run = s.shell
	default:
		return
	}
	s.done = make(chan struct{})
	go func() {
		defer close(s.done)
		s.exit(run())
	}()
}

// signal ends the command for the client at once: it is told of the signal, its
// channel is closed, and the context of the command is cancelled.
func (s *session) signal(name string) {
	switch name {
	case "TERM", "KILL", "INT", "HUP", "QUIT", "ABRT":
	default:
		return
	}
	if s.done == nil || !s.ended.CompareAndSwap(false, true) {
		return
	}
	s.cancel()
	s.end("exit-signal", gossh.Marshal(struct {
		Signal     string
		CoreDumped bool
		Error      string
		Lang       string
	}{Signal: name}))
}

// exit ends the session after its command has returned.
func (s *session) exit(code int) {
	s.host.forget(s)
	if s.ended.CompareAndSwap(false, true) {
		s.end("exit-status", gossh.Marshal(struct{ Status uint32 }{uint32(code)}))
	}
}

// end sends the last messages of the channel. The close implies the end of the
// output.
func (s *session) end(request string, payload []byte) {
	s.ch.SendRequest(request, false, payload)
	s.ch.Close()
}

func (s *session) shell() int {
	io.WriteString(s.ch, "fakessh: there is no interactive shell here; give a command\n")
	return 1
}

func (s *session) sftp() int {
	handlers := s.host.inject.slow(s.ctx, s.host.handlers, &s.host.stats)
	server := sftp.NewRequestServer(s.ch, handlers,
		sftp.WithStartDirectory(s.host.home), sftp.WithRSAllocator())
	if err := server.Serve(); err != nil && err != io.EOF {
		return 1
	}
	return 0
}
