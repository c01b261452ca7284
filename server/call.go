package server

import (
	"context"
	"fmt"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/access"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// call is one tool call on its way: parameters, then policy, admission and the remote work. Tools use it through handle.
type call struct {
	params
	s        *Server
	metadata Metadata
	identity *access.Identity // nil where callers need none
	profile  *profile.Profile
	policy   *policy.Policy
	ctx      context.Context // of the call, for what authorize asks others
	bytes    int64           // payload moved, for the metrics
	job      *job            // that goes on with the call's work after its result; nil for none
	reporter *progress
}

// handle makes an MCP handler of a tool's function. Whatever the function returns becomes an envelope; a non-nil data beside an
// error is kept.
func handle[T any](s *Server, operation string, fn func(ctx context.Context, c *call) (*T, error)) mcpserver.ToolHandlerFunc {
	s.metrics.Declare(operation)
	return func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		start := time.Now()
		s.calls.Add(1)
		c := &call{s: s, ctx: ctx, params: params{args: req.GetArguments()}, metadata: Metadata{Actor: s.actor(ctx)}, identity: access.From(ctx), reporter: s.newProgress(ctx, req)}
		c.metadata.Caller = c.str("caller")
		recorded := c.begin(operation, start)
		defer recorded.end() // also when fn panics
		var data *T
		err := c.admitsTool(operation)
		if err == nil {
			err = recorded.recorded(ctx, operation)
		}
		if err == nil {
			data, err = fn(ctx, c)
		}
		c.reporter.end()
		env := Envelope[T]{Success: err == nil, Data: data}
		if err != nil {
			env.Error = c.clean(err.Error())
			c.metadata.ErrorCode, c.metadata.RetryAfter = codeOf(err), retryAfter(err)
		}
		if c.metadata.Caller != "" {
			c.metadata.Caller = c.clean(c.metadata.Caller)
		}
		env.Metadata = c.metadata
		recorded.outcome = audit.Outcome{Code: string(c.metadata.ErrorCode), Bytes: c.bytes, Duration: time.Since(start)}
		if c.job == nil {
			s.metrics.Record(c.counted(operation, recorded.outcome.Duration))
		}
		if err != nil {
			s.cfg.Logger.Info("call failed", "operation", operation, "profile", c.metadata.ProfileID, "code", c.metadata.ErrorCode, "error", env.Error)
		}
		return result(env, err != nil)
	}
}

// counted is the call as the metrics count it.
func (c *call) counted(operation string, took time.Duration) metrics.Call {
	m := metrics.Call{Operation: operation, Profile: c.metadata.ProfileID, Code: string(c.metadata.ErrorCode), Duration: took, Bytes: c.bytes}
	if c.metadata.ErrorCode == CodeProfileNotFound {
		m.Profile = "" // a caller made it up
	}
	t := &c.metadata.Timing
	for i, seconds := range [...]float64{t.Queue, t.Dial, t.Channel, t.Remote} {
		m.Phases[i] = time.Duration(seconds * float64(time.Second))
	}
	return m
}

// authorize finds the profile and asks its policy. It runs before anything touches the network.
func (c *call) authorize(id string, want policy.Call) error {
	c.metadata.ProfileID = id
	err := c.admitsProfile(id)
	if err != nil {
		return err
	}
	if c.profile, err = c.s.profiles.Get(id); err != nil {
		return err
	}
	if err := c.hasRole(); err != nil {
		return err
	}
	if c.policy, err = c.s.policies.of(c.profile); err != nil {
		return err
	}
	d := c.policy.Decide(want)
	if !d.Allowed {
		return c.refused(d)
	}
	return c.checkTicket(want, d)
}

// refused is the error of a call that the policy refuses.
func (c *call) refused(d policy.Decision) error {
	return &callError{CodePolicyViolation, fmt.Sprintf("refused by rule %s of profile %s: %s", d.Rule, c.metadata.ProfileID, d.Reason)}
}

// bounds hold a transfer inside what the policy admits of the host; nil where it admits everything.
func (c *call) bounds() *remote.Bounds {
	if !c.policy.RulesRemote() {
		return nil
	}
	judge := func(name string) error {
		if d := c.policy.DecideRemote(name); !d.Allowed {
			return c.refused(d)
		}
		return nil
	}
	return &remote.Bounds{Roots: c.policy.RemoteRoots(), Judge: judge, Some: c.policy.DeniesRemote()}
}

// admit resolves the target and waits for a slot under the limits of the profile and of the server. leave gives the slot back.
func (c *call) admit(ctx context.Context) (t *profile.Target, leave func(), err error) {
	leave, err = c.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	t, err = c.s.profiles.Resolve(ctx, c.profile.ID)
	if err != nil {
		leave()
		return nil, nil, err
	}
	return t, leave, nil
}

// enter waits for a slot under the limits of the profile and of the server. leave gives it back.
func (c *call) enter(ctx context.Context) (leave func(), err error) {
	start := time.Now()
	limit := c.profile.Policy.MaxConcurrentSessions
	if limit == 0 {
		limit = c.s.current().Limits.MaxPerProfile
	}
	leave, err = c.s.limits.Enter(ctx, c.profile.ID, limit)
	c.metadata.Timing.Queue = time.Since(start).Seconds()
	return leave, err
}

// timed adds what the pool and the host took to the call's timing.
func (c *call) timed(lease pool.Info, remote time.Duration) {
	t := &c.metadata.Timing
	t.Queue += lease.Queue.Seconds()
	t.Dial = lease.Dial.Seconds()
	t.Channel = lease.Channel.Seconds()
	t.Remote = remote.Seconds()
	t.Reused = lease.Reused
}
