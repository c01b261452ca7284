package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/metrics"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
)

// DiagnoseOptions says what Diagnose looks at.
type DiagnoseOptions struct {
	Profile    string
	Operation  string // one of DiagnoseOperations; "" is the first
	Iterations int    // fresh connections, and calls over the pool, 1 to 100; 0 is 10
	BringUpVPN bool   // bring up the WireGuard tunnels on the way, which ends those that another process has up with the same key
}

// DiagnoseOperations are the operations whose way can be timed. The first is all of it.
var DiagnoseOperations = []string{"all", "connect", "ssh.exec", "sftp.transfer", "rsync.sync"}

const (
	defaultIterations = 10
	maxIterations     = 100
	maxDiagnosis      = 600.0 // seconds
)

// Diagnosis is what each step on the way to a host takes, and what is wrong there in plain words.
type Diagnosis struct {
	ProfileID  string    `json:"profile_id"`
	Address    string    `json:"address,omitempty"`
	Through    []string  `json:"through,omitempty" jsonschema:"profiles of the jump hosts and the WireGuard peer on the way, the first first"`
	Operation  string    `json:"operation"`
	Iterations int       `json:"iterations" jsonschema:"fresh connections that were tried"`
	Healthy    bool      `json:"healthy" jsonschema:"no step has failed"`
	Steps      []Step    `json:"steps"`
	Findings   []Finding `json:"findings"`
	DurationS  float64   `json:"duration_s"`
}

// Step is the time that one step took over the repeats. Times are seconds.
type Step struct {
	Step      string   `json:"step"`
	ProfileID string   `json:"profile_id" jsonschema:"whose host: the profile's or a jump host's"`
	Count     int      `json:"count" jsonschema:"repeats that succeeded"`
	Failed    int      `json:"failed,omitempty"`
	MinS      float64  `json:"min_s"`
	MedianS   float64  `json:"median_s"`
	P95S      *float64 `json:"p95_s,omitempty" jsonschema:"from 20 repeats on"`
	MaxS      float64  `json:"max_s"`
	Error     string   `json:"error,omitempty" jsonschema:"of the last repeat that failed"`
	Note      string   `json:"note,omitempty"`
}

// Finding is something that is wrong or slow, in plain words.
type Finding struct {
	Kind      string `json:"kind" jsonschema:"failure, high_latency, leak, exhaustion or cache_inefficiency"`
	Step      string `json:"step,omitempty"`
	ProfileID string `json:"profile_id,omitempty"`
	Message   string `json:"message"`
	Remedy    string `json:"remedy"`
}

// The kinds of Finding.
const (
	FindingFailure     = "failure"
	FindingLatency     = "high_latency"
	FindingLeak        = "leak"
	FindingExhaustion  = "exhaustion"
	FindingCache       = "cache_inefficiency"
	operationDiagnosis = "debug.performance"
)

// Diagnose times each step on the way to the host of a profile, over fresh connections and then over pooled ones. It is a call like any other:
// policy, limits and audit record of cfg hold. A host that cannot be reached is a finding and no error; errors are of what cfg and opts name, and
// of ctx.
func Diagnose(ctx context.Context, cfg Config, opts DiagnoseOptions) (*Diagnosis, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	start := time.Now()
	c := &call{s: s, metadata: Metadata{Actor: "doctor:" + s.local}, params: params{args: map[string]any{
		"profile_id": opts.Profile, "operation": opts.Operation, "iterations": opts.Iterations,
	}}}
	recorded := c.begin(operationDiagnosis, start)
	defer recorded.end()
	if err := recorded.recorded(ctx, operationDiagnosis); err != nil {
		return nil, err
	}
	d, err := c.diagnose(ctx, opts)
	code := Code("")
	if err != nil {
		code = codeOf(err)
	}
	recorded.outcome = audit.Outcome{Code: string(code), Duration: time.Since(start)}
	s.metrics.Record(metrics.Call{Operation: operationDiagnosis, Code: string(code), Duration: time.Since(start)})
	return d, err
}

// scope is what a diagnosis may do.
type scope struct {
	exec, sftp   bool
	noExec       string // why no command is run, or ""
	noSFTP       string // why no SFTP session is opened, or ""
	channelsOnly bool   // session channels are timed without running a command in them
}

// harmless is the command that is timed.
const harmless = "true"

// scope asks the policy what of the operation may be done.
func (c *call) scope(opts DiagnoseOptions) (scope, error) {
	id := opts.Profile
	c.metadata.ProfileID = id
	err := c.admitsProfile(id)
	if err != nil {
		return scope{}, err
	}
	if c.profile, err = c.s.profiles.Get(id); err != nil {
		return scope{}, err
	}
	if err := c.hasRole(); err != nil {
		return scope{}, err
	}
	if c.policy, err = c.s.policies.of(c.profile); err != nil {
		return scope{}, err
	}
	exec := c.policy.Decide(policy.Call{Operation: "ssh.exec", Protocol: "ssh", Command: harmless})
	sftp := c.policy.Decide(policy.Call{Operation: "sftp.transfer", Protocol: "sftp"})
	refused := func(d policy.Decision) string { return fmt.Sprintf("refused by rule %s: %s", d.Rule, d.Reason) }
	var sc scope
	switch opts.Operation {
	case "connect":
		return sc, nil
	case "ssh.exec":
		sc.exec = true
	case "sftp.transfer":
		sc.sftp = true
	default:
		sc.exec, sc.sftp = true, true
	}
	if sc.exec && !exec.Allowed {
		sc.exec, sc.noExec = false, refused(exec)
		sc.channelsOnly = exec.Rule != "protocols"
	}
	if sc.sftp && !sftp.Allowed {
		sc.sftp, sc.noSFTP = false, refused(sftp)
	}
	if !sc.exec && !sc.sftp && !sc.channelsOnly {
		return sc, &callError{CodePolicyViolation, fmt.Sprintf("profile %s: nothing of %s may be timed: %s", id, opts.Operation,
			strings.Join(nonEmpty(sc.noExec, sc.noSFTP), "; "))}
	}
	return sc, nil
}

func nonEmpty(texts ...string) []string {
	var some []string
	for _, t := range texts {
		if t != "" {
			some = append(some, t)
		}
	}
	return some
}

// complete checks the options and fills in the defaults.
func (o DiagnoseOptions) complete() (DiagnoseOptions, error) {
	if o.Profile == "" {
		return o, &callError{CodeInvalidParameters, "profile_id is required"}
	}
	if o.Operation == "" {
		o.Operation = DiagnoseOperations[0]
	}
	if o.Iterations == 0 {
		o.Iterations = defaultIterations
	}
	known := false
	for _, op := range DiagnoseOperations {
		if o.Operation == op || o.Operation == strings.ReplaceAll(op, ".", "_") {
			o.Operation, known = op, true
		}
	}
	switch {
	case !known:
		return o, &callError{CodeInvalidParameters, fmt.Sprintf("operation %q cannot be timed; known are %s", o.Operation, strings.Join(DiagnoseOperations, ", "))}
	case o.Iterations < 1 || o.Iterations > maxIterations:
		return o, &callError{CodeInvalidParameters, fmt.Sprintf("iterations must be from 1 to %d, not %d", maxIterations, o.Iterations)}
	}
	return o, nil
}

// diagnose is the whole of a diagnosis, as the policy and the limits of the profile admit it.
func (c *call) diagnose(ctx context.Context, opts DiagnoseOptions) (*Diagnosis, error) {
	start := time.Now()
	opts, err := opts.complete()
	if err != nil {
		return nil, err
	}
	sc, err := c.scope(opts)
	if err != nil {
		return nil, err
	}
	ctx, cancel := c.deadline(ctx, maxDiagnosis)
	defer cancel()
	target, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	d := &diagnosis{c: c, opts: opts, scope: sc, target: target, series: map[stepKey]*series{}}
	d.run(ctx)
	result := d.result()
	result.DurationS = time.Since(start).Seconds()
	c.metadata.Timing.Remote = result.DurationS - c.metadata.Timing.Queue
	if errors.Is(ctx.Err(), context.Canceled) {
		return result, ctx.Err()
	}
	return result, nil
}

// through lists the profiles on the way to t, the first first.
func through(t *profile.Target) (names []string) {
	for _, hop := range way(t) {
		if hop.VPN != "" {
			names = append(names, "WireGuard "+hop.VPN)
		}
		if hop != t {
			names = append(names, hop.Profile.ID)
		}
	}
	return names
}

// way lists the targets on the way to t, t itself last.
func way(t *profile.Target) []*profile.Target {
	if t.Jump == nil {
		return []*profile.Target{t}
	}
	return append(way(t.Jump), t)
}
