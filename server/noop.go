package server

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/vpn"
)

// Noop says how the server made by NewNoop answers. The zero value answers at once.
type Noop struct {
	Delay time.Duration // before each answer; with Sigma, the median of a log-normal one
	Sigma float64       // of the delay's logarithm; 0 makes the delay fixed
	Seed  uint64        // of the delays drawn
}

// NewNoop returns a server of one tool: an ssh_exec that reaches no host and answers "loadgen\n" with exit code 0. Transports, MCP and
// envelope are those of every Server, so it shows what these cost alone. Of cfg it reads Version, Logger and DrainTimeout.
func NewNoop(cfg Config, n Noop) *Server {
	s := &Server{cfg: cfg.withDefaults(), vpn: vpn.New(0), started: time.Now(), local: localUser()}
	s.pool = pool.New(pool.Config{})
	s.access, _ = access.Open(access.Config{Logger: s.cfg.Logger}) // fails for files alone, and there is none
	s.mcp = mcpserver.NewMCPServer("openaccess-mcp-noop", s.cfg.Version,
		mcpserver.WithToolCapabilities(false), mcpserver.WithRecovery(), mcpserver.WithHooks(s.hooks()))
	tool := s.execTool()
	tool.Handler = handle(s, "ssh.exec", n.exec())
	s.mcp.AddTools(tool)
	s.own = toolsOf(s.mcp)
	return s
}

// exec is the tool.
func (n Noop) exec() func(context.Context, *call) (*ExecData, error) {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(n.Seed, 0))
	return func(ctx context.Context, _ *call) (*ExecData, error) {
		if n.Delay > 0 {
			mu.Lock()
			d := time.Duration(float64(n.Delay) * math.Exp(n.Sigma*rng.NormFloat64()))
			mu.Unlock()
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return &ExecData{Stdout: "loadgen\n"}, nil
	}
}
