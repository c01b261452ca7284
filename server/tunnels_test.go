package server

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/net/proxy"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// echo serves on loopback: each connection gets back what it sends, with the end of its output when its input has ended.
func echo(t *testing.T, addr string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().(*net.TCPAddr)
}

// tunnel opens a tunnel on the profile "fake" and returns its id and where it listens.
func (c *client) tunnel(a args) (id, addr string) {
	c.t.Helper()
	full := args{"profile_id": "fake"}
	for k, v := range a {
		full[k] = v
	}
	e := c.call("tunnel_create", full)
	if !e.Success {
		c.t.Fatalf("tunnel_create %v: %+v", a, e)
	}
	return e.Data["tunnel_id"].(string), net.JoinHostPort(e.Data["listen_host"].(string), fmt.Sprint(e.Data["listen_port"]))
}

func (c *client) echoTunnel() (id, addr string) {
	c.t.Helper()
	return c.tunnel(args{"tunnel_type": "local", "target_host": "echo.fake", "target_port": 7})
}

// listed returns what tunnel_list says of a tunnel, or nil.
func (c *client) listed(id string) map[string]any {
	c.t.Helper()
	for _, one := range c.call("tunnel_list", nil).Data["tunnels"].([]any) {
		if one := one.(map[string]any); one["tunnel_id"] == id {
			return one
		}
	}
	return nil
}

// roundTrip sends text over c, ends its direction, and wants it back.
func roundTrip(c net.Conn, text string) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, text)
		c.(*net.TCPConn).CloseWrite()
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if err == nil && string(got) != text {
		err = fmt.Errorf("got %d bytes back, want %d", len(got), len(text))
	}
	return err
}

func dialEcho(addr, text string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	return roundTrip(c, text)
}

// closedSoon wants a new connection to addr to end by itself without a byte.
func closedSoon(t *testing.T, addr string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || os.IsTimeout(err) {
		t.Errorf("a connection that leads nowhere: read %d bytes, %v", n, err)
	}
}

func profilePolicy(p map[string]any) map[string]any { return p["policy"].(map[string]any) }

var mebibyte = strings.Repeat("0123456789abcdef", 1<<16)

func TestTunnelLocal(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	target := echo(t, "127.0.0.1:0")
	id, addr := c.tunnel(args{"tunnel_type": "local", "target_host": "127.0.0.1", "target_port": target.Port, "caller": "me"})
	for _, text := range []string{"hello", mebibyte, ""} {
		if err := dialEcho(addr, text); err != nil {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	waitUntil(t, "no connection is open", func() bool { return c.listed(id)["connections_open"] == 0.0 })
	info := c.listed(id)
	want := float64(len(mebibyte) + 5)
	if info["bytes_in"] != want || info["bytes_out"] != want || info["connections_total"] != 3.0 || info["state"] != "open" ||
		info["target"] != target.String() || info["profile_id"] != "fake" || !strings.HasPrefix(info["owner"].(string), "stdio:") {
		t.Errorf("listed as %v", info)
	}
	if f.host.Stats().Sessions != 0 {
		t.Error("a tunnel took a session of the host")
	}
	e := c.call("tunnel.close", args{"tunnel_id": id})
	if !e.Success || e.Data["status"] != "closed" || e.Data["bytes_in"] != want || e.Metadata.ProfileID != "fake" {
		t.Errorf("tunnel_close: %+v", e)
	}
	if err := dialEcho(addr, "x"); err == nil {
		t.Error("still open after tunnel_close")
	}
	if c.listed(id) != nil {
		t.Error("still listed after tunnel_close")
	}
	c.call("tunnel_close", args{"tunnel_id": id}).wantCode(t, CodeInvalidParameters, id)
}

func TestTunnelRemote(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	target := echo(t, "127.0.0.1:0")
	id, addr := c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": target.Port})
	for _, text := range []string{"hello", mebibyte} {
		if err := dialEcho(addr, text); err != nil {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	if n := f.host.Stats().OpenListeners; n != 1 {
		t.Errorf("%d listeners on the host, want 1", n)
	}
	if e := c.call("tunnel_close", args{"tunnel_id": id}); !e.Success || e.Data["bytes_out"] != float64(len(mebibyte)+5) {
		t.Errorf("tunnel_close: %+v", e)
	}
	waitUntil(t, "the host does not listen", func() bool { return f.host.Stats().OpenListeners == 0 })

	unreachable := echo(t, "127.0.0.1:0") // a port that was free a moment ago
	_, port, _ := net.SplitHostPort(addr)
	_, addr = c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": mustInt(port)})
	closedSoon(t, addr)
	taken := args{"profile_id": "fake", "tunnel_type": "remote", "target_host": "x", "target_port": 1, "listen_port": unreachable.Port}
	c.call("tunnel_create", taken).wantCode(t, CodeConnectionFailed, "does not listen", strconv.Itoa(unreachable.Port))
}

func mustInt(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestTunnelDynamic(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "narrow", func(p map[string]any) { profilePolicy(p)["tunnel_targets"] = []string{"echo.fake:7"} })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	v4, v6 := echo(t, "127.0.0.1:0"), echo(t, "[::1]:0")
	_, addr := c.tunnel(args{"tunnel_type": "dynamic"})
	for _, to := range []string{v4.String(), v6.String(), "echo.fake:7", "localhost:" + strconv.Itoa(v4.Port)} {
		if err := socksEcho(addr, to, mebibyte); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	closed := echo(t, "127.0.0.1:0")
	for to, want := range map[string]string{
		"echo.fake:8":  "not allowed by ruleset", // by the host
		"192.0.2.1:80": "not allowed by ruleset",
		"127.0.0.1:1":  "connection refused",
	} {
		if err := socksEcho(addr, to, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", to, err, want)
		}
	}
	_, narrow := c.tunnel(args{"profile_id": "narrow", "tunnel_type": "dynamic"})
	if err := socksEcho(narrow, "echo.fake:7", "x"); err != nil {
		t.Error(err)
	}
	if err := socksEcho(narrow, closed.String(), "x"); err == nil || !strings.Contains(err.Error(), "not allowed by ruleset") {
		t.Errorf("a target that the profile does not allow: %v", err)
	}
}

// socksEcho has a round trip to the target through the proxy at addr.
func socksEcho(addr, to, text string) error {
	var raw net.Conn
	socks, err := proxy.SOCKS5("tcp", addr, nil, dialerFunc(func(network, addr string) (c net.Conn, err error) {
		raw, err = net.Dial(network, addr)
		return raw, err
	}))
	if err != nil {
		return err
	}
	if _, err := socks.Dial("tcp", to); err != nil {
		return err
	}
	return roundTrip(raw, text)
}

type dialerFunc func(network, addr string) (net.Conn, error)

func (f dialerFunc) Dial(network, addr string) (net.Conn, error) { return f(network, addr) }

func TestTunnelEnds(t *testing.T) {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "short", func(p map[string]any) { profilePolicy(p)["max_session_seconds"] = 1 })
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	t.Run("at its time", func(t *testing.T) {
		e := c.call("tunnel_create", args{"profile_id": "short", "tunnel_type": "dynamic"})
		id := e.Data["tunnel_id"].(string)
		expires, err := time.Parse(time.RFC3339, e.Data["expires_at"].(string))
		if err != nil || time.Until(expires) > 2*time.Second {
			t.Errorf("expires at %v, %v, although max_session_seconds is 1", e.Data["expires_at"], err)
		}
		waitUntil(t, "it is gone", func() bool { return c.listed(id) == nil })
	})
	t.Run("gracefully", func(t *testing.T) {
		id, addr := c.echoTunnel()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		waitUntil(t, "the connection is carried", func() bool { return c.listed(id)["connections_open"] == 1.0 })
		_, answer := c.send("tools/call", map[string]any{"name": "tunnel_close", "arguments": args{"tunnel_id": id}})
		waitUntil(t, "it stops listening", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
			}
			return err != nil
		})
		if err := roundTrip(conn, "last words"); err != nil {
			t.Errorf("within the grace: %v", err)
		}
		if e := c.envelope(c.await(answer)); !e.Success || e.Data["bytes_out"] != 10.0 {
			t.Errorf("got %+v", e)
		}
	})
	t.Run("cut", func(t *testing.T) {
		id, addr := c.echoTunnel()
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		waitUntil(t, "the connection is carried", func() bool { return c.listed(id)["connections_open"] == 1.0 })
		c.call("tunnel_close", args{"tunnel_id": id})
		conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || err == io.EOF || os.IsTimeout(err) {
			t.Errorf("a connection that was cut: %v, want a reset", err)
		}
	})
	t.Run("only by its owner", func(t *testing.T) {
		id, _ := c.echoTunnel()
		f.server.tunnels.get(id).owner = "stdio:somebody-else"
		c.call("tunnel_close", args{"tunnel_id": id}).wantCode(t, CodeAuthorizationFailed, "somebody-else")
	})
}

// TestTunnelsSurviveReconnect cuts the SSH connection, then takes the host away for a while.
func TestTunnelsSurviveReconnect(t *testing.T) {
	host := fakessh.Start(fakessh.Options{})
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	opts := fakessh.Options{Addr: host.Addr(), HostKey: signer} // the address is free in a moment
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	f := start(t, opts, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	target := echo(t, "127.0.0.1:0")
	local, localAddr := c.echoTunnel()
	dynamic, dynamicAddr := c.tunnel(args{"tunnel_type": "dynamic"})
	remote, remoteAddr := c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": target.Port})
	works := func() {
		t.Helper()
		waitUntil(t, "all tunnels carry", func() bool {
			return dialEcho(localAddr, "x") == nil && socksEcho(dynamicAddr, "echo.fake:7", "x") == nil && dialEcho(remoteAddr, "x") == nil
		})
		for _, id := range []string{local, dynamic, remote} {
			if info := c.listed(id); info["state"] != "open" || info["reason"] != nil {
				t.Errorf("listed as %v", info)
			}
		}
	}
	works()
	open, err := net.Dial("tcp", localAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := io.WriteString(open, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	f.host.CloseClientConnections()
	open.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := open.Read(make([]byte, 1)); err == nil || err == io.EOF || os.IsTimeout(err) {
		t.Errorf("a connection whose host broke off: %v, want a reset", err)
	}
	works()

	if err := f.host.Close(); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{localAddr, remoteAddr} {
		closedSoon(t, addr)
	}
	if err := socksEcho(dynamicAddr, "echo.fake:7", "x"); err == nil || !strings.Contains(err.Error(), "general SOCKS server failure") {
		t.Errorf("through SOCKS: %v", err)
	}
	for _, id := range []string{local, dynamic, remote} {
		waitUntil(t, "its state says that the host is away", func() bool {
			info := c.listed(id)
			return info["state"] == "reconnecting" && info["reason"] != ""
		})
	}
	back := fakessh.Start(opts)
	t.Cleanup(func() { back.Close() })
	works()
}

// TestTunnelDies takes the credential away before the connection breaks.
func TestTunnelDies(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	id, addr := c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": 1})
	mustWrite(t, filepath.Join(f.dir, "secrets/fake.json"), `{"username":"fake"}`)
	waitUntil(t, "the credential cannot be used", func() bool {
		return c.call("ssh_exec", args{"profile_id": "fake", "command": "true"}).Metadata.ErrorCode == CodeAuthenticationFailed
	})
	f.host.CloseClientConnections()
	waitUntil(t, "it is dead", func() bool { return c.listed(id)["state"] == "dead" })
	if c.listed(id)["reason"] == "" {
		t.Error("no reason")
	}
	closedSoon(t, addr)
	if e := c.call("tunnel_close", args{"tunnel_id": id}); !e.Success {
		t.Errorf("closing a dead tunnel: %+v", e)
	}
}

// TestTunnelsOverUnpooledConnections has every stream dial its own.
func TestTunnelsOverUnpooledConnections(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	off := false
	s, err := New(Config{
		Profiles: filepath.Join(f.dir, "profiles"), Secrets: filepath.Join(f.dir, "secrets"), Pooling: Pooling{Enabled: &off},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	unpooled := &fixture{host: f.host, server: s, dir: f.dir}
	c := unpooled.connect(t.Context(), t)
	defer c.end()
	target := echo(t, "127.0.0.1:0")
	_, local := c.echoTunnel()
	_, remote := c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": target.Port})
	for range 2 {
		if err := dialEcho(local, "x"); err != nil {
			t.Error(err)
		}
		if err := dialEcho(remote, "x"); err != nil {
			t.Error(err)
		}
	}
}
