package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
)

// pipe reads what a client wrote and records what it is told.
type pipe struct {
	io.Reader
	bytes.Buffer
}

func (p *pipe) Read(b []byte) (int, error)  { return p.Reader.Read(b) }
func (p *pipe) Write(b []byte) (int, error) { return p.Buffer.Write(b) }

func TestSocksRequest(t *testing.T) {
	noAuth := "\x05\x00"
	for _, tc := range []struct {
		name, in string
		answer   string // to the greeting
		host     string
		port     int
		reply    socksReply // of the error
	}{
		{"IPv4", "\x05\x01\x00" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb", noAuth, "10.0.0.1", 443, 0},
		{"IPv6", "\x05\x02\x02\x00" + "\x05\x01\x00\x04\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50", noAuth, "fd00::1", 80, 0},
		{"name", "\x05\x01\x00" + "\x05\x01\x00\x03\x07db.corp\x15\x38", noAuth, "db.corp", 5432, 0},
		{"bind", "\x05\x01\x00" + "\x05\x02\x00\x01\x0a\x00\x00\x01\x01\xbb", noAuth, "", 0, socksNoCommand},
		{"address type", "\x05\x01\x00" + "\x05\x01\x00\x02\x0a\x00\x00\x01\x01\xbb", noAuth, "", 0, socksNoAddressType},
		{"port 0", "\x05\x01\x00" + "\x05\x01\x00\x01\x0a\x00\x00\x01\x00\x00", noAuth, "", 0, socksFailed},
		{"empty name", "\x05\x01\x00" + "\x05\x01\x00\x03\x00\x15\x38", noAuth, "", 0, socksFailed},
		{"line break in a name", "\x05\x01\x00" + "\x05\x01\x00\x03\x03a\nb\x15\x38", noAuth, "", 0, socksFailed},
		{"password wanted", "\x05\x01\x02", "\x05\xff", "", 0, socksOK},
		{"SOCKS4", "\x04\x01\x00\x50\x0a\x00\x00\x01\x00", "", "", 0, socksOK},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", "", "", 0, socksOK},
		{"version changes", "\x05\x01\x00" + "\x04\x01\x00\x01\x0a\x00\x00\x01\x01\xbb", noAuth, "", 0, socksOK},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &pipe{Reader: bytes.NewReader([]byte(tc.in + "rest"))}
			host, port, err := socksRequest(p)
			if got := p.Buffer.String(); got != tc.answer {
				t.Errorf("the client is told %q, want %q", got, tc.answer)
			}
			if tc.host != "" {
				rest, _ := io.ReadAll(p.Reader)
				if host != tc.host || port != tc.port || err != nil || string(rest) != "rest" {
					t.Errorf("%q, %d, %v, and %q left", host, port, err, rest)
				}
				return
			}
			var bad *socksError
			if !errors.As(err, &bad) || bad.reply != tc.reply {
				t.Errorf("got %q, %d, %v; want reply %d", host, port, err, tc.reply)
			}
		})
	}
}

// FuzzSocksRequest wants every request that is accepted to be one that can be written down and asked of a host.
func FuzzSocksRequest(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x0a\x00\x00\x01\x01\xbb"))
	f.Add([]byte("\x05\x02\x02\x00\x05\x01\x00\x04\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x07db.corp\x15\x38"))
	f.Fuzz(func(t *testing.T, in []byte) {
		p := &pipe{Reader: bytes.NewReader(in)}
		host, port, err := socksRequest(p)
		if err != nil {
			return
		}
		if port < 1 || port > 65535 || host == "" || len(host) > 255 {
			t.Fatalf("accepted %q port %d", host, port)
		}
		if _, err := netip.ParseAddr(host); err != nil && !validSocksHost(host) {
			t.Errorf("accepted the name %q", host)
		}
		if !bytes.Equal(p.Buffer.Bytes(), []byte{5, 0}) {
			t.Errorf("the client is told %x", p.Buffer.Bytes())
		}
	})
}

func TestReplyFor(t *testing.T) {
	open := func(reason ssh.RejectionReason, message string) error {
		return &pool.Error{Kind: pool.KindRefused, Err: fmt.Errorf("no: %w", &ssh.OpenChannelError{Reason: reason, Message: message})}
	}
	for _, tc := range []struct {
		err  error
		want socksReply
	}{
		{open(ssh.Prohibited, "administratively prohibited"), socksForbidden},
		{open(ssh.ConnectionFailed, "Connection refused"), socksRefused},
		{open(ssh.ConnectionFailed, "No route to host"), socksUnreachable},
		{&pool.Error{Kind: pool.KindRefused, Err: context.DeadlineExceeded}, socksTimedOut},
		{&pool.Error{Kind: pool.KindTimeout, Err: context.DeadlineExceeded}, socksFailed},
		{&pool.Error{Kind: pool.KindConnect, Err: io.EOF}, socksFailed},
		{pool.ErrClosed, socksFailed},
	} {
		if got := replyFor(tc.err); got != tc.want {
			t.Errorf("%v: reply %d, want %d", tc.err, got, tc.want)
		}
	}
}

// pair is the two ends of a TCP connection.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); d.Close() })
	return c.(*net.TCPConn), d.(*net.TCPConn)
}

// relaying is a tunnel's relay between a client and a target, both in the hands of the test.
func relaying(t *testing.T) (tunnel *Tunnel, client, target *net.TCPConn, ended chan struct{}) {
	t.Helper()
	client, near := pair(t)
	far, target := pair(t)
	tunnel = &Tunnel{}
	tunnel.ctx, tunnel.cut = context.WithCancel(t.Context())
	t.Cleanup(tunnel.cut)
	ended = make(chan struct{})
	go func() { defer close(ended); tunnel.relay(near, far) }()
	return tunnel, client, target, ended
}

// TestRelayEndsEachWayAlone ends one direction, and has the other go on.
func TestRelayEndsEachWayAlone(t *testing.T) {
	tunnel, client, target, ended := relaying(t)
	io.WriteString(client, "question")
	client.CloseWrite()
	if got, err := io.ReadAll(target); string(got) != "question" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	io.WriteString(target, "the answer")
	target.CloseWrite()
	if got, err := io.ReadAll(client); string(got) != "the answer" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	<-ended
	if s := tunnel.Status(); s.BytesIn != 8 || s.BytesOut != 10 {
		t.Errorf("counted %+v", s)
	}
}

// TestRelayPassesAReset resets one side: the other must not take it for an orderly end.
func TestRelayPassesAReset(t *testing.T) {
	_, client, target, ended := relaying(t)
	io.WriteString(client, "half of it")
	if _, err := io.ReadFull(target, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	abort(client)
	if n, err := target.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v; want a reset", n, err)
	}
	<-ended
}

// TestRelayIsCut ends a relay whose sides are silent.
func TestRelayIsCut(t *testing.T) {
	tunnel, client, _, ended := relaying(t)
	tunnel.cut()
	<-ended
	if _, err := client.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("read: %v, want a reset", err)
	}
}
