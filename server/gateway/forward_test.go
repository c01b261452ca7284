package gateway

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestSessionsStickToTheirServer(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, nil, a, b)
	first, second := f.session(), f.session()
	if first == second {
		t.Fatal("both sessions are at one server")
	}
	for range 4 {
		for _, s := range []struct {
			id string
			of *fake
		}{{first, a}, {second, b}} {
			got := f.post(call, "Mcp-Session-Id", s.id)
			if got.header.Get("Openaccess-Backend") != s.of.addr || !strings.Contains(got.body, `"from":"`+s.of.addr) {
				t.Errorf("a call of the session at %s: %+v", s.of.addr, got)
			}
			if r, _ := s.of.last(); r.Header.Get("Mcp-Session-Id") != "session-at-"+s.of.addr {
				t.Errorf("the server saw the session %q", r.Header.Get("Mcp-Session-Id"))
			}
		}
	}
}

func TestSessionsSurviveTheGateway(t *testing.T) {
	a, b := newFake(t), newFake(t)
	id := newFront(t, nil, a, b).session()
	again := newFront(t, nil, b, a)
	for range 3 {
		if got := again.post(call, "Mcp-Session-Id", id); got.header.Get("Openaccess-Backend") != a.addr {
			t.Errorf("another gateway sent the session to %s", got.header.Get("Openaccess-Backend"))
		}
	}
}

func TestSessionWhoseServerIsGone(t *testing.T) {
	for name, change := range map[string]func(*Config){"found by a probe": nil, "found by the call": slowProbes} {
		t.Run(name, func(t *testing.T) {
			a, b := newFake(t), newFake(t)
			f := newFront(t, change, a, b)
			id := f.session()
			a.kill()
			if change == nil {
				f.awaitState(a, Down)
			}
			got := f.post(call, "Mcp-Session-Id", id)
			if got.status != 404 || !strings.Contains(got.body, `"id":7`) || !strings.Contains(got.body, "-32001") || b.calls.Load() != 0 {
				t.Errorf("got %+v", got)
			}
			for range 2 { // so that the client begins anew, where there is a server
				if got := f.post(initialize); got.status != 200 || got.header.Get("Openaccess-Backend") != b.addr {
					t.Errorf("initialize: %+v", got)
				}
			}
			if got := f.do(http.MethodGet, "", "Mcp-Session-Id", id); got.status != 404 {
				t.Errorf("GET: %+v", got)
			}
			if got := f.do(http.MethodDelete, "", "Mcp-Session-Id", id); got.status != 404 {
				t.Errorf("DELETE: %+v", got)
			}
		})
	}
}

func TestSessionOfNobody(t *testing.T) {
	a := newFake(t)
	f := newFront(t, nil, a)
	for _, id := range []string{"mcp-session-1", "aaaaaaaaaa.x"} {
		if got := f.post(call, "Mcp-Session-Id", id); got.status != 404 || a.calls.Load() != 0 {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

func TestNewerWireIsFree(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, nil, a, b)
	id := f.session()
	before := a.calls.Load() + b.calls.Load()
	for range 4 {
		if got := f.post(call, append(modern, "Mcp-Session-Id", id)...); got.status != 200 {
			t.Errorf("got %+v", got)
		}
	}
	if a.calls.Load() != 2 || b.calls.Load() != 2 || before != 0 {
		t.Errorf("calls went %d and %d ways", a.calls.Load(), b.calls.Load())
	}
	if r, _ := a.last(); r.Header.Get("Mcp-Session-Id") != "" {
		t.Error("a session was passed on in a wire that has none")
	}
}

func TestCallThatDidNotStartGoesElsewhere(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, slowProbes, a, b)
	a.kill()
	for range 6 {
		if got := f.post(call, modern...); got.status != 200 || !strings.Contains(got.body, `"from":"`+b.addr) {
			t.Errorf("got %+v", got)
		}
	}
	if b.calls.Load() != 6 || f.Status().Retried == 0 {
		t.Errorf("%d calls ran, %d were tried again", b.calls.Load(), f.Status().Retried)
	}
}

// TestIdleConnectionOfADeadServer restarts a server while the gateway has connections to the process before.
func TestIdleConnectionOfADeadServer(t *testing.T) {
	a := newFake(t)
	f := newFront(t, slowProbes, a)
	for range 50 {
		f.post(call, modern...)
		a.kill()
		a.listen(a.addr)
		if got := f.post(call, modern...); got.status != 200 || !strings.Contains(got.body, `"from":"`+a.addr) {
			t.Fatalf("got %+v", got)
		}
	}
}

// TestServerThatDeclines has a server say that it is stopping and has done nothing, before a probe has found out.
func TestServerThatDeclines(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, slowProbes, a, b)
	id := f.session()
	a.answer(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the server is stopping; nothing was done", http.StatusServiceUnavailable)
	})
	for range 3 {
		if got := f.post(call, modern...); got.status != 200 || !strings.Contains(got.body, `"from":"`+b.addr) {
			t.Errorf("got %+v", got)
		}
	}
	if s := f.of(a); s.State != NotReady || a.calls.Load() > 1 {
		t.Errorf("asked %d times: %+v", a.calls.Load(), s)
	}
	if got := f.post(call, "Mcp-Session-Id", id); got.status != 404 {
		t.Errorf("its session: %+v", got)
	}
	b.answer(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "overloaded", http.StatusServiceUnavailable)
	})
	if got := f.post(call, modern...); got.status != 503 || b.calls.Load() != 4 {
		t.Errorf("another 503 says nothing of the kind: %+v", got)
	}
}

func TestNoServerReached(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, nil, a, b)
	a.kill()
	b.kill()
	f.awaitState(a, Down)
	f.awaitState(b, Down)
	got := f.post(call, modern...)
	if got.status != 200 || !strings.Contains(got.body, `"error_code":"CONNECTION_FAILED"`) || !strings.Contains(got.body, `"retry_after_s":1`) {
		t.Errorf("a call: %+v", got)
	}
	if got = f.post(list); !strings.Contains(got.body, `"error":{"code":-32603`) {
		t.Errorf("a list: %+v", got)
	}
	if got = f.post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("a notification: %+v", got)
	}
	if s := f.Status(); s.TurnedAway != 3 || s.Ready {
		t.Errorf("status %+v", s)
	}
}

func TestTriesAllWhenNoneIsReady(t *testing.T) {
	a, b := newFake(t), newFake(t)
	a.ready.Store(500)
	b.ready.Store(503)
	f := newFront(t, nil, a, b)
	f.awaitState(a, Down)
	f.awaitState(b, NotReady)
	if got := f.post(call, modern...); got.status != 200 || !strings.Contains(got.body, `"from":"`+b.addr) || got.header.Get("Openaccess-Gateway") != "no-server-ready" {
		t.Errorf("got %+v", got)
	}
	b.kill()
	if got := f.post(call, modern...); got.status != 200 || !strings.Contains(got.body, `"from":"`+a.addr) {
		t.Errorf("with one gone: %+v", got)
	}
	if got := f.get("/readyz"); got.status != 503 || !strings.Contains(got.body, "no server is ready; calls are tried on all of them") {
		t.Errorf("readyz: %+v", got)
	}
	if !strings.Contains(f.log.String(), "no server is ready") {
		t.Errorf("the log does not say so:\n%s", f.log)
	}
	a.ready.Store(200)
	f.awaitState(a, Ready)
	if got := f.get("/readyz"); got.status != 200 {
		t.Errorf("readyz: %+v", got)
	}
}

func TestEjectsAServerThatFails(t *testing.T) {
	a, b := newFake(t), newFake(t)
	a.answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", 500) })
	f := newFront(t, func(c *Config) { c.EjectAfter, c.EjectFor = 2, 3600 }, a, b)
	statuses := map[int]int{}
	for range 10 {
		statuses[f.post(call, modern...).status]++
	}
	if statuses[500] != 2 || f.of(a).State != Ejected || f.of(a).Ejections != 1 || f.of(a).Failed != 2 {
		t.Errorf("answers %v, status %+v", statuses, f.of(a))
	}
}

func TestServerThatDrains(t *testing.T) {
	a, b := newFake(t), newFake(t)
	f := newFront(t, nil, a, b)
	id := f.session()
	a.ready.Store(503)
	f.awaitState(a, NotReady)
	for range 4 {
		if got := f.post(call, modern...); got.header.Get("Openaccess-Backend") != b.addr {
			t.Errorf("a call went to %s", got.header.Get("Openaccess-Backend"))
		}
		if got := f.post(initialize); got.header.Get("Openaccess-Backend") != b.addr {
			t.Errorf("a new session went to %s", got.header.Get("Openaccess-Backend"))
		}
		if got := f.post(call, "Mcp-Session-Id", id); got.header.Get("Openaccess-Backend") != a.addr {
			t.Errorf("its own session: %+v", got)
		}
	}
}

func TestServerWithoutReadyz(t *testing.T) {
	a, b := newFake(t), newFake(t)
	a.ready.Store(0)
	f := newFront(t, nil, a, b)
	if s := f.of(a); s.State != Ready || s.Probed == nil {
		t.Errorf("status %+v", s)
	}
	a.kill()
	f.awaitState(a, Down)
}

func TestClientThatLeaves(t *testing.T) {
	a := newFake(t)
	started, ended := make(chan struct{}), make(chan struct{})
	a.answer(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(ended)
	})
	f := newFront(t, nil, a)
	ctx, leave := context.WithCancel(t.Context())
	go func() { <-started; leave() }()
	if _, err := f.http.Do(f.request(ctx, http.MethodPost, call, modern...)); err == nil {
		t.Error("the call was answered")
	}
	<-ended
	waitUntil(t, "the gateway has let go", func() bool { return f.of(a).InFlight == 0 })
	if s := f.Status(); s.Unknown != 0 || s.Backends[0].Failed != 0 {
		t.Errorf("a client that left is held against the server: %+v", s)
	}
}

func TestEventsPassAtOnce(t *testing.T) {
	a := newFake(t)
	more := make(chan struct{})
	a.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			io.WriteString(w, progress)
			http.NewResponseController(w).Flush()
			<-more
		}
		io.WriteString(w, "data: {\"id\":7,\"result\":{}}\n\n")
	})
	f := newFront(t, nil, a)
	resp, err := f.http.Do(f.request(t.Context(), http.MethodPost, call, modern...))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for range 3 {
		for range strings.Count(progress, "\n") { // or this blocks for ever
			if _, err := lines.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		more <- struct{}{}
	}
	if rest, err := io.ReadAll(lines); err != nil || string(rest) != "data: {\"id\":7,\"result\":{}}\n\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

// TestListeningStream is the GET of the older wire: no load, ended with its server, its client and the gateway.
func TestListeningStream(t *testing.T) {
	a, b := newFake(t), newFake(t)
	for _, s := range []*fake{a, b} {
		s.answer(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, progress)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
	}
	f := newFront(t, nil, a, b)
	open := func() *http.Response {
		resp, err := f.http.Do(f.request(t.Context(), http.MethodGet, "", "Mcp-Session-Id", f.session()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(resp.Body, make([]byte, len(progress))); err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first, second := open(), open()
	defer first.Body.Close()
	defer second.Body.Close()
	if s := f.of(a); s.Streams != 1 || s.InFlight != 0 {
		t.Errorf("status %+v", s)
	}
	a.kill()
	if rest, err := io.ReadAll(first.Body); err != nil || len(rest) > 0 {
		t.Errorf("the stream of a server that is gone ended with %q, %v", rest, err)
	}
	f.end()
	if rest, err := io.ReadAll(second.Body); err != nil || len(rest) > 0 {
		t.Errorf("the stream of a gateway that drains ended with %q, %v", rest, err)
	}
}

func TestRequestsAreBoundedAndGuarded(t *testing.T) {
	a := newFake(t)
	f := newFront(t, nil, a)
	huge := `{"jsonrpc":"2.0","id":1,"method":"ping","params":"` + strings.Repeat("x", maxMessage) + `"}`
	if got := f.post(huge); got.status != 413 {
		t.Errorf("a message too long: %d", got.status)
	}
	req := f.request(t.Context(), http.MethodPost, huge)
	req.Body, req.ContentLength = io.NopCloser(strings.NewReader(huge)), -1
	if resp, err := f.http.Do(req); err == nil { // else the gateway hung up in the middle of it
		if resp.Body.Close(); resp.StatusCode != 413 {
			t.Errorf("a message too long, of unknown length: %d", resp.StatusCode)
		}
	}
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Host", "evil.example"}, {"Origin", "null"}} {
		if got := f.post(call, header...); got.status != 403 {
			t.Errorf("%v: %d", header, got.status)
		}
	}
	if got := f.do(http.MethodPut, call); got.status != 405 || got.header.Get("Allow") == "" {
		t.Errorf("PUT: %+v", got)
	}
	if a.calls.Load() != 0 {
		t.Error("a refused request reached the server")
	}
}

func TestHeadersPass(t *testing.T) {
	a := newFake(t)
	a.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Answer", "kept")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "dropped")
		w.WriteHeader(http.StatusAccepted)
	})
	f := newFront(t, nil, a)
	got := f.post(call, "X-Ask", "kept", "Connection", "X-Near, keep-alive", "X-Near", "dropped", "Te", "trailers", "Authorization", "Bearer x", "Origin", "http://localhost:3")
	if got.status != http.StatusAccepted || got.header.Get("X-Answer") != "kept" || got.header.Get("X-Hop") != "" {
		t.Errorf("got %+v", got)
	}
	r, body := a.last()
	if body != call || r.Host != a.addr || r.Header.Get("X-Ask") != "kept" || r.Header.Get("Authorization") != "Bearer x" || r.Header.Get("Origin") == "" ||
		r.Header.Get("X-Near") != "" || r.Header.Get("Te") != "" {
		t.Errorf("the server saw %v %q", r.Header, body)
	}
}

func TestLongAnswersPassAsTheyCome(t *testing.T) {
	a := newFake(t)
	long := strings.Repeat("x", 100<<10)
	f := newFront(t, nil, a)
	f.held = 10 << 10
	a.answer(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, long) })
	if got := f.post(call, modern...); got.body != long {
		t.Errorf("got %d bytes of %d", len(got.body), len(long))
	}
	a.answer(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, progress+"data: "+long+"\n\n"+progress)
	})
	if got := f.post(call, modern...); got.body != progress+"data: "+long+"\n\n"+progress {
		t.Errorf("got %d bytes of events", len(got.body))
	}
	a.answer(cut("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + long))
	resp, err := f.http.Do(f.request(t.Context(), http.MethodPost, call, modern...))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("an answer cut off after what was passed on looks whole to the client, at %d bytes", n)
	}
}

func TestReload(t *testing.T) {
	a, b, c := newFake(t), newFake(t), newFake(t)
	f := newFront(t, nil, a, b)
	id, other := f.session(), f.session()
	next := f.cfg
	next.Backends = []Backend{{URL: "http://" + c.addr}, {URL: "http://" + a.addr, Drain: true}}
	if err := f.Reload(next); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got := f.post(call, modern...); got.header.Get("Openaccess-Backend") != c.addr {
			t.Errorf("a call went to %s", got.header.Get("Openaccess-Backend"))
		}
	}
	if got := f.post(call, "Mcp-Session-Id", id); got.header.Get("Openaccess-Backend") != a.addr {
		t.Errorf("the session of the drained server: %+v", got)
	}
	if got := f.post(call, "Mcp-Session-Id", other); got.status != 404 {
		t.Errorf("the session of a server taken out: %+v", got)
	}
	c.ready.Store(503)
	f.awaitState(c, NotReady) // it is probed
	if err := f.Reload(Config{}); err == nil || f.of(a).State != Drained {
		t.Errorf("a bad configuration: %v; %+v", err, f.of(a))
	}
}

func (f *front) get(path string) reply {
	f.t.Helper()
	resp, err := f.http.Get(strings.TrimSuffix(f.url, "/mcp") + path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(b)}
}

func TestManyAtOnce(t *testing.T) {
	fakes := []*fake{newFake(t), newFake(t), newFake(t)}
	f := newFront(t, func(c *Config) { c.Strategy = LeastInFlight }, fakes...)
	done := make(chan string, 64)
	for range cap(done) {
		go func() {
			var bad []string
			for range 20 {
				resp, err := f.http.Do(f.request(context.Background(), http.MethodPost, call, modern...))
				if err != nil {
					bad = append(bad, err.Error())
					continue
				}
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if !strings.Contains(string(b), `"from"`) {
					bad = append(bad, string(b))
				}
			}
			done <- strings.Join(bad, "; ")
		}()
	}
	for range cap(done) {
		if bad := <-done; bad != "" {
			t.Error(bad)
		}
	}
	total := int64(0)
	for _, b := range fakes {
		total += b.calls.Load()
		if s := f.of(b); s.InFlight != 0 || s.Requests < 100 {
			t.Errorf("status %+v", s)
		}
	}
	if total != 64*20 {
		t.Errorf("%d calls ran", total)
	}
	if f.of(fakes[0]).Probed.Before(time.Now().Add(-time.Hour)) {
		t.Error("not probed")
	}
}
