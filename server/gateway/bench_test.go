package gateway

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkCall compares a call of the newer wire sent to a server that does nothing with the same one sent through a gateway over it, 1 and 64
// at a time. The difference is what the gateway costs, client and server running on the same processors.
func BenchmarkCall(b *testing.B) {
	answer := `{"jsonrpc":"2.0","id":7,"result":{"content":[{"type":"text","text":"` + strings.Repeat("x", 300) + `"}]}}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	g, err := New(Config{Backends: []Backend{{URL: server.URL}}, ProbeInterval: 60, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	g.start(b.Context())
	defer g.stop()
	front := httptest.NewServer(g.handler(unguarded))
	defer front.Close()
	for _, n := range []int{1, 64} {
		for _, to := range []struct{ name, url string }{{"direct", server.URL + "/mcp"}, {"gateway", front.URL + "/mcp"}} {
			b.Run(fmt.Sprintf("%s/%d", to.name, n), func(b *testing.B) { benchmarkCalls(b, to.url, n) })
		}
	}
}

func benchmarkCalls(b *testing.B, url string, n int) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}
	defer client.CloseIdleConnections()
	todo, done := make(chan struct{}), make(chan error, n)
	for range n {
		go func() {
			for range todo {
				if err := benchmarkCall(client, url); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	b.ReportAllocs()
	for range b.N {
		select {
		case todo <- struct{}{}:
		case err := <-done:
			b.Fatal(err)
		}
	}
	close(todo)
	for range n {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

func benchmarkCall(client *http.Client, url string) error {
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(call))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(modern); i += 2 {
		req.Header.Set(modern[i], modern[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
