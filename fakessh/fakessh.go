// Package fakessh is an SSH host in the process that asks for it, in the shape
// of net/http/httptest: [Start] listens on loopback, [Host.Addr] tells where,
// [Host.Close] waits until all is gone.
//
// A host runs commands from a small table of Go functions (command.go and
// builtin.go; add your own with [Host.Handle]), serves SFTP over one tree in
// memory ([Host.FS]), forwards TCP to and from loopback addresses and to an echo
// service of its own (forward.go), and counts what it did ([Host.Stats]). No file
// of the machine is read, run or written, except by [Host.WriteProfile], which
// leaves a profile and its secret ready for a server that shall connect to the
// host.
//
// A connection is served in conn.go and written to through batch.go; session.go
// follows one channel from its request to its exit status.
//
// What goes wrong at a host, and how long its work takes, is said by [Faults]
// (faults.go, read from YAML in faults_file.go) and may change while it runs;
// inject.go has it happen, and records how late things really were ([Host.Delays]).
//
// Of SSH it offers what a command runner needs: password and public key
// authentication, session channels with exec and the sftp subsystem, pty and env
// requests, signals, exit-status and exit-signal; and direct-tcpip, tcpip-forward,
// cancel-tcpip-forward and forwarded-tcpip. There is no interactive shell.
package fakessh

import (
	"errors"
	"fmt"
	"net"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gliderlabs/ssh"
	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// closeGrace is how long Close waits for what still runs.
const closeGrace = 5 * time.Second

// Options configures a host. The zero value listens on a free loopback port with
// a fresh host key and accepts every user, key and password.
type Options struct {
	// Addr is the TCP address to listen on, "127.0.0.1:0" if empty.
	Addr string
	// Listener, if set, is where the host accepts connections instead of
	// listening on Addr. The host closes it. Its address is a *net.TCPAddr.
	Listener net.Listener
	// Users are those who may log in; nil admits everyone.
	Users map[string]User
	// HostKey identifies the host; nil means a fresh ed25519 key.
	HostKey gossh.Signer
	// Home is where commands and SFTP sessions start and relative paths are
	// resolved, "/" if empty. It is created in the tree.
	Home string
	// Latency slows operations down; the zero value does not.
	Latency Latency
	// Faults are what goes wrong from the start; [Host.SetFaults] changes them.
	Faults Faults
	// GoTimers has the host wait with Go's own timers, which may be late by a
	// millisecond, but work in a testing/synctest bubble.
	GoTimers bool
	// MaxSessions bounds the session channels open on one connection; further
	// ones are refused as OpenSSH does. 0 means no bound. As in OpenSSH, a
	// channel that the client closes counts until its command has ended.
	MaxSessions int
	// NoForwarding refuses TCP forwarding, as OpenSSH does under
	// AllowTcpForwarding no.
	NoForwarding bool
	// Handlers are commands by name, beside or instead of the built-in ones.
	Handlers map[string]Handler
	// FS is the tree to serve, an empty unbounded one if nil.
	FS *memfs.FS
	// Rsync adds the server side of the rsync installed on this machine, and
	// /rsync, a temporary directory of this machine, which is all that it and
	// SFTP see there; the other commands see an empty directory. Close removes
	// it. Listen fails where no rsync is installed.
	Rsync bool
}

// User says how one user may log in; either suffices, and the zero value admits
// the user by neither.
type User struct {
	Password       string // empty means that no password is accepted
	AuthorizedKeys []gossh.PublicKey
}

// Host is a running SSH host, safe for concurrent use. The one who started it
// calls Close.
type Host struct {
	opts       Options
	listener   net.Listener
	server     *ssh.Server
	fs         *memfs.FS
	home       string
	handlers   sftp.Handlers // of fs
	inject     injector
	capacity   int64        // of fs, where no fault sets one
	startups   atomic.Int64 // connections that have not logged in yet
	stats      stats
	commands   commandTable
	rsync      *rsyncHost // nil without Options.Rsync
	profileKey profileKey
	grace      time.Duration // closeGrace

	mu       sync.Mutex
	closed   bool
	conns    map[*conn]struct{}
	sessions map[*session]struct{}
	wg       sync.WaitGroup // accept loop, connections and sessions; Add needs mu and !closed
}

// Start starts a host. It panics if it cannot listen on the address, since there
// is nothing that a test could do about it.
func Start(opts Options) *Host {
	h, err := Listen(opts)
	if err != nil {
		panic(err)
	}
	return h
}

// Listen is Start for programs: it returns the error that Start panics with.
func Listen(opts Options) (*Host, error) {
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	if opts.HostKey == nil {
		opts.HostKey, _ = newKey()
	}
	if opts.FS == nil {
		opts.FS = memfs.New(memfs.Options{})
	}
	h := &Host{
		opts: opts, fs: opts.FS, home: path.Clean("/" + opts.Home),
		handlers: opts.FS.Handlers(), capacity: opts.FS.Capacity(), grace: closeGrace,
		conns: make(map[*conn]struct{}), sessions: make(map[*session]struct{}),
	}
	h.inject.init(opts)
	if err := h.fs.MkdirAll(h.home, 0o755); err != nil {
		return nil, fmt.Errorf("fakessh: home: %v", err)
	}
	h.commands.init(opts.Handlers)
	if opts.Rsync {
		var err error
		if h.rsync, err = newRsyncHost(h.fs); err != nil {
			return nil, err
		}
		h.Handle("rsync", h.rsync.command)
		h.handlers = h.rsync.mount(h.handlers)
	}
	h.server = h.newServer()
	if h.listener = opts.Listener; h.listener == nil {
		l, err := net.Listen("tcp", opts.Addr)
		if err != nil {
			return nil, fmt.Errorf("fakessh: %v", err)
		}
		h.listener = l
	}
	if err := h.SetFaults(opts.Faults); err != nil {
		h.listener.Close()
		return nil, fmt.Errorf("fakessh: faults: %w", err)
	}
	h.wg.Go(h.accept)
	return h, nil
}

func (h *Host) newServer() *ssh.Server {
	return &ssh.Server{
		HostSigners:      []ssh.Signer{h.opts.HostKey},
		Version:          "fakessh",
		PasswordHandler:  h.checkPassword,
		PublicKeyHandler: h.checkKey,
		ConnCallback:     bindConn,
		ServerConfigCallback: func(ctx ssh.Context) *gossh.ServerConfig {
			return &gossh.ServerConfig{AuthLogCallback: func(_ gossh.ConnMetadata, _ string, err error) {
				if err == nil {
					ctx.Value(connKey{}).(*conn).started()
				}
			}}
		},
		ChannelHandlers: map[string]ssh.ChannelHandler{"session": h.serveSession, "direct-tcpip": h.serveDirect},
		RequestHandlers: map[string]ssh.RequestHandler{
			"keepalive@openssh.com": answerKeepalive, "tcpip-forward": h.listenFor, "cancel-tcpip-forward": h.cancelListen,
		},
	}
}

// answerKeepalive says yes, so that a client can tell a live host from one that
// merely knows no such request.
func answerKeepalive(ssh.Context, *ssh.Server, *gossh.Request) (bool, []byte) { return true, nil }

// accept serves connections until the listener is closed.
func (h *Host) accept() {
	for {
		c, err := h.listener.Accept()
		if err == nil {
			h.serveConn(c)
			continue
		}
		if h.isClosed() {
			return
		}
		time.Sleep(5 * time.Millisecond) // out of file descriptors
	}
}

func (h *Host) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Addr returns the host and port to dial.
func (h *Host) Addr() string { return h.listener.Addr().String() }

// HostKey returns the public key that the host proves to own.
func (h *Host) HostKey() gossh.PublicKey { return h.opts.HostKey.PublicKey() }

// FS returns the tree behind SFTP and the commands.
func (h *Host) FS() *memfs.FS { return h.fs }

// CloseClientConnections cuts every TCP connection at once, without a goodbye.
// The host goes on accepting new ones.
func (h *Host) CloseClientConnections() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		c.cut()
	}
}

// Close stops listening, cuts all connections, cancels all commands and waits
// for them up to five seconds. The error names what still runs then; it keeps
// running. A second Close waits again and is otherwise harmless.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	err := h.listener.Close()
	h.inject.stop()
	h.CloseClientConnections()

	done := make(chan struct{})
	go func() { h.wg.Wait(); close(done) }()
	select {
	case <-done:
		h.inject.timer.Close()
		if h.rsync != nil {
			h.rsync.close()
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("fakessh: close: %v", err)
		}
		return nil
	case <-time.After(h.grace):
		return h.blocked()
	}
}
