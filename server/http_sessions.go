package server

import (
	"net/http"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// sessionless has mcp-go keep nothing between the requests of a session, so that clients which vanish without a goodbye leave nothing behind
// (mcp-go would keep about 10 KiB for each, until it is told that the session has ended).
//
// A session's id stays good for ever: mcp-go checks its form alone, and makes what a request needs anew. All that is lost are messages which
// the server would send on its own accord to a client that listens to none of its streams, and there are no such.
// So no client can end one, which DELETE is told by 405, as the protocol has it.
type sessionless struct {
	mcp *mcpserver.StreamableHTTPServer
}

func (h sessionless) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "the server keeps no sessions that could be ended", http.StatusMethodNotAllowed)
		return
	}
	h.mcp.ServeHTTP(w, r)
	id := w.Header().Get(mcp.HeaderSessionID) // which answers initialize alone; the client has not seen it yet
	if r.Method != http.MethodPost || id == "" {
		return
	}
	goodbye := r.Clone(r.Context())
	goodbye.Method, goodbye.Body = http.MethodDelete, http.NoBody
	goodbye.Header = http.Header{mcp.HeaderSessionID: {id}}
	h.mcp.ServeHTTP(nobody{}, goodbye)
}

// nobody takes an answer that nobody waits for.
type nobody struct{}

func (nobody) Header() http.Header         { return http.Header{} }
func (nobody) Write(b []byte) (int, error) { return len(b), nil }
func (nobody) WriteHeader(int)             {}
