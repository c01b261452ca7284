//go:build unix

package server

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// openFiles counts this process's descriptors.
func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestManyTunnels has 200 tunnels of all kinds carry data both ways at once, and looks for what they leave.
func TestManyTunnels(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	target := echo(t, "127.0.0.1:0")
	toTarget := args{"target_host": "127.0.0.1", "target_port": target.Port}
	first, _ := c.tunnel(args{"tunnel_type": "remote", "target_host": "127.0.0.1", "target_port": target.Port})
	c.call("tunnel_close", args{"tunnel_id": first}) // the SSH connection is there before and after
	files, goroutines := openFiles(t), runtime.NumGoroutine()

	var ids []string
	var check []func() error
	var conns []net.Conn
	for i := range 200 {
		kind := []string{"local", "remote", "dynamic"}[i%3]
		a := args{"tunnel_type": kind}
		if kind != "dynamic" {
			a["target_host"], a["target_port"] = toTarget["target_host"], toTarget["target_port"]
		}
		id, addr := c.tunnel(a)
		ids = append(ids, id)
		if kind == "dynamic" {
			check = append(check, func() error { return socksEcho(addr, target.String(), mebibyte[:64<<10]) })
			continue
		}
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		check = append(check, func() error { return roundTrip(conn, mebibyte[:64<<10]) })
	}
	waitUntil(t, "all are carried", func() bool { return f.host.Stats().OpenForwards >= int64(len(conns)) })
	var wg sync.WaitGroup
	for i, f := range check {
		wg.Go(func() {
			if err := f(); err != nil {
				t.Errorf("tunnel %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if s := f.server.pool.Stats(); s.Open != 1 {
		t.Errorf("%d SSH connections, want one for all", s.Open)
	}
	for _, id := range ids {
		c.call("tunnel_close", args{"tunnel_id": id})
	}
	waitUntil(t, "nothing is left", func() bool {
		return openFiles(t) <= files && runtime.NumGoroutine() <= goroutines+2 && f.server.pool.Stats().Held == 0 // two stdio workers may wait
	})
	if s := f.host.Stats(); s.OpenListeners != 0 {
		t.Errorf("the host still listens: %+v", s)
	}
}

// TestServerClosesTunnels closes a server whose tunnels carry connections; TestMain looks for goroutines.
func TestServerClosesTunnels(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	files := 0
	var conns []net.Conn
	for i := range 20 {
		kind := []string{"local", "remote"}[i%2]
		_, addr := c.tunnel(args{"tunnel_type": kind, "target_host": "127.0.0.1", "target_port": echo(t, "127.0.0.1:0").Port})
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	waitUntil(t, "all are carried", func() bool { return f.host.Stats().OpenForwards == 20 })
	files = openFiles(t)
	c.end()
	f.server.Close()
	waitUntil(t, "the sockets of "+strconv.Itoa(len(conns))+" tunnels are gone", func() bool { return openFiles(t) <= files-2*len(conns) })
	if n := len(f.server.tunnels.list()); n != 0 {
		t.Errorf("%d tunnels left", n)
	}
}
