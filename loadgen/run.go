// Package loadgen measures an MCP server under load.
//
// Start with [Run]: it takes a [Plan], which says what to call and when, and a way to open a [Driver], which says how to reach the server,
// and returns a [Result]. [ValidatePlan] finds a plan's mistakes before anything runs. Two executors pace the calls: a closed one loops
// virtual users and finds how much a server can do; an open one sends calls on a schedule that the server cannot slow down, counts latency
// from the intended start, and so shows what users would see while a server stalls.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Opener makes a driver to a server in the configuration of an arm. Run closes the driver when the arm is done.
type Opener func(ctx context.Context, arm Arm) (Driver, error)

// Options are what a Run needs beside the plan. The zero value serves a plan that uses none of its variables.
type Options struct {
	WorkDir   string         // existing directory for the plan's files, ${workdir}
	RemoteDir string         // directory on the hosts, ${remote_dir}
	Profiles  []string       // ${profile}, used in turn by iteration
	Vars      map[string]any // ${echo_host}, ${echo_port}, ${vpn_peer} and ${inside_profile}: texts and numbers that a target has
	Export    *Export        // takes the samples of measured calls; nil for none
	Progress  func(Progress) // called about four times a second and once at the end, from one goroutine; nil for none
	StartAt   time.Time      // when the load begins; the zero value begins as soon as all is ready
	Log       *slog.Logger   // what goes wrong without ending the run; nil discards it

	pacer func() (p pacer, release func()) // replaced by tests, whose clock the kernel's sleep does not know
}

// Bounds on what follows the measured time.
const (
	drainTimeout     = 30 * time.Second // for calls under way when it ends; they then count as TIMEOUT
	interruptTimeout = 2 * time.Second  // for calls under way at an interrupt; they then count nowhere
	cleanupTimeout   = 5 * time.Second  // for the steps marked Always of an iteration that was cut off
	teardownTimeout  = 30 * time.Second
)

// Run measures a plan: it makes the plan's files, opens a driver and sessions for each arm and runs its setup, runs the warm-up and the
// measured time of all arms, lets calls under way finish, and runs the teardown. Several arms take turns, so that only one is loaded at a time.
//
// When ctx ends, no new call starts, those under way get two seconds, the teardown still runs, and the Result holds what was measured and
// says Interrupted. Calls that fail, even all of them, are part of the Result. The error is non-nil, and the Result nil, when the plan is
// wrong (PlanErrors), a file cannot be written, a driver or session does not open (the opener's error is wrapped), a setup step fails, or Options.StartAt
// was missed (ErrLateStart).
func Run(ctx context.Context, p *Plan, open Opener, opts Options) (*Result, error) {
	prog, err := compilePlan(p)
	if err != nil {
		return nil, err
	}
	if err := opts.complete(prog, p); err != nil {
		return nil, err
	}
	if err := makeFiles(opts.WorkDir, p.Seed, prog.files, p.concurrency()); err != nil {
		return nil, err
	}
	r := &runner{plan: p, prog: prog, opts: opts, open: open, health: startHealth(p)}
	r.progress.start(p.Name, len(r.arms()), opts.Progress)
	defer r.progress.stop()
	res := &Result{Plan: p, Started: time.Now(), StartAt: opts.StartAt}
	if err := r.measure(ctx, res); err != nil {
		return nil, err
	}
	res.Elapsed = time.Since(res.Started)
	r.judge(res)
	return res, nil
}

func armError(arm Arm, err error) error {
	if arm.Name == "" {
		return err
	}
	return fmt.Errorf("arm %s: %w", arm.Name, err)
}

// complete fills in defaults and refuses a plan whose variables have no value.
func (o *Options) complete(prog *program, p *Plan) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.pacer == nil {
		o.pacer = newPacer
	}
	if len(p.Files) > 0 && o.WorkDir == "" {
		return errors.New("the plan has files but there is no work directory: set Options.WorkDir")
	}
	for _, need := range []struct {
		name, option string
		missing      bool
	}{
		{"profile", "Profiles", len(o.Profiles) == 0},
		{"workdir", "WorkDir", o.WorkDir == ""},
		{"remote_dir", "RemoteDir", o.RemoteDir == ""},
	} {
		if need.missing && prog.uses(need.name) {
			return fmt.Errorf("the plan uses ${%s}, which has no value: set Options.%s", need.name, need.option)
		}
	}
	for _, name := range runVariables {
		if o.Vars[name] == nil && prog.uses(name) {
			return fmt.Errorf("the plan uses ${%s}, which has no value: set it in Options.Vars", name)
		}
	}
	return nil
}

// runner is the state of one Run.
type runner struct {
	plan     *Plan
	prog     *program
	opts     Options
	open     Opener
	health   *health
	progress progress
	watch    *watch    // of the first arm
	begin    time.Time // of the first turn, as Options.StartAt has it; zero for at once
}

func (r *runner) arms() []Arm {
	if len(r.plan.Arms) == 0 {
		return []Arm{{}}
	}
	return r.plan.Arms
}

// judge adds the thresholds, the grade and the generator's health to a finished result.
func (r *runner) judge(res *Result) {
	arms := r.arms()
	first := ofArm(res.Cells, arms[0].Name)
	res.Ratios = ratios(res.Cells, arms[0].Name)
	res.Generator = r.health.report()
	cpu := -1.0
	if res.Elapsed > 0 {
		cpu = 100 * res.Generator.CPU.Seconds() / res.Elapsed.Seconds()
	}
	if r.plan.Shard != (Shard{}) {
		return // the whole is judged
	}
	res.Thresholds = judgeThresholds(r.plan.Thresholds, first, cpu, r.watch.outcome())
	res.Thresholds = append(res.Thresholds, judgeComparisons(r.plan.Compare, arms[0].Name, res.Cells)...)
	res.Trends = judgeTrends(r.plan.Trends, first)
	res.Grade = gradeTarget(r.plan.Target, first)
}

// ofArm returns the cells of one arm.
func ofArm(cells []Cell, arm string) []Cell {
	var out []Cell
	for i := range cells {
		if cells[i].Arm == arm {
			out = append(out, cells[i])
		}
	}
	return out
}

// measure opens every arm, runs them in turn, and adds what they measured to the result.
func (r *runner) measure(ctx context.Context, res *Result) error {
	var arms []*execution
	defer func() {
		for _, x := range arms {
			x.close()
		}
	}()
	for i, arm := range r.arms() {
		if ctx.Err() != nil {
			res.Interrupted = true
			return nil
		}
		r.progress.arm(i, arm.Name)
		x := newExecution(r, arm, r.remoteDir(i))
		arms = append(arms, x)
		if err := x.open(ctx, r.open); ctx.Err() != nil {
			res.Interrupted = true // an error comes of that
			return nil
		} else if err != nil {
			return armError(arm, err)
		}
	}
	arms[0].coll.watch = newWatch(r.plan.Thresholds, arms[0].coll.names)
	r.watch = arms[0].coll.watch
	if err := r.await(ctx); errors.Is(err, ErrLateStart) {
		return err
	} else if err != nil {
		res.Interrupted = true
		return nil
	}
	res.Interrupted = r.alternate(ctx, arms)
	for _, x := range arms {
		if x.turn != (turn{}) {
			res.Cells = append(res.Cells, x.cells()...)
		}
	}
	res.Aborted = r.watch.why()
	return nil
}

// await waits for Options.StartAt. The error is that of ctx, or wraps ErrLateStart.
func (r *runner) await(ctx context.Context) error {
	at := r.opts.StartAt
	if at.IsZero() {
		return nil
	}
	now := time.Now()
	left := at.Sub(now)
	if left < 0 {
		return fmt.Errorf("%w: all was ready %v after %s", ErrLateStart, -left.Round(time.Millisecond), at.Format(time.RFC3339))
	}
	r.begin = now.Add(left) // on the monotonic clock
	return sleepTimer(ctx, r.begin)
}

// remoteDir is ${remote_dir} under an arm. Several arms have one each, so that none finds what another left.
func (r *runner) remoteDir(arm int) string {
	if len(r.arms()) == 1 || r.opts.RemoteDir == "" {
		return r.opts.RemoteDir
	}
	return fmt.Sprintf("%s-%d", r.opts.RemoteDir, arm+1)
}
