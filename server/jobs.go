package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// The states of a job.
const (
	jobQueued    = "queued"    // it waits for a slot or a connection
	jobRunning   = "running"   // its command runs
	jobDone      = "done"      // its command has ended, with whatever exit code
	jobCancelled = "cancelled" // job_cancel ended it
	jobFailed    = "failed"    // anything else; the error says what
)

// Causes why the context of a job ends.
var (
	errJobCancelled = errors.New("job_cancel was called")
	errJobShutdown  = errors.New("the server stopped")
)

// job is a command that runs on after the call that began it, and what is kept of it. It belongs to the identity of that call.
type job struct {
	id, profileID, owner, command string
	created                       time.Time
	stdout, stderr                tape
	cleanOut, cleanErr            *secret.Writer // to the tapes
	cancel                        context.CancelCauseFunc
	token                         chan audit.Token // of the call's record, once its result is made
	done                          chan struct{}    // closed when it has ended and that is recorded
	expiry                        *time.Timer      // the job's registry guards it

	mu       sync.Mutex
	state    string
	began    time.Time // when it was admitted; zero while it is queued
	ended    time.Time
	out      *remote.Output // nil when the command was not begun
	metadata Metadata       // of the whole job, once it has ended
	err      error
	problem  string // what err says, without secrets
}

// begin lets the job begin once the call has a result. The record of the call ends with the job.
func (j *job) begin(token audit.Token) { j.token <- token }

func (j *job) enter(state string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state, j.began = state, time.Now()
}

// over says whether the job has ended, as its state shows; the record of that may still be on its way.
func (j *job) over() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.ended.IsZero()
}

// jobs are those of one server. The zero value is ready.
type jobs struct {
	mu     sync.Mutex
	closed bool
	all    []*job // the oldest first
	work   sync.WaitGroup
}

// add enters a new job and lets run go on with it. Jobs that have ended make room: the oldest of the same caller, then the oldest of all.
func (js *jobs) add(j *job, bounds Jobs, run func()) error {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.closed {
		return &callError{CodeConnectionFailed, "the server is closing"}
	}
	mine := func(o *job) bool { return o.owner == j.owner }
	count := 0
	for _, o := range js.all {
		if mine(o) {
			count++
		}
	}
	switch {
	case count >= bounds.MaxPerCaller && !js.evict(mine):
		return &callError{CodeLimitExceeded, fmt.Sprintf("%d jobs of yours run, as many as jobs.max_per_caller admits; end one with job_cancel", count)}
	case len(js.all) >= bounds.MaxJobs && !js.evict(mine) && !js.evict(func(*job) bool { return true }):
		return &callError{CodeLimitExceeded, fmt.Sprintf("%d jobs run, as many as jobs.max_jobs admits; try again when one has ended", len(js.all))}
	}
	js.all = append(js.all, j)
	js.work.Go(run)
	return nil
}

// evict forgets the oldest job that has ended and matches; js.mu is held.
func (js *jobs) evict(match func(*job) bool) bool {
	i := slices.IndexFunc(js.all, func(j *job) bool { return match(j) && j.over() })
	if i < 0 {
		return false
	}
	js.forget(js.all[i])
	return true
}

// forget drops a job; js.mu is held.
func (js *jobs) forget(j *job) {
	if j.expiry != nil {
		j.expiry.Stop()
	}
	js.all = slices.DeleteFunc(js.all, func(o *job) bool { return o == j })
}

// keep forgets a job that has ended after d.
func (js *jobs) keep(j *job, d time.Duration) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if js.closed || !slices.Contains(js.all, j) {
		return
	}
	j.expiry = time.AfterFunc(d, func() {
		js.mu.Lock()
		defer js.mu.Unlock()
		js.forget(j)
	})
}

// find returns the job of the owner, or nil.
func (js *jobs) find(id, owner string) *job {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if j.id == id && j.owner == owner {
			return j
		}
	}
	return nil
}

// of lists the jobs of an owner, the oldest first.
func (js *jobs) of(owner string) (list []*job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if j.owner == owner {
			list = append(list, j)
		}
	}
	return list
}

// jobCounts are how many jobs there are.
type jobCounts struct{ active, ended int }

func (js *jobs) counts() (n jobCounts) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if j.over() {
			n.ended++
		} else {
			n.active++
		}
	}
	return n
}

// close ends all jobs and refuses further ones. It returns when the last has ended.
func (js *jobs) close() {
	js.mu.Lock()
	js.closed = true
	for _, j := range js.all {
		if j.expiry != nil {
			j.expiry.Stop()
		}
		j.cancel(errJobShutdown)
	}
	js.mu.Unlock()
	js.work.Wait()
}

// startJob begins a job for the call, whose work goes on after its result.
func (c *call) startJob(cmd remote.Command, timeout float64) (*ExecData, error) {
	bounds := c.s.current().Jobs
	keep := int(min(cmd.MaxOutput, int64(bounds.MaxOutputBytes)))
	ctx, cancel := context.WithCancelCause(context.Background())
	j := &job{
		id: "job-" + rand.Text()[:16], profileID: c.profile.ID, owner: c.metadata.Actor, created: time.Now(), state: jobQueued,
		cancel: cancel, token: make(chan audit.Token, 1), done: make(chan struct{}),
	}
	j.stdout.limit, j.stderr.limit = keep, keep
	j.command = c.s.profiles.Redact(j.profileID, cmd.Line)
	redactor := c.s.profiles.Redactor(j.profileID)
	j.cleanOut, j.cleanErr = redactor.Writer(&j.stdout), redactor.Writer(&j.stderr)
	cmd.Stdout, cmd.Stderr = j.cleanOut, j.cleanErr
	own := &call{s: c.s, ctx: ctx, metadata: c.metadata, identity: c.identity, profile: c.profile, policy: c.policy}
	if err := c.s.jobs.add(j, bounds, func() { own.runJob(ctx, j, cmd, timeout) }); err != nil {
		cancel(nil)
		return nil, err
	}
	c.job = j
	return &ExecData{JobID: j.id, ExitCode: -1}, nil
}

// runJob does the work of a job from its place in the queue to its outcome.
func (c *call) runJob(ctx context.Context, j *job, cmd remote.Command, timeout float64) {
	token := <-j.token
	out, err := c.jobCommand(ctx, j, cmd, timeout)
	cause := context.Cause(ctx)
	j.cancel(nil)
	if err != nil {
		err = endedJob(err, cause, out != nil)
		c.metadata.ErrorCode, c.metadata.RetryAfter = codeOf(err), retryAfter(err)
	}
	_, _ = j.cleanOut.Close(), j.cleanErr.Close() // tapes never fail
	j.stdout.finish()
	j.stderr.finish()
	c.bytes = j.stdout.size() + j.stderr.size()
	j.end(out, err, cause, c)
	took := j.ended.Sub(j.created)
	c.s.audit.End(token, audit.Outcome{Code: string(c.metadata.ErrorCode), Bytes: c.bytes, Duration: took})
	c.s.metrics.Record(c.counted("ssh.job", took))
	c.s.cfg.Logger.Info("job ended", "job", j.id, "profile", j.profileID, "state", j.state, "code", c.metadata.ErrorCode)
	close(j.done)
	c.s.jobs.keep(j, c.s.current().Jobs.KeepTime.Duration())
}

// endedJob says what the error of a job is, where job_cancel or the end of the server caused it.
func endedJob(err, cause error, ran bool) error {
	cancelled, shutdown := errors.Is(cause, errJobCancelled), errors.Is(cause, errJobShutdown)
	switch {
	case shutdown && ran:
		return &callError{CodeOutcomeUnknown, fmt.Sprintf("the server stopped while the command ran, and nobody knows what it has done: %v", err)}
	case shutdown:
		return &callError{CodeConnectionFailed, "the server stopped before anything was run"}
	case cancelled && !ran:
		return &callError{CodeTimeout, "job_cancel was called before anything was run"}
	}
	return err
}

// jobCommand runs the command of a job under the limits that every call is under.
func (c *call) jobCommand(ctx context.Context, j *job, cmd remote.Command, timeout float64) (*remote.Output, error) {
	ctx, cancel := c.deadline(ctx, timeout)
	defer cancel()
	t, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if cmd.Sudo || !c.policy.ReadOnly(cmd.Line) {
		defer c.s.responses.write(j.profileID)()
	}
	j.enter(jobRunning)
	out, err := remote.Exec(ctx, c.s.pool, t, cmd)
	if out != nil {
		c.timed(out.Lease, out.Remote)
	}
	return out, err
}

// end notes what became of the job.
func (j *job) end(out *remote.Output, err, cause error, c *call) {
	problem := ""
	if err != nil {
		problem = c.clean(err.Error())
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.out, j.err, j.problem, j.metadata, j.ended = out, err, problem, c.metadata, time.Now()
	switch {
	case err == nil:
		j.state = jobDone
	case errors.Is(cause, errJobCancelled):
		j.state = jobCancelled
	default:
		j.state = jobFailed
	}
}

// info is what job_status tells of the job.
func (j *job) info() JobInfo {
	j.mu.Lock()
	defer j.mu.Unlock()
	info := JobInfo{
		JobID: j.id, ProfileID: j.profileID, Command: j.command, State: j.state, CreatedAt: j.created.UTC().Format(time.RFC3339),
		StdoutBytes: j.stdout.size(), StderrBytes: j.stderr.size(),
	}
	from := cmp.Or(j.ended, time.Now())
	if !j.began.IsZero() {
		info.RunningS = from.Sub(j.began).Seconds()
	}
	if j.ended.IsZero() {
		return info
	}
	info.EndedAt = j.ended.UTC().Format(time.RFC3339)
	info.Timing = &j.metadata.Timing
	info.ErrorCode = j.metadata.ErrorCode
	if j.err != nil {
		info.Error = j.problem
	}
	if o := j.out; o != nil {
		info.Signal, info.SessionID = o.Signal, o.Session
		if j.err == nil {
			info.ExitCode = &o.ExitCode
		}
	}
	return info
}
