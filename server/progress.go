package server

import (
	"context"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
)

// progressGap is the least time between two progress notifications of one call.
const progressGap = 200 * time.Millisecond

// progress tells the client how far a call has come, by notifications/progress on the call's own stream. mcp-go routes them alike in both
// protocol generations: over stdio to the one client, over HTTP into the response of the call, which becomes an event stream. A nil
// *progress, of a call whose request carries no token, says nothing.
type progress struct {
	token mcp.ProgressToken
	send  func(method string, params map[string]any) error

	mu      sync.Mutex
	sent    time.Time // when the last notification left
	highest int64     // reported so far: what a client sees only grows
	pending map[string]any
	ended   bool
}

// newProgress returns the reporter of a call, or nil when req asks for none.
func (s *Server) newProgress(ctx context.Context, req mcp.CallToolRequest) *progress {
	meta := req.Params.Meta
	if meta == nil || meta.ProgressToken == nil {
		return nil
	}
	return &progress{
		token: meta.ProgressToken, highest: -1,
		send: func(method string, params map[string]any) error {
			return s.mcp.SendNotificationToClient(ctx, method, params)
		},
	}
}

// report says that done of total units are through; total 0 is unknown. At most five reports a second leave, the whole at once, and of
// those in between the last. It may be called by several goroutines; values that do not grow are dropped.
func (p *progress) report(done, total int64, message string) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if done <= p.highest || p.ended {
		return
	}
	p.highest = done
	p.pending = map[string]any{"progressToken": p.token, "progress": done}
	if total > 0 {
		p.pending["total"] = total
	}
	if message != "" {
		p.pending["message"] = message
	}
	if time.Since(p.sent) >= progressGap || done == total {
		p.flush()
	}
}

// settleTime is what mcp-go gets to write the last notification, which it does from a goroutine of its own and without telling when:
// over stdio the result would overtake it, over HTTP it would be dropped when the result is there first.
const settleTime = 10 * time.Millisecond

// end sends the last report, if it has not left yet. None follows it.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flush()
	p.ended = true
	if d := settleTime - time.Since(p.sent); d > 0 {
		time.Sleep(d)
	}
}

// flush sends what is pending; p.mu is held. A client that reads too slowly misses reports, and the call goes on.
func (p *progress) flush() {
	if p.pending == nil {
		return
	}
	_ = p.send(string(mcp.MethodNotificationProgress), p.pending)
	p.pending, p.sent = nil, time.Now()
}

// progress reports how far the call has come, where the client asked for it; see progress.report.
func (c *call) progress(done, total int64, message string) { c.reporter.report(done, total, message) }
