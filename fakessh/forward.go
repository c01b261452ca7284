package fakessh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// EchoHost and EchoPort address a service inside the host: a forwarded connection
// to it gets back what it sends. It needs no socket.
const (
	EchoHost = "echo.fake"
	EchoPort = 7
)

// forwardTimeout bounds one attempt to connect to where a channel leads.
const forwardTimeout = 10 * time.Second

// forwardOpen is the payload that opens a direct-tcpip or forwarded-tcpip channel
// (RFC 4254, section 7.2).
type forwardOpen struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// loopback gives the address for package net. It fails unless the host is a
// loopback address: the fake reaches nothing but this machine.
func loopback(host string, port uint32) (string, error) {
	name := host
	if strings.EqualFold(host, "localhost") {
		name = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(name)
	if err != nil || !ip.IsLoopback() || port > 65535 {
		return "", fmt.Errorf("%s:%d is neither on loopback nor %s:%d", host, port, EchoHost, EchoPort)
	}
	return net.JoinHostPort(name, strconv.Itoa(int(port))), nil
}

// duplex is either side of a forwarded connection.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// serveDirect serves a direct-tcpip channel: it connects to what the client names.
func (h *Host) serveDirect(_ *ssh.Server, _ *gossh.ServerConn, nc gossh.NewChannel, ctx ssh.Context) {
	c := ctx.Value(connKey{}).(*conn)
	var open forwardOpen
	switch err := gossh.Unmarshal(nc.ExtraData(), &open); {
	case err != nil:
		nc.Reject(gossh.ConnectionFailed, "malformed request")
	case h.opts.NoForwarding:
		nc.Reject(gossh.Prohibited, "open failed")
	case !h.spawn(func() { h.connect(c, nc, open) }):
		nc.Reject(gossh.ConnectionFailed, "the host is closing")
	}
}

func (h *Host) connect(c *conn, nc gossh.NewChannel, to forwardOpen) {
	if to.Host == EchoHost && to.Port == EchoPort {
		if ch, reqs, err := nc.Accept(); err == nil {
			h.carry(c, ch, reqs, nil)
		}
		return
	}
	addr, err := loopback(to.Host, to.Port)
	if err != nil {
		nc.Reject(gossh.Prohibited, err.Error())
		return
	}
	d := net.Dialer{Timeout: forwardTimeout}
	far, err := d.DialContext(c.ctx, "tcp", addr)
	if err != nil {
		nc.Reject(gossh.ConnectionFailed, dialReason(err))
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		far.Close()
		return
	}
	h.carry(c, ch, reqs, far.(*net.TCPConn))
}

// dialReason says why a connection failed in the words of OpenSSH.
func dialReason(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return reason(errno)
	}
	return err.Error()
}

// carry copies between a channel and a connection, or back to the channel where
// there is none, until both directions have ended or the SSH connection has.
func (h *Host) carry(c *conn, ch gossh.Channel, reqs <-chan *gossh.Request, far *net.TCPConn) {
	h.stats.forwardsOpened.Add(1)
	defer h.stats.forwardsClosed.Add(1)
	closed := make(chan struct{}) // from both sides
	go func() { defer close(closed); gossh.DiscardRequests(reqs) }()
	defer func() { <-closed }()
	defer ch.Close()
	if far == nil {
		copyHalf(ch, ch)
		return
	}
	defer far.Close()
	stop := context.AfterFunc(c.ctx, func() {
		far.SetLinger(0)
		far.Close()
	})
	defer stop()
	back := make(chan struct{})
	go func() { defer close(back); copyHalf(ch, far) }()
	copyHalf(far, ch)
	select {
	case <-back:
	case <-closed:
		far.Close()
		<-back
	}
}

// copyHalf copies one direction and ends it, as the sender has. What cannot be
// delivered ends the whole connection.
func copyHalf(dst, src duplex) {
	_, err := io.Copy(dst, src)
	if err == nil {
		err = dst.CloseWrite()
	}
	if err != nil {
		dst.Close()
		src.Close()
	}
}

// forwards are the addresses that one SSH connection has the host listen on.
type forwards struct {
	mu        sync.Mutex
	listeners map[string]net.Listener // by host:port as the client knows it
}

// listenFor serves tcpip-forward: it listens on loopback and opens a channel to
// the client for each connection.
func (h *Host) listenFor(ctx ssh.Context, _ *ssh.Server, req *gossh.Request) (bool, []byte) {
	c := ctx.Value(connKey{}).(*conn)
	var want struct {
		Host string
		Port uint32
	}
	if gossh.Unmarshal(req.Payload, &want) != nil || h.opts.NoForwarding {
		return false, nil
	}
	addr, err := loopback(want.Host, want.Port)
	if err != nil {
		return false, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false, nil
	}
	port := l.Addr().(*net.TCPAddr).Port
	client := ctx.Value(ssh.ContextKeyConn).(*gossh.ServerConn)
	h.stats.listenersOpened.Add(1)
	if !h.spawn(func() { h.acceptForwards(c, client, l, forwardOpen{Host: want.Host, Port: uint32(port)}) }) {
		h.stats.listenersClosed.Add(1)
		l.Close()
		return false, nil
	}
	c.forwards.add(want.Host, port, l)
	if want.Port != 0 {
		return true, nil
	}
	return true, gossh.Marshal(struct{ Port uint32 }{uint32(port)})
}

// cancelListen serves cancel-tcpip-forward. Connections made before go on.
func (h *Host) cancelListen(ctx ssh.Context, _ *ssh.Server, req *gossh.Request) (bool, []byte) {
	c := ctx.Value(connKey{}).(*conn)
	var p struct {
		Host string
		Port uint32
	}
	if gossh.Unmarshal(req.Payload, &p) != nil {
		return false, nil
	}
	return c.forwards.cancel(p.Host, int(p.Port)), nil
}

func (f *forwards) add(host string, port int, l net.Listener) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listeners == nil {
		f.listeners = map[string]net.Listener{}
	}
	f.listeners[net.JoinHostPort(host, strconv.Itoa(port))] = l
}

func (f *forwards) cancel(host string, port int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := net.JoinHostPort(host, strconv.Itoa(port))
	l, ok := f.listeners[key]
	if ok {
		l.Close()
		delete(f.listeners, key)
	}
	return ok
}

// acceptForwards serves one listener until it or the SSH connection is closed.
func (h *Host) acceptForwards(c *conn, client *gossh.ServerConn, l net.Listener, as forwardOpen) {
	defer h.stats.listenersClosed.Add(1)
	stop := context.AfterFunc(c.ctx, func() { l.Close() })
	defer stop()
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		origin := near.RemoteAddr().(*net.TCPAddr)
		open := as
		open.OriginHost, open.OriginPort = origin.IP.String(), uint32(origin.Port)
		if !h.spawn(func() { h.offer(c, client, near.(*net.TCPConn), open) }) {
			near.Close()
		}
	}
}

// offer opens a forwarded-tcpip channel for a connection that a listener took.
func (h *Host) offer(c *conn, client *gossh.ServerConn, near *net.TCPConn, open forwardOpen) {
	ch, reqs, err := client.OpenChannel("forwarded-tcpip", gossh.Marshal(open))
	if err != nil {
		near.Close()
		return
	}
	h.carry(c, ch, reqs, near)
}

// spawn starts f as a goroutine that Close waits for, unless the host is closed.
func (h *Host) spawn(f func()) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.wg.Go(f)
	return true
}
