package fakessh_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// halfCloser is what TCP connections and forwarded ones have in common.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// talk sends text and its end, and returns all that comes back.
func talk(t testing.TB, c io.ReadWriteCloser, text string) string {
	t.Helper()
	defer c.Close()
	go func() {
		io.WriteString(c, text)
		c.(halfCloser).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("after %d bytes: %v", len(got), err)
	}
	return string(got)
}

// echoServer answers each connection only after its end of input, with "got " and the input.
func echoServer(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in, _ := io.ReadAll(c)
				c.Write(append([]byte("got "), in...))
			}()
		}
	}()
	return l
}

func port(l net.Listener) string { return strconv.Itoa(l.Addr().(*net.TCPAddr).Port) }

func TestDirectForwarding(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	l := echoServer(t)
	big := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for _, tc := range []struct{ to, send, want string }{
		{l.Addr().String(), "hello", "got hello"},
		{"localhost:" + port(l), big, "got " + big},
		{net.JoinHostPort(fakessh.EchoHost, "7"), big, big},
	} {
		c, err := client.Dial("tcp", tc.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := talk(t, c, tc.send); got != tc.want {
			t.Errorf("%s: got %d bytes, want %d", tc.to, len(got), len(tc.want))
		}
	}
	waitFor(t, func() bool { return host.Stats().OpenForwards == 0 })
	if s := host.Stats(); s.Forwards != 3 || s.Sessions != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestDirectForwardingRefusals(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	closed := echoServer(t)
	closed.Close()
	for _, tc := range []struct {
		to     string
		reason gossh.RejectionReason
		words  string
	}{
		{closed.Addr().String(), gossh.ConnectionFailed, "refused"},
		{"192.0.2.1:80", gossh.Prohibited, "loopback"},
		{"echo.fake:8", gossh.Prohibited, "echo.fake:7"},
	} {
		_, err := client.Dial("tcp", tc.to)
		var open *gossh.OpenChannelError
		if !errors.As(err, &open) || open.Reason != tc.reason || !strings.Contains(open.Message, tc.words) {
			t.Errorf("%s: %v", tc.to, err)
		}
	}
	off := dial(t, start(t, fakessh.Options{NoForwarding: true}))
	if _, err := off.Dial("tcp", "echo.fake:7"); err == nil {
		t.Error("direct-tcpip was not refused")
	}
	if _, err := off.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("tcpip-forward was not refused")
	}
}

func TestRemoteForwarding(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if again, err := client.Listen("tcp", l.Addr().String()); err == nil {
		again.Close()
		t.Error("a port that is taken was not refused")
	}
	if _, err := client.Listen("tcp", "0.0.0.0:0"); err == nil {
		t.Error("an address off loopback was not refused")
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.(halfCloser).CloseWrite(); c.Close() }()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if got := talk(t, c, "over and back"); got != "over and back" {
		t.Errorf("got %q", got)
	}
	if s := host.Stats(); s.OpenListeners != 1 || s.Listeners != 1 {
		t.Errorf("%d listeners, %d ever; want 1", s.OpenListeners, s.Listeners)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	waitFor(t, func() bool { return host.Stats().OpenListeners == 0 })
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("still listening after cancel-tcpip-forward")
	}
}

// TestForwardingEndsWithItsConnection holds a connection open each way and cuts the SSH connection.
func TestForwardingEndsWithItsConnection(t *testing.T) {
	host := start(t, fakessh.Options{})
	client := dial(t, host)
	target := echoServer(t)
	out, err := client.Dial("tcp", target.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	l, err := client.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(io.Discard, c)
		}
	}()
	in, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	waitFor(t, func() bool { return host.Stats().OpenForwards == 2 })
	host.CloseClientConnections()
	in.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := in.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the forwarded connection: %v, want its end", err)
	}
	waitFor(t, func() bool { s := host.Stats(); return s.OpenForwards == 0 && s.OpenListeners == 0 })
}

// TestForwardingChannelClose has the client close a channel whose target keeps silent.
func TestForwardingChannelClose(t *testing.T) {
	host := start(t, fakessh.Options{})
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c, err := dial(t, host).Dial("tcp", silent.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return host.Stats().OpenForwards == 1 })
	c.Close()
	waitFor(t, func() bool { return host.Stats().OpenForwards == 0 })
}
