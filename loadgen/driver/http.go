package driver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// HTTPConfig says how to reach a running server.
type HTTPConfig struct {
	URL      string            // of the MCP endpoint, such as http://127.0.0.1:8080/mcp
	Headers  map[string]string // sent with every request
	Protocol string            // MCP protocol version to ask for, empty for 2025-11-25
}

// HTTP drives a running server over Streamable HTTP. Every session it opens is an MCP session of its own; all share a pool of connections
// with no limit but the calls in flight. ctx bounds the first handshake alone. The error matches ErrServerStart when the server does not
// answer as an MCP server.
func HTTP(ctx context.Context, cfg HTTPConfig) (loadgen.Driver, error) {
	return newHTTPDriver(ctx, cfg, loadgen.DriverInfo{Kind: "http", Address: cfg.URL}, nil)
}

// HTTPChild starts a server as a child process, learns its URL from the line of its standard error that has url=http://… (or the same as a
// JSON field), and drives it as HTTP does. Close ends the child.
func HTTPChild(ctx context.Context, cfg HTTPChildConfig) (loadgen.Driver, error) {
	cfg.complete()
	found := make(chan string, 1)
	c, err := startChild(cfg, false, func(line string) {
		if u, ok := urlIn(line); ok {
			select {
			case found <- u:
			default:
			}
		}
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	var url string
	select {
	case url = <-found:
	case <-c.exited:
		err = c.explain(nil)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		_ = c.end() // what went wrong before says more
		return nil, startError(ctx, cfg.Path, cfg.StartTimeout.String(), err, c.tail)
	}
	info := loadgen.DriverInfo{Kind: "http", Address: url, PID: c.cmd.Process.Pid}
	d, err := newHTTPDriver(ctx, HTTPConfig{URL: url, Protocol: cfg.Protocol}, info, c)
	if err != nil {
		_ = c.end()
		return nil, err
	}
	return d, nil
}

// urlIn finds the URL of an MCP endpoint in a line of a server's log: url=http://… or "url":"http://…".
func urlIn(line string) (url string, ok bool) {
	for _, mark := range []string{`url=`, `"url":`} {
		at := strings.Index(line, mark)
		if at < 0 || mark == `url=` && at > 0 && line[at-1] != ' ' {
			continue
		}
		value := strings.TrimLeft(line[at+len(mark):], ` "`)
		if end := strings.IndexAny(value, "\" \t\r"); end >= 0 {
			value = value[:end]
		}
		if strings.HasPrefix(value, "http://") || strings.HasPrefix(value, "https://") {
			return value, true
		}
	}
	return "", false
}

type httpDriver struct {
	cfg   HTTPConfig
	info  loadgen.DriverInfo
	child *child // nil when the server is not ours
	trans *http.Transport

	mu       sync.Mutex
	sessions map[*httpSession]bool
	spare    *httpSession // of the first handshake, for the first Open
	closed   bool
}

func newHTTPDriver(ctx context.Context, cfg HTTPConfig, info loadgen.DriverInfo, c *child) (*httpDriver, error) {
	d := &httpDriver{cfg: cfg, info: info, child: c, sessions: map[*httpSession]bool{}, trans: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		MaxIdleConnsPerHost: 1 << 16, // a connection that is closed after its call would cost each call a dial
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
	}}
	s, res, err := d.connect(ctx)
	if err != nil {
		d.trans.CloseIdleConnections()
		return nil, fmt.Errorf("%w: no MCP session at %s: %w", ErrServerStart, cfg.URL, err)
	}
	d.spare = s
	d.info.ServerName, d.info.ServerVersion = res.ServerInfo.Name, res.ServerInfo.Version
	return d, nil
}

// connect opens a session of its own.
func (d *httpDriver) connect(ctx context.Context) (*httpSession, *mcp.InitializeResult, error) {
	t, err := transport.NewStreamableHTTP(d.cfg.URL,
		transport.WithHTTPBasicClient(&http.Client{Transport: d.trans}),
		transport.WithHTTPHeaders(d.cfg.Headers),
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, nil, err
	}
	params := initializeParams(d.cfg.Protocol)
	c := client.NewClient(t)
	if err := c.Start(ctx); err != nil {
		return nil, nil, err
	}
	res, err := c.Initialize(ctx, mcp.InitializeRequest{Params: params})
	if err != nil {
		_ = c.Close()
		return nil, nil, err
	}
	s := &httpSession{d: d, trans: t}
	s.nextID.Store(firstCallID)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[s] = true
	return s, res, nil
}

func (d *httpDriver) Open(ctx context.Context) (loadgen.Session, error) {
	d.mu.Lock()
	s, closed := d.spare, d.closed
	d.spare = nil
	d.mu.Unlock()
	if closed {
		return nil, errClosed
	}
	if s != nil {
		return s, nil
	}
	s, _, err := d.connect(ctx)
	if err != nil {
		return nil, d.blame(err)
	}
	return s, nil
}

func (d *httpDriver) Info() loadgen.DriverInfo { return d.info }

func (d *httpDriver) Close() error {
	d.mu.Lock()
	d.closed = true
	var open []*httpSession
	for s := range d.sessions {
		open = append(open, s)
	}
	d.mu.Unlock()
	var wg sync.WaitGroup
	for _, s := range open {
		wg.Go(func() { _ = s.Close() })
	}
	wg.Wait()
	d.trans.CloseIdleConnections()
	if d.child == nil {
		return nil
	}
	return d.child.end()
}

// blame puts the end of our server, if that is what happened, in the place of the broken connection it caused.
func (d *httpDriver) blame(err error) error {
	if d.child == nil {
		return err
	}
	return d.child.explainWithin(blameGrace, err)
}

// blameGrace is how long a broken connection waits for the news that the server has ended.
const blameGrace = 100 * time.Millisecond

// firstCallID keeps a session's calls apart from the requests of its handshake, which mcp-go numbers from 1.
const firstCallID = 1 << 20

// httpSession is one MCP session. It uses mcp-go's transport but not its client's CallTool, which decodes a result several times.
type httpSession struct {
	d      *httpDriver
	trans  *transport.StreamableHTTP
	nextID atomic.Int64

	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup // cancellations under way
}

type callParams struct {
	Name      string         `json:"name"`
	Arguments map[string]any `json:"arguments"`
}

func (s *httpSession) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	if err := ctx.Err(); err != nil {
		return loadgen.Reply{}, err
	}
	args := c.Args
	if args == nil {
		args = map[string]any{}
	}
	id := mcp.NewRequestId(s.nextID.Add(1))
	resp, err := s.trans.SendRequest(ctx, transport.JSONRPCRequest{
		JSONRPC: mcp.JSONRPC_VERSION, ID: id, Method: string(mcp.MethodToolsCall), Params: callParams{c.Tool, args},
	})
	switch {
	case err != nil && ctx.Err() != nil:
		s.cancel(id, ctx.Err())
		return loadgen.Reply{}, ctx.Err()
	case err != nil:
		return loadgen.Reply{}, s.d.blame(err)
	case resp == nil:
		return loadgen.Reply{}, errors.New("the server ended its answer without a response")
	case resp.Error != nil:
		return loadgen.Reply{Code: CodeProtocol, Error: rpcMessage(resp.Error.Message, resp.Error.Code)}, nil
	}
	return parseToolResult(resp.Result)
}

// cancelTimeout bounds the sending of a cancellation.
const cancelTimeout = 2 * time.Second

// cancel tells the server that nobody waits for a call any more: under protocol versions up to 2025-11-25 a broken connection alone does
// not say so.
func (s *httpSession) cancel(id mcp.RequestId, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.wg.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), cancelTimeout)
		defer stop()
		_ = s.trans.SendNotification(ctx, mcp.JSONRPCNotification{
			JSONRPC: mcp.JSONRPC_VERSION,
			Notification: mcp.Notification{
				Method: string(mcp.MethodNotificationCancelled),
				Params: mcp.NotificationParams{AdditionalFields: map[string]any{"requestId": id, "reason": why.Error()}},
			},
		})
	})
}

// Close ends the session on the server, too, and with it calls under way.
func (s *httpSession) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	s.wg.Wait()
	_ = s.trans.Close() // it only logs what it cannot do
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	delete(s.d.sessions, s)
	return nil
}
