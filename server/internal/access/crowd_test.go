package access

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// quiet is a connection that says nothing, from an address.
type quiet struct {
	net.Conn
	from   string
	closed time.Time
}

func (q *quiet) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(q.from))
}

func (q *quiet) Close() error { q.closed = time.Now(); return nil }

// come lets n connections from an address wait.
func come(c *crowd, from string, n int) (all []*visitor) {
	for range n {
		v := c.visitor(&quiet{from: from})
		c.enter(v)
		all = append(all, v)
	}
	return all
}

// closedOf counts those that were dismissed, and fails where one of them came after one that was not.
func closedOf(t *testing.T, all []*visitor) (n int) {
	t.Helper()
	for i, v := range all {
		if v.Conn.(*quiet).closed.IsZero() {
			continue
		}
		if n++; i >= n {
			t.Errorf("connection %d was closed, and one that came before was not", i)
		}
	}
	return n
}

// TestOldestMakesRoom has more connections wait than there is room for: in all, of one address, and of one IPv6 network.
func TestOldestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(Crowd{Most: 10, Each: 6})
		heavy := come(c, "192.0.2.1:1", 20)
		if n := closedOf(t, heavy); n != 14 || c.size() != 6 {
			t.Errorf("%d were closed, %d wait", n, c.size())
		}
		light := come(c, "192.0.2.2:1", 1)
		six := append(come(c, "[2001:db8::1]:1", 2), come(c, "[2001:db8::2]:1", 1)...) // 10 of 3 networks
		if c.size() != 10 {
			t.Errorf("%d wait", c.size())
		}
		six = append(six, come(c, "[2001:db8::3]:1", 2)...) // a fourth is more than its share
		if n := closedOf(t, six); n != 2 || closedOf(t, light) != 0 || closedOf(t, heavy) != 14 {
			t.Errorf("%d of the network were closed, %d of the light one, %d of the heavy one", n, closedOf(t, light), closedOf(t, heavy))
		}
		another := come(c, "192.0.2.3:1", 1) // within its share: of all, the oldest goes
		if closedOf(t, another) != 0 || closedOf(t, heavy) != 15 || c.size() != 10 {
			t.Errorf("%d of the heavy one were closed, %d wait", closedOf(t, heavy), c.size())
		}
		c.thin() // files have run out
		if n := closedOf(t, heavy); n != 16 || c.size() != 9 {
			t.Errorf("%d of the heavy one were closed, %d wait", n, c.size())
		}
		time.Sleep(waitMost)
		synctest.Wait()
		if c.size() != 0 || len(c.byFrom) != 0 {
			t.Errorf("%d wait of %d addresses", c.size(), len(c.byFrom))
		}
	})
}

// TestWaitsEndApart lets many connections that came at once wait for nothing: each is closed in time, and no second sees many of them go.
func TestWaitsEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(Crowd{Most: 10_000, Each: 10_000})
		c.most = 10_000 // whatever the limit of open files
		begin := time.Now()
		all := come(c, "192.0.2.1:1", 10_000)
		known := all[0]
		c.know(known)
		time.Sleep(waitMost)
		synctest.Wait()
		seconds := make([]int, waitMost/time.Second+1)
		for _, v := range all {
			after := v.Conn.(*quiet).closed.Sub(begin)
			switch {
			case v == known && after < 0:
			case v == known || after < waitLeast || after > waitMost:
				t.Errorf("closed after %v", after)
			default:
				seconds[after/time.Second]++
			}
		}
		if most := slices.Max(seconds); most > 1000 {
			t.Errorf("%d were closed within one second: %v", most, seconds)
		}
	})
}

// TestWhoIsKnownWaitsNoMore follows a connection through the states of a server.
func TestWhoIsKnownWaitsNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &Listener{crowd: newCrowd(Crowd{Most: 5})}
		v := come(l.crowd, "192.0.2.1:1", 1)[0]
		for _, step := range []struct {
			state http.ConnState
			know  bool
			want  int
		}{
			{http.StateNew, false, 1}, {http.StateActive, false, 0}, {http.StateIdle, false, 1}, {http.StateIdle, false, 1}, {http.StateActive, false, 0}, {http.StateActive, true, 0},
			{http.StateIdle, false, 0}, {http.StateClosed, false, 0},
		} {
			l.note(v, step.state)
			if step.know {
				l.crowd.know(v)
			}
			if n := l.crowd.size(); n != step.want {
				t.Errorf("%v: %d wait", step.state, n)
			}
		}
		l.note(nil, http.StateIdle) // of a connection that is not ours
		time.Sleep(waitMost)
		if !v.Conn.(*quiet).closed.IsZero() {
			t.Error("it was closed")
		}
	})
}

// door is a guarded server with room for few that wait.
type door struct {
	*Listener
	token string
	tls   *tls.Config
}

func newDoor(t *testing.T, secured bool) *door {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	d := &door{token: newToken(t, file, Token{Name: "ci"})}
	g := guard(t, Config{Tokens: file})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var config *tls.Config
	if secured {
		dir := t.TempDir()
		c := &certificates{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), logger: discard}
		writePair(t, c, 1)
		must(t, c.read())
		config, d.tls = &tls.Config{GetCertificate: c.get}, &tls.Config{InsecureSkipVerify: true}
	}
	d.Listener = gather(l, config, Crowd{Most: 8, Each: 4})
	srv := &http.Server{ErrorLog: slog.NewLogLogger(discard.Handler(), slog.LevelWarn), Handler: g.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))}
	d.Harden(srv)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(d) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return d
}

// guest is a client's connection.
type guest struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (d *door) knock(t *testing.T) *guest {
	t.Helper()
	c, err := net.Dial("tcp", d.Addr().String())
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return &guest{c, t, bufio.NewReader(c)}
}

// speak makes a request over a connection and gives the status of the answer.
func (g *guest) speak(d *door, path, token string) (int, error) {
	if _, ok := g.Conn.(*tls.Conn); !ok && d.tls != nil {
		g.Conn = tls.Client(g.Conn, d.tls)
		g.r = bufio.NewReader(g.Conn)
	}
	header := ""
	if token != "" {
		header = "Authorization: Bearer " + token + "\r\n"
	}
	if _, err := fmt.Fprintf(g.Conn, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", path, header); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(g.r, nil)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// wants makes a request that must be answered so.
func (g *guest) wants(d *door, path, token string, status int) {
	g.t.Helper()
	if got, err := g.speak(d, path, token); got != status {
		g.t.Errorf("%s: %d, %v, want %d", path, got, err, status)
	}
}

// isClosed waits for the other side to close, and fails where it does not.
func (g *guest) isClosed() {
	g.t.Helper()
	if _, err := g.Conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		g.t.Errorf("it is open: %v", err)
	}
}

// TestNewcomersAreHeard has far more connections than there is room for say nothing, half a request, or only what needs no token: whoever comes with a
// token is served, and goes on being served.
func TestNewcomersAreHeard(t *testing.T) {
	for _, secured := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secured), func(t *testing.T) {
			d := newDoor(t, secured)
			regular := d.knock(t)
			regular.wants(d, "/mcp", d.token, 200)
			prober := d.knock(t)
			prober.wants(d, "/readyz", "", 200)
			for deadline := time.Now().Add(time.Minute); d.crowd.size() == 0 && time.Now().Before(deadline); { // it is idle a moment after its answer
				time.Sleep(time.Millisecond)
			}
			early := []*guest{prober} // whose request needed no token
			for i := range 20 {
				g := d.knock(t)
				if i%2 == 0 && !secured {
					_, _ = io.WriteString(g, "GET /mcp HTTP/1.1\r\n")
				}
				if i%5 == 0 {
					newcomer := d.knock(t)
					newcomer.wants(d, "/mcp", d.token, 200)
					newcomer.wants(d, "/mcp", d.token, 200)
					newcomer.Close()
				}
				if i < 10 {
					early = append(early, g)
				}
			}
			regular.wants(d, "/mcp", d.token, 200)
			for _, g := range early {
				g.isClosed()
			}
			stranger := d.knock(t)
			stranger.wants(d, "/mcp", "x", 401)
			stranger.isClosed()
			if n := d.crowd.size(); n > 4 {
				t.Errorf("%d wait", n)
			}
		})
	}
}

// TestCloseEndsWhoWaits closes a listener on which nobody accepts, with connections that have said nothing and one that has.
func TestCloseEndsWhoWaits(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	d := &door{Listener: gather(l, nil, Crowd{})}
	mute, other, loud := d.knock(t), d.knock(t), d.knock(t)
	_, err = io.WriteString(loud, "x")
	must(t, err)
	must(t, d.Close())
	for _, g := range []*guest{mute, other, loud} {
		g.isClosed()
	}
	if _, err := d.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if err := d.Close(); !errors.Is(err, net.ErrClosed) || d.crowd.size() != 0 {
		t.Errorf("Close: %v, %d wait", err, d.crowd.size())
	}
}

// failing is a listener that has run out of files once.
type failing struct {
	net.Listener
	errs chan error
}

func (f *failing) Accept() (net.Conn, error) {
	select {
	case err := <-f.errs:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

// TestErrorsOfAccept passes on what the listener beneath says, and goes on.
func TestErrorsOfAccept(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	f := &failing{inner, make(chan error, 1)}
	f.errs <- errors.New("for once")
	d := &door{Listener: gather(f, nil, Crowd{})}
	defer d.Close()
	if _, err := d.Accept(); err == nil || err.Error() != "for once" {
		t.Errorf("Accept: %v", err)
	}
	g := d.knock(t)
	_, err = io.WriteString(g, "hello")
	must(t, err)
	c, err := d.Accept()
	must(t, err)
	defer c.Close()
	got := make([]byte, 5)
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestStrangersAreSentAway has answers to who was not let in close the connection, but for a question without a body that needs no token.
func TestStrangersAreSentAway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	token := newToken(t, file, Token{Name: "ci"})
	g := guard(t, Config{Tokens: file})
	for name, tc := range map[string]struct {
		change func(r *http.Request)
		closes bool
	}{
		"no token":          {nil, true},
		"foreign host":      {func(r *http.Request) { bearer(token)(r); r.Host = "evil.example" }, true},
		"probe with a body": {func(r *http.Request) { r.URL.Path = "/healthz" }, true},
		"of no known end":   {func(r *http.Request) { r.URL.Path = "/healthz"; r.ContentLength = -1 }, true},
		"probe":             {func(r *http.Request) { r.URL.Path = "/healthz"; r.ContentLength = 0 }, false},
		"token":             {bearer(token), false},
	} {
		if w, _ := ask(g, tc.change); (w.Header().Get("Connection") == "close") != tc.closes {
			t.Errorf("%s: %d, %v", name, w.Code, w.Header())
		}
	}
}
