package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// RawSSHConfig says which hosts RawSSH reaches.
type RawSSHConfig struct {
	Targets     []SSHTarget // at least one; ReadSSHTarget makes one of a profile and its secret
	Connections int         // to each of them, 0 for 8
}

const defaultConnections = 8

// RawSSH runs commands on hosts with the SSH library alone, on connections that are opened here and used in turn: the limit that a server
// between client and host is compared with. It knows one tool, ssh_exec, with the parameters profile_id and command, and answers with
// stdout, stderr and exit_code. Connections that break are not made again. ctx bounds the dialling.
func RawSSH(ctx context.Context, cfg RawSSHConfig) (loadgen.Driver, error) {
	if len(cfg.Targets) == 0 {
		return nil, errors.New("raw-ssh has no host: give it a target")
	}
	if cfg.Connections == 0 {
		cfg.Connections = defaultConnections
	}
	d := &rawDriver{hosts: map[string]*rawHost{}}
	var addrs []string
	for _, t := range cfg.Targets {
		h := &rawHost{}
		d.hosts[t.Profile] = h
		addrs = append(addrs, t.Address)
		for range cfg.Connections {
			c, err := t.dial(ctx)
			if err != nil {
				_ = d.Close() // what went wrong before says more
				return nil, fmt.Errorf("%w: profile %s: %w", ErrServerStart, t.Profile, err)
			}
			h.conns = append(h.conns, newRawConn(t.Address, c))
		}
	}
	slices.Sort(addrs)
	d.address = strings.Join(slices.Compact(addrs), ", ")
	return d, nil
}

type rawDriver struct {
	hosts   map[string]*rawHost // by profile
	address string
	closed  atomic.Bool
}

type rawHost struct {
	conns []*rawConn
	next  atomic.Uint64
}

// rawConn is a connection and what runs on it.
type rawConn struct {
	address string
	client  *ssh.Client
	ended   chan struct{} // closed with err set
	err     error

	mu   sync.Mutex
	shut bool           // nothing starts any more
	wg   sync.WaitGroup // commands
}

func newRawConn(address string, c *ssh.Client) *rawConn {
	r := &rawConn{address: address, client: c, ended: make(chan struct{})}
	go func() {
		r.err = c.Wait()
		close(r.ended)
	}()
	return r
}

// begin enters what is about to use the connection. Who gets true calls wg.Done.
func (c *rawConn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.shut {
		c.wg.Add(1)
	}
	return !c.shut
}

func (c *rawConn) close() {
	c.mu.Lock()
	c.shut = true
	c.mu.Unlock()
	_ = c.client.Close() // it may be closed already
	<-c.ended
	c.wg.Wait()
}

// explain puts the connection's end in the place of an error that it caused.
func (c *rawConn) explain(err error) error {
	timer := time.NewTimer(blameGrace)
	defer timer.Stop()
	select {
	case <-c.ended:
		return fmt.Errorf("the SSH connection to %s ended: %v", c.address, c.err)
	case <-timer.C:
		return err
	}
}

func (d *rawDriver) Open(ctx context.Context) (loadgen.Session, error) {
	if d.closed.Load() {
		return nil, errClosed
	}
	return rawSession{d}, ctx.Err()
}

func (d *rawDriver) Info() loadgen.DriverInfo {
	return loadgen.DriverInfo{Kind: "raw-ssh", ServerName: "SSH hosts", Address: d.address, Sessions: SessionsShared, SharedSession: true}
}

func (d *rawDriver) Close() error {
	d.closed.Store(true)
	for _, h := range d.hosts {
		for _, c := range h.conns {
			c.close()
		}
	}
	return nil
}

// rawSession is one user's view of the shared connections; there is nothing to close.
type rawSession struct{ d *rawDriver }

func (rawSession) Close() error { return nil }

func (s rawSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	if err := ctx.Err(); err != nil {
		return loadgen.Reply{}, err
	}
	if c.Tool != "ssh_exec" && c.Tool != "ssh.exec" {
		return loadgen.Reply{Code: CodeProtocol, Error: fmt.Sprintf("raw-ssh has no tool %s: it only knows ssh_exec", c.Tool)}, nil
	}
	for _, name := range []string{"sudo", "pty", "dry_run"} {
		if v, _ := c.Args[name].(bool); v {
			return loadgen.Reply{Code: "INVALID_PARAMETERS", Error: "raw-ssh does not know the parameter " + name + ": leave it out"}, nil
		}
	}
	profile, _ := c.Args["profile_id"].(string)
	h := s.d.hosts[profile]
	if h == nil {
		return loadgen.Reply{Code: "PROFILE_NOT_FOUND", Error: fmt.Sprintf("raw-ssh has no connection to profile %q", profile)}, nil
	}
	command, _ := c.Args["command"].(string)
	conn := h.conns[h.next.Add(1)%uint64(len(h.conns))]
	return conn.run(ctx, command)
}

// run runs a command and waits for its end or ctx's. In the latter case it is killed without the caller waiting for that.
func (c *rawConn) run(ctx context.Context, command string) (loadgen.Reply, error) {
	if !c.begin() {
		return loadgen.Reply{}, errClosed
	}
	x := &rawCommand{conn: c, line: command, done: make(chan struct{})}
	go x.run()
	select {
	case <-x.done:
		return x.reply, x.err
	case <-ctx.Done():
		if c.begin() {
			go x.kill()
		}
		return loadgen.Reply{}, ctx.Err()
	}
}

// rawCommand is one command on a channel of its own.
type rawCommand struct {
	conn  *rawConn
	line  string
	done  chan struct{} // closed with reply or err set
	reply loadgen.Reply
	err   error

	mu      sync.Mutex
	channel ssh.Channel // nil until it is open
	killed  bool
}

// kill ends the command. One that has not started yet never does.
func (x *rawCommand) kill() {
	defer x.conn.wg.Done()
	x.mu.Lock()
	x.killed = true
	ch := x.channel
	x.mu.Unlock()
	if ch != nil {
		_, _ = ch.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"})) // closing the channel comes next anyway
		_ = ch.Close()
	}
}

var errKilled = errors.New("the command was given up")

func (x *rawCommand) run() {
	defer x.conn.wg.Done()
	defer close(x.done)
	ch, requests, err := x.conn.client.OpenChannel("session", nil)
	if err != nil {
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			x.reply = loadgen.Reply{Code: "LIMIT_EXCEEDED", Error: fmt.Sprintf("%s refuses a channel: %v; use more connections", x.conn.address, err)}
			return
		}
		x.err = x.conn.explain(err)
		return
	}
	defer ch.Close()
	x.mu.Lock()
	x.channel = ch
	killed := x.killed
	x.mu.Unlock()
	if killed {
		x.err = errKilled
		return
	}
	x.execute(ch, requests)
}

// execute reads output while the request's reply is still on its way, which saves a round trip. The few requests that a host sends on a
// channel, its exit status above all, wait in the library's queue until the output has ended.
func (x *rawCommand) execute(ch ssh.Channel, requests <-chan *ssh.Request) {
	var stderr []byte
	var startErr error
	started := make(chan struct{})
	go func() {
		defer close(started)
		ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{x.line}))
		if err == nil && !ok {
			err = errors.New("the host refuses to run commands")
		}
		if startErr = err; err != nil {
			_ = ch.Close()
			return
		}
		_ = ch.CloseWrite() // the command finds its standard input empty
		stderr = capture(ch.Stderr())
	}()
	stdout := capture(ch)
	<-started
	code, ended := exitCode(requests)
	switch {
	case startErr != nil:
		x.err = x.conn.explain(startErr)
	case !ended:
		x.err = x.conn.explain(fmt.Errorf("%s closed the channel before the command had ended", x.conn.address))
	default:
		x.reply = loadgen.Reply{Data: map[string]any{"stdout": string(stdout), "stderr": string(stderr), "exit_code": float64(code)}}
	}
}

// maxOutput bounds what is kept of a command's output; the rest is read and dropped.
const maxOutput = 64 << 20

func capture(r io.Reader) []byte {
	b, err := io.ReadAll(io.LimitReader(r, maxOutput))
	if err == nil {
		_, _ = io.Copy(io.Discard, r) // the exit code tells of a broken channel
	}
	return b
}

// exitCode reads a channel's requests to their end: the exit code, −1 when a signal ended the command.
func exitCode(requests <-chan *ssh.Request) (code int, ended bool) {
	for req := range requests {
		var status struct{ Code uint32 }
		switch {
		case req.Type == "exit-status" && ssh.Unmarshal(req.Payload, &status) == nil:
			code, ended = int(status.Code), true
		case req.Type == "exit-signal":
			code, ended = -1, true
		}
		if req.WantReply {
			_ = req.Reply(false, nil) // a broken channel shows in what follows
		}
	}
	return code, ended
}
