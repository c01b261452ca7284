package gateway

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// running is a gateway as Run serves it.
type running struct {
	*front
	stop  context.CancelFunc
	ended chan error
}

func run(t *testing.T, change func(*Config), fakes ...*fake) *running {
	t.Helper()
	log := &syncBuffer{}
	cfg := Config{Listen: "127.0.0.1:0", ProbeInterval: 0.01, ProbeTimeout: 5, Logger: slog.New(slog.NewTextHandler(log, nil))}
	for _, b := range fakes {
		cfg.Backends = append(cfg.Backends, Backend{URL: "http://" + b.addr})
	}
	if change != nil {
		change(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{&front{Gateway: g, t: t, log: log, http: &http.Client{Transport: &http.Transport{}}}, stop, make(chan error, 1)}
	go func() { r.ended <- g.Run(ctx) }()
	urlOf := regexp.MustCompile(`url=(\S+)`)
	waitUntil(t, "the address is logged", func() bool { return urlOf.MatchString(log.String()) })
	r.url = urlOf.FindStringSubmatch(log.String())[1]
	t.Cleanup(func() { stop(); r.http.CloseIdleConnections() })
	return r
}

// await runs a request in the background.
func (r *running) await(method, body string, header ...string) <-chan reply {
	done := make(chan reply, 1)
	req := r.request(context.Background(), method, body, header...)
	go func() {
		resp, err := r.http.Do(req)
		if err != nil {
			done <- reply{body: err.Error()}
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		done <- reply{resp.StatusCode, resp.Header, string(b)}
	}()
	return done
}

func TestDrainsWhatIsUnderWay(t *testing.T) {
	a := newFake(t)
	started, goOn := make(chan struct{}), make(chan struct{})
	a.answer(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			w.Header().Set("Content-Type", "text/event-stream")
			http.NewResponseController(w).Flush()
			started <- struct{}{}
			<-r.Context().Done()
			return
		}
		started <- struct{}{}
		<-goOn
		io.WriteString(w, "done")
	})
	r := run(t, func(c *Config) { c.DrainTimeout = 60 }, a)
	answer := r.await(http.MethodPost, call, modern...)
	<-started
	go func() { <-started }()
	stream, err := r.http.Do(r.request(t.Context(), http.MethodGet, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	r.stop()
	if rest, err := io.ReadAll(stream.Body); err != nil || len(rest) > 0 {
		t.Errorf("the stream ended with %q, %v", rest, err)
	}
	waitUntil(t, "it listens no more", func() bool {
		resp, err := r.http.Get(strings.TrimSuffix(r.url, "/mcp") + "/readyz")
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	close(goOn)
	if got := <-answer; got.status != 200 || got.body != "done" {
		t.Errorf("the call under way: %+v", got)
	}
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func TestDrainThatTakesTooLong(t *testing.T) {
	a := newFake(t)
	started, cancelled := make(chan struct{}), make(chan struct{})
	a.answer(func(_ http.ResponseWriter, r *http.Request) {
		close(started)
		<-r.Context().Done()
		close(cancelled)
	})
	r := run(t, func(c *Config) { c.DrainTimeout = 0.05 }, a)
	answer := r.await(http.MethodPost, call, modern...)
	<-started
	r.stop()
	got := <-answer
	if got.status != 200 || !strings.Contains(got.body, "the gateway had to end") {
		t.Errorf("got %+v", got)
	}
	unknownResult(t, got.body, "7")
	<-cancelled
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	a := newFake(t)
	r := run(t, nil, a)
	for path, want := range map[string]string{
		"/healthz": `"ok"`, "/readyz": `"ready": true`, "/status": `"state": "ready"`,
	} {
		if got := r.get(path); got.status != 200 || !strings.Contains(got.body, want) || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if got := r.get("/other"); got.status != 404 {
		t.Errorf("another path: %d", got.status)
	}
	r.stop()
	if err := <-r.ended; err != nil {
		t.Error(err)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "nonsense"} {
		if _, err := New(Config{Listen: addr, Backends: []Backend{{URL: "http://127.0.0.1:1"}}}); err == nil {
			t.Errorf("%s would be served", addr)
		}
	}
}
