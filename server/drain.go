package server

import (
	"context"
	"net/http"
	"sync"
)

// requests counts the requests of MCP clients that are answered now, so that a server that stops can let them end while it still says that it
// stops. The streams that clients hold open to listen (GET) do not count. The zero value is ready.
type requests struct {
	mu       sync.Mutex
	draining bool
	running  sync.WaitGroup // grows under mu, while not draining
}

// count hands requests on. Once the server stops, new ones are refused with 503, before anything was done.
func (q *requests) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			next.ServeHTTP(w, r)
			return
		}
		if !q.enter() {
			w.Header().Set("Retry-After", "1")
			w.Header().Set("Connection", "close")
			// The gateway knows by these words that it may ask another server.
			http.Error(w, "the server is stopping; nothing was done", http.StatusServiceUnavailable)
			return
		}
		defer q.running.Done()
		next.ServeHTTP(w, r)
	})
}

func (q *requests) enter() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draining {
		return false
	}
	q.running.Add(1)
	return true
}

// drain refuses what is new and waits for what runs, or for the end of ctx.
func (q *requests) drain(ctx context.Context) {
	q.mu.Lock()
	q.draining = true
	q.mu.Unlock()
	done := make(chan struct{})
	go func() { q.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
}
