package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// echoed sends data to the echo service and wants it back, and then the end.
func echoed(s *Stream, data []byte) error {
	defer s.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := s.Write(data)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	got, err := io.ReadAll(s)
	if err = errors.Join(err, <-sent); err == nil && !bytes.Equal(got, data) {
		err = errors.New("other bytes came back")
	}
	return err
}

// TestStreamsTakeNoSlots has one connection that admits a single session carry many streams beside it.
func TestStreamsTakeNoSlots(t *testing.T) {
	host, p, target := start(t, fakessh.Options{MaxSessions: 1}, Config{MaxConns: 1, ChannelsPerConn: 1})
	var streams []*Stream
	for range 50 {
		s, err := p.Dial(t.Context(), target, fakessh.EchoHost, fakessh.EchoPort, nil)
		if err != nil {
			t.Fatal(err)
		}
		streams = append(streams, s)
	}
	mustRun(t, p, target, "echo hi", "hi\n")
	if s := p.Stats(); s.Held != 50 || s.Leased != 0 || s.Dials != 1 {
		t.Errorf("stats %+v", s)
	}
	for _, s := range streams {
		if err := echoed(s, []byte("hello")); err != nil {
			t.Error(err)
		}
		s.Close() // harmless
	}
	if s := p.Stats(); s.Held != 0 {
		t.Errorf("stats %+v", s)
	}
	waitUntil(t, func() bool { return host.Stats().OpenForwards == 0 })
}

// TestStreamsBothWays fills a connection in both directions while its channels open and end.
func TestStreamsBothWays(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{MaxConns: 1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	data := bytes.Repeat([]byte("0123456789abcdef"), 16<<10) // 256 KiB
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			for range 2 {
				s, err := p.Dial(ctx, target, fakessh.EchoHost, fakessh.EchoPort, nil)
				if err == nil {
					stop := context.AfterFunc(ctx, func() { s.Close() })
					err = echoed(s, data)
					stop()
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDialSaysWhoRefused(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{})
	_, err := p.Dial(t.Context(), target, "192.0.2.1", 80, nil)
	var e *Error
	var refused *ssh.OpenChannelError
	if !errors.As(err, &e) || e.Kind != KindRefused || !errors.As(err, &refused) || !strings.Contains(err.Error(), "192.0.2.1:80") {
		t.Errorf("got %v", err)
	}
	if s := p.Stats(); s.Held != 0 || s.Open != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestStreamTellsBreakFromEnd cuts the connection under a stream: that is no orderly end.
func TestStreamTellsBreakFromEnd(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{})
	s, err := p.Dial(t.Context(), target, fakessh.EchoHost, fakessh.EchoPort, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	host.CloseClientConnections()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, ErrBroken) {
		t.Errorf("Read: %v", err)
	}
	if _, err := s.Write([]byte("x")); !errors.Is(err, ErrBroken) {
		t.Errorf("Write: %v", err)
	}
	again, err := p.Dial(t.Context(), target, fakessh.EchoHost, fakessh.EchoPort, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoed(again, []byte("next")); err != nil {
		t.Error(err)
	}
}

func TestListen(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{IdleTimeout: 40 * time.Millisecond})
	l, err := p.Listen(t.Context(), target, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Listen(t.Context(), target, "127.0.0.1", l.Port)
	var e *Error
	if !errors.As(err, &e) || e.Kind != KindRefused {
		t.Errorf("a port that is taken: %v", err)
	}
	p.evictIdle(time.Now().Add(time.Hour))
	c, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Port})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := l.Accept()
	if err != nil {
		t.Fatalf("after an eviction that must have spared the connection: %v", err)
	}
	ended := make(chan error, 1)
	go func() { _, err := l.Accept(); ended <- err }()
	l.Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("Accept after Close: %v", err)
	}
	p.evictIdle(time.Now().Add(time.Hour))
	go func() { io.WriteString(c, "still here"); c.CloseWrite() }()
	if got, err := io.ReadAll(s); string(got) != "still here" || err != nil {
		t.Errorf("a stream that outlives its listener: %q, %v", got, err)
	}
	s.Close()
	if n := p.Stats().Held; n != 0 || host.Stats().OpenListeners != 0 {
		t.Errorf("%d held, %+v", n, host.Stats())
	}
}

// TestSilentHostIsFoundOut stops packets from arriving, as a network that breaks in silence would.
func TestSilentHostIsFoundOut(t *testing.T) {
	_, p, target := start(t, fakessh.Options{}, Config{})
	silent := make(chan struct{})
	var dials atomic.Int64
	dial := func(ctx context.Context, t *profile.Target) (net.Conn, error) {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", t.Addr)
		if err == nil && dials.Add(1) == 1 {
			c = &swallowing{Conn: c, silent: silent, closed: make(chan struct{})}
		}
		return c, err
	}
	p.Reconfigure(Config{Dial: dial, KeepaliveInterval: 20 * time.Millisecond, KeepaliveTimeout: 100 * time.Millisecond})
	l, err := p.Listen(t.Context(), target, "127.0.0.1", 0)
	if err != nil {
		t.Fatal(err)
	}
	close(silent)
	if _, err := l.Accept(); !errors.Is(err, ErrBroken) {
		t.Errorf("Accept: %v", err)
	}
	l.Close()
	s, err := p.Dial(t.Context(), target, fakessh.EchoHost, fakessh.EchoPort, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoed(s, []byte("next")); err != nil || dials.Load() != 2 {
		t.Errorf("over the next of %d connections: %v", dials.Load(), err)
	}
}

// swallowing is a connection that loses what arrives once silent is closed.
type swallowing struct {
	net.Conn
	silent chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (c *swallowing) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	select {
	case <-c.silent:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return n, err
	}
}

func (c *swallowing) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestBrokenWhileOpening cuts connections while channels are being opened on them; TestMain looks for what waits for ever.
func TestBrokenWhileOpening(t *testing.T) {
	host, p, target := start(t, fakessh.Options{}, Config{MaxConns: 2})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s, err := p.Dial(t.Context(), target, fakessh.EchoHost, fakessh.EchoPort, nil); err == nil {
					s.Close()
				}
			}
		})
	}
	for range 100 {
		time.Sleep(2 * time.Millisecond)
		host.CloseClientConnections()
	}
	close(stop)
	wg.Wait()
}
