package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// ExecData is what ssh_exec answers.
type ExecData struct {
	Stdout        string  `json:"stdout"`
	Stderr        string  `json:"stderr"`
	StdoutBase64  string  `json:"stdout_base64,omitempty" jsonschema:"exact bytes of stdout, where it is not valid UTF-8"`
	StderrBase64  string  `json:"stderr_base64,omitempty" jsonschema:"exact bytes of stderr, where it is not valid UTF-8"`
	ExitCode      int     `json:"exit_code" jsonschema:"exit status of the command; -1 when a signal ended it"`
	Signal        string  `json:"signal,omitempty" jsonschema:"name of the signal that ended the command, without SIG"`
	SessionID     string  `json:"session_id,omitempty" jsonschema:"names the SSH connection that carried the command"`
	Truncated     bool    `json:"truncated" jsonschema:"a stream was longer than max_output_bytes and its end was dropped"`
	Cached        bool    `json:"cached" jsonschema:"the result was remembered from an earlier call"`
	AgeS          float64 `json:"age_s,omitempty" jsonschema:"seconds since the remembered result was made"`
	ExecutionTime float64 `json:"execution_time" jsonschema:"seconds"`
	DryRun        bool    `json:"dry_run,omitempty" jsonschema:"nothing was run"`
	JobID         string  `json:"job_id,omitempty" jsonschema:"names the background job that runs the command now: see job_status; exit_code is -1 then"`
}

// Limits of ssh_exec's parameters.
const (
	defaultTimeout   = 60.0
	maxTimeout       = 86400.0
	defaultMaxOutput = 1 << 20
	maxMaxOutput     = 64 << 20
)

func (s *Server) execTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("ssh_exec",
			mcp.WithDescription("Run a command on a host over SSH and return its output and exit code. A non-zero exit code is a successful call."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithString("command", mcp.Required(), mcp.Description("command line for the remote user's login shell")),
			mcp.WithNumber("timeout_seconds", mcp.Description("the command is stopped after this; alias timeout. In the background it has a day unless this is given"),
				mcp.DefaultNumber(defaultTimeout), mcp.Max(maxTimeout)),
			mcp.WithBoolean("pty", mcp.Description("run it in a terminal; stderr then arrives in stdout"), mcp.DefaultBool(false)),
			mcp.WithBoolean("sudo", mcp.Description("run it as root through sudo -n"), mcp.DefaultBool(false)),
			mcp.WithBoolean("dry_run", mcp.Description("check profile and policy, run nothing"), mcp.DefaultBool(false)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithInteger("max_output_bytes", mcp.Description("bytes kept of each stream"),
				mcp.DefaultNumber(defaultMaxOutput), mcp.Min(0), mcp.Max(maxMaxOutput)),
			mcp.WithBoolean("no_cache", mcp.Description("run the command even where its result is remembered"), mcp.DefaultBool(false)),
			mcp.WithBoolean("background", mcp.Description("answer at once with a job_id and let the command run on, whether or not the client stays; "+
				"see job_status, job_output and job_cancel"), mcp.DefaultBool(false)),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[ExecData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(false), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "ssh.exec", exec),
	}
}

func exec(ctx context.Context, c *call) (*ExecData, error) {
	id := c.required("profile_id")
	cmd := remote.Command{
		Line:      c.required("command"),
		Sudo:      c.boolean(false, "sudo"),
		PTY:       c.boolean(false, "pty"),
		MaxOutput: int64(c.number(defaultMaxOutput, 0, maxMaxOutput, "max_output_bytes")),
	}
	background := c.boolean(false, "background")
	patience := defaultTimeout
	if background {
		patience = maxTimeout
	}
	timeout := c.number(patience, 0.001, maxTimeout, "timeout_seconds", "timeout")
	dryRun := c.boolean(false, "dry_run")
	ticket := c.str("change_ticket")
	noCache := c.boolean(false, "no_cache")
	if err := c.done(); err != nil {
		return nil, err
	}
	want := policy.Call{Operation: "ssh.exec", Protocol: "ssh", Command: cmd.Line, Sudo: cmd.Sudo, ChangeTicket: ticket}
	if cmd.Sudo {
		want.Actions = []string{"ssh.sudo"}
	}
	if err := c.authorize(id, want); err != nil {
		return nil, err
	}
	if dryRun {
		return &ExecData{DryRun: true}, nil
	}
	if background {
		return c.startJob(cmd, timeout)
	}
	return c.execute(ctx, cmd, timeout, noCache)
}

// runCommand runs a command on the host of the call's profile.
func (c *call) runCommand(ctx context.Context, cmd remote.Command, timeout float64) (execution, error) {
	ctx, cancel := c.deadline(ctx, timeout)
	defer cancel()
	t, leave, err := c.admit(ctx)
	if err != nil {
		return execution{timing: c.metadata.Timing}, err
	}
	defer leave()
	redactor, limit := c.s.profiles.Redactor(c.profile.ID), cmd.MaxOutput
	cmd.MaxOutput = cleanable(redactor, limit)
	out, err := remote.Exec(ctx, c.s.pool, t, cmd)
	if out == nil {
		return execution{timing: c.metadata.Timing}, err
	}
	moved := min(int64(len(out.Stdout)), limit) + min(int64(len(out.Stderr)), limit)
	redacted := cleanOutput(redactor, out, limit)
	c.timed(out.Lease, out.Remote)
	data := &ExecData{
		ExitCode: out.ExitCode, Signal: out.Signal, SessionID: out.Session, Truncated: out.Truncated, ExecutionTime: out.Remote.Seconds(),
	}
	data.Stdout, data.StdoutBase64 = text(out.Stdout, out.Truncated)
	data.Stderr, data.StderrBase64 = text(out.Stderr, out.Truncated)
	return execution{data, c.metadata.Timing, moved, redacted}, err
}

// text gives output as a string and, where that would lose bytes, exactly as base64 too. A character that the bound cut in two is
// dropped.
func text(b []byte, truncated bool) (s, exact string) {
	if utf8.Valid(b) {
		return string(b), ""
	}
	for cut := 1; truncated && cut < utf8.UTFMax && cut < len(b); cut++ {
		if utf8.Valid(b[:len(b)-cut]) {
			return string(b[:len(b)-cut]), ""
		}
	}
	return string(b), base64.StdEncoding.EncodeToString(b)
}

// deadline bounds ctx by the caller's timeout and the profile's max_session_seconds, and says which of them ended it.
func (c *call) deadline(ctx context.Context, seconds float64) (context.Context, context.CancelFunc) {
	d := time.Duration(seconds * float64(time.Second))
	cause := expiry{"timeout_seconds", seconds}
	if limit := c.policy.SessionLimit(); limit > 0 && limit < d {
		d = limit
		cause = expiry{"the profile's max_session_seconds", limit.Seconds()}
	}
	return context.WithTimeoutCause(ctx, d, &cause)
}

// expiry is the cause of a deadline's end. Its text is only made when a deadline has ended.
type expiry struct {
	limit   string
	seconds float64
}

func (e *expiry) Error() string {
	return fmt.Sprintf("%s %v passed: %v", e.limit, e.seconds, context.DeadlineExceeded)
}

// Unwrap makes it a context.DeadlineExceeded.
func (e *expiry) Unwrap() error { return context.DeadlineExceeded }
