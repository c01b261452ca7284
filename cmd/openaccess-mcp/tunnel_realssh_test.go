//go:build realssh

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/net/proxy"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// echoService gives each connection back what it sends, on this machine, which is the host's side of the tunnels, too.
func echoService(t *testing.T, addr string) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); serving.Wait() })
	return l.Addr().(*net.TCPAddr)
}

// openTunnel opens a tunnel on the profile "real" and returns where it listens.
func openTunnel(t *testing.T, session *mcp.ClientSession, kind string, target *net.TCPAddr) (id, addr string) {
	t.Helper()
	args := map[string]any{"profile_id": "real", "tunnel_type": kind}
	if kind != "dynamic" {
		args["target_host"], args["target_port"] = target.IP.String(), target.Port
	}
	e := call[server.TunnelData](t.Context(), t, session, "tunnel_create", args)
	if !e.Success {
		t.Fatalf("tunnel_create %v: %+v", args, e)
	}
	return e.Data.TunnelID, net.JoinHostPort(e.Data.ListenHost, strconv.Itoa(e.Data.ListenPort))
}

func tunnelInfo(t *testing.T, session *mcp.ClientSession, id string) server.TunnelInfo {
	t.Helper()
	e := call[server.TunnelListData](t.Context(), t, session, "tunnel_list", nil)
	if e.Data != nil {
		for _, info := range e.Data.Tunnels {
			if info.TunnelID == id {
				return info
			}
		}
	}
	t.Errorf("tunnel %s is not listed: %+v", id, e)
	return server.TunnelInfo{}
}

// thereAndBack sends text through conn, ends its direction and wants it back.
func thereAndBack(conn net.Conn, text string) error {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	sent := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		sent <- err
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("%d bytes came back of %d", len(got), len(text))
	}
	return nil
}

// through has a round trip through a tunnel of the kind that listens at addr.
func through(kind, addr string, target fmt.Stringer, text string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	if kind == "dynamic" {
		socks, err := proxy.SOCKS5("tcp", addr, nil, connected{conn})
		if err == nil {
			_, err = socks.Dial("tcp", target.String())
		}
		if err != nil {
			conn.Close()
			return err
		}
	}
	return thereAndBack(conn, text)
}

// connected is a dialer that has dialled already.
type connected struct{ net.Conn }

func (c connected) Dial(string, string) (net.Conn, error) { return c.Conn, nil }

// name is a target written as a host name.
type name string

func (n name) String() string { return string(n) }

var kinds = []string{"local", "remote", "dynamic"}

// TestRealTunnels carries data through all kinds of tunnel on a host that admits one session.
func TestRealTunnels(t *testing.T) {
	s := startSSHD(t, "MaxSessions 1")
	session := s.session(t)
	target := echoService(t, "127.0.0.1:0")
	text := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	for _, kind := range kinds {
		id, addr := openTunnel(t, session, kind, target)
		for range 3 {
			if err := through(kind, addr, target, text); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if info := tunnelInfo(t, session, id); info.BytesIn != 3<<20 || info.BytesOut != 3<<20 || info.Total != 3 || info.State != "open" {
			t.Errorf("%s: %+v", kind, info)
		}
		if kind == "dynamic" {
			six := echoService(t, "[::1]:0")
			for _, to := range []fmt.Stringer{six, name("localhost:" + strconv.Itoa(target.Port))} {
				if err := through(kind, addr, to, "hello"); err != nil {
					t.Errorf("SOCKS to %s: %v", to, err)
				}
			}
			if err := through(kind, addr, name("127.0.0.1:1"), "x"); err == nil || !strings.Contains(err.Error(), "refused") {
				t.Errorf("SOCKS to a closed port: %v", err)
			}
		}
		if e := exec1(t, session, "real", "echo beside"); e.Data == nil || e.Data.Stdout != "beside\n" {
			t.Errorf("beside a %s tunnel: %+v", kind, e)
		}
		if e := call[server.TunnelClosedData](t.Context(), t, session, "tunnel_close", map[string]any{"tunnel_id": id}); !e.Success {
			t.Errorf("tunnel_close: %+v", e)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s: it listens after tunnel_close", kind)
		}
	}
}

// TestRealTunnelsForbidden has a host that forwards nothing.
func TestRealTunnelsForbidden(t *testing.T) {
	s := startSSHD(t, "AllowTcpForwarding no")
	session := s.session(t)
	target := echoService(t, "127.0.0.1:0")
	e := call[server.TunnelData](t.Context(), t, session, "tunnel_create", map[string]any{
		"profile_id": "real", "tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": target.Port})
	if e.Metadata.ErrorCode != server.CodeConnectionFailed || !strings.Contains(e.Error, "forbidden") {
		t.Errorf("remote: %+v", e)
	}
	id, addr := openTunnel(t, session, "local", target)
	if err := through("local", addr, target, "x"); err == nil {
		t.Error("local: carried")
	}
	if info := tunnelInfo(t, session, id); info.Failed != 1 || info.State != "open" {
		t.Errorf("local: %+v", info)
	}
}

// TestRealTunnelsSurviveCrash kills sshd under open connections, leaves it away for a while, and starts it again.
func TestRealTunnelsSurviveCrash(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	target := echoService(t, "127.0.0.1:0")
	ids, addrs := map[string]string{}, map[string]string{}
	open := map[string]net.Conn{}
	for _, kind := range kinds {
		ids[kind], addrs[kind] = openTunnel(t, session, kind, target)
		must(t, through(kind, addrs[kind], target, "before"))
		if kind == "dynamic" {
			continue
		}
		conn, err := net.Dial("tcp", addrs[kind])
		must(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "x")
		must(t, err)
		_, err = io.ReadFull(conn, make([]byte, 1))
		must(t, err)
		open[kind] = conn
	}
	s.stop()
	for kind, conn := range open {
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := conn.Read(make([]byte, 1)); n > 0 || os.IsTimeout(err) {
			t.Errorf("%s: a connection outlives its host: %d bytes, %v", kind, n, err)
		}
	}
	for _, kind := range kinds {
		begin := time.Now()
		if err := through(kind, addrs[kind], target, "x"); err == nil || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: while the host is away: %v after %v", kind, err, time.Since(begin))
		}
		for info := tunnelInfo(t, session, ids[kind]); info.State != "reconnecting" || info.Reason == ""; info = tunnelInfo(t, session, ids[kind]) {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("%s: while the host is away: %+v", kind, info)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	s.run(t)
	for _, kind := range kinds {
		for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			err := through(kind, addrs[kind], target, "after")
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: after the host's return: %v, %+v", kind, err, tunnelInfo(t, session, ids[kind]))
			}
		}
		if info := tunnelInfo(t, session, ids[kind]); info.State != "open" {
			t.Errorf("%s: after the host's return: %+v", kind, info)
		}
	}
}

// TestRealManyTunnels has 200 tunnels open at once, each carrying data both ways.
func TestRealManyTunnels(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	target := echoService(t, "127.0.0.1:0")
	type tunnel struct{ kind, id, addr string }
	var tunnels []tunnel
	var took []time.Duration
	for i := range 200 {
		kind := kinds[i%3]
		begin := time.Now()
		id, addr := openTunnel(t, session, kind, target)
		took = append(took, time.Since(begin))
		tunnels = append(tunnels, tunnel{kind, id, addr})
	}
	slices.Sort(took)
	t.Logf("tunnel_create: median %v, p95 %v", took[100], took[190])
	text := strings.Repeat("0123456789abcdef", 1<<12) // 64 KiB
	var wg sync.WaitGroup
	for _, tn := range tunnels {
		wg.Go(func() {
			if err := through(tn.kind, tn.addr, target, text); err != nil {
				t.Errorf("%s: %v", tn.kind, err)
			}
		})
	}
	wg.Wait()
	for _, tn := range tunnels {
		if e := call[server.TunnelClosedData](t.Context(), t, session, "tunnel_close", map[string]any{"tunnel_id": tn.id}); !e.Success || e.Data.BytesOut != 1<<16 {
			t.Errorf("%s: %+v", tn.kind, e)
		}
	}
}
