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

// Run measures a plan: it makes the plan's files, then for each arm opens a driver and sessions, runs the setup, the warm-up and the
// measured time, lets calls under way finish, and runs the teardown.
//
// When ctx ends, no new call starts, those under way get two seconds, the teardown still runs, and the Result holds what was measured and
// says Interrupted. Calls that fail, even all of them, are part of the Result. The error is non-nil, and the Result nil, when the plan is
// wrong (PlanErrors), a file cannot be written, a driver or session does not open (the opener's error is wrapped), or a setup step fails.
func Run(ctx context.Context, p *Plan, open Opener, opts Options) (*Result, error) {
	prog, err := compilePlan(p)
	if err != nil {
		return nil, err
	}
	if err := opts.complete(prog, p); err != nil {
		return nil, err
	}
	if err := makeFiles(opts.WorkDir, p.Seed, prog.files, p.Executor.concurrency()); err != nil {
		return nil, err
	}
	r := &runner{plan: p, prog: prog, opts: opts, open: open, health: startHealth(p)}
	r.progress.start(p.Name, len(r.arms()), opts.Progress)
	defer r.progress.stop()
	res := &Result{Plan: p, Started: time.Now()}
	for i, arm := range r.arms() {
		if ctx.Err() != nil {
			res.Interrupted = true
			break
		}
		r.progress.arm(i, arm.Name)
		cells, interrupted, err := r.arm(ctx, arm)
		if err != nil {
			return nil, armError(arm, err)
		}
		res.Cells = append(res.Cells, cells...)
		res.Interrupted = res.Interrupted || interrupted
		if res.Aborted = r.watch.why(); res.Aborted != "" {
			break
		}
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
	watch    *watch // of the first arm
}

func (r *runner) arms() []Arm {
	if len(r.plan.Arms) == 0 {
		return []Arm{{}}
	}
	return r.plan.Arms
}

// judge adds the thresholds, the grade and the generator's health to a finished result.
func (r *runner) judge(res *Result) {
	first := firstArm(res.Cells)
	res.Generator = r.health.report()
	cpu := -1.0
	if res.Elapsed > 0 {
		cpu = 100 * res.Generator.CPU.Seconds() / res.Elapsed.Seconds()
	}
	res.Thresholds = judgeThresholds(r.plan.Thresholds, first, cpu, r.watch.outcome())
	res.Grade = gradeTarget(r.plan.Target, first)
}

// firstArm returns the leading cells of one arm.
func firstArm(cells []Cell) []Cell {
	for i := range cells {
		if cells[i].Arm != cells[0].Arm {
			return cells[:i]
		}
	}
	return cells
}

// arm measures one arm with a driver of its own.
func (r *runner) arm(ctx context.Context, arm Arm) (cells []Cell, interrupted bool, err error) {
	driver, err := r.open(ctx, arm)
	if err != nil {
		return nil, ctx.Err() != nil, unlessInterrupted(ctx, fmt.Errorf("open driver: %w", err))
	}
	defer func() {
		if err := driver.Close(); err != nil {
			r.opts.Log.Warn("closing the driver failed", "arm", arm.Name, "err", err)
		}
	}()
	sessions, err := r.openSessions(ctx, driver)
	defer func() {
		for _, s := range sessions {
			_ = s.Close() // the driver's Close reports what matters
		}
	}()
	if err != nil {
		return nil, ctx.Err() != nil, unlessInterrupted(ctx, err)
	}
	defer r.teardown(ctx, sessions[0])
	if err := r.setup(ctx, sessions[0]); err != nil {
		return nil, ctx.Err() != nil, unlessInterrupted(ctx, err)
	}
	x := newExecution(r, sessions)
	x.observer = startObserver(driver, sessions[0])
	defer x.observer.stop()
	x.coll.export, x.coll.scenario, x.coll.arm = r.opts.Export, r.plan.Name, arm.Name
	if r.watch == nil {
		x.coll.watch = newWatch(r.plan.Thresholds, x.coll.names)
		r.watch = x.coll.watch
	}
	r.progress.measuring(x)
	guarded, release := x.guard(ctx)
	interrupted = x.run(guarded)
	release()
	x.coll.close(x.measuredTime())
	return x.cells(arm.Name, driver.Info()), interrupted && ctx.Err() != nil, nil
}

// unlessInterrupted drops an error that comes of the run's own end.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// openSessions opens what the executor needs. Sessions opened before a failure are returned with it.
func (r *runner) openSessions(ctx context.Context, d Driver) ([]Session, error) {
	e := &r.plan.Executor
	n := e.Sessions
	switch {
	case n > 0:
	case e.Kind == Closed:
		n = e.VUs
	default:
		n = min(DefaultSessions, e.maxInFlight())
	}
	var out []Session
	for range n {
		s, err := d.Open(ctx)
		if err != nil {
			return out, fmt.Errorf("open session %d of %d: %w", len(out)+1, n, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func (e *Executor) maxInFlight() int {
	if e.MaxInFlight == 0 {
		return DefaultMaxInFlight
	}
	return e.MaxInFlight
}

// concurrency is how many iterations may be under way at once.
func (e *Executor) concurrency() int {
	if e.Kind == Closed {
		return e.VUs
	}
	return e.maxInFlight()
}

func (r *runner) setup(ctx context.Context, s Session) error {
	r.progress.phase(PhaseSetup)
	return r.once(ctx, s, "setup", r.prog.setup)
}

// teardown runs with time of its own, since an interrupt must not keep it from cleaning up.
func (r *runner) teardown(ctx context.Context, s Session) {
	r.progress.phase(PhaseTeardown)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), teardownTimeout)
	defer cancel()
	for i := range r.prog.teardown {
		if err := r.once(ctx, s, "teardown", r.prog.teardown[i:i+1]); err != nil {
			r.opts.Log.Warn("cleaning up failed", "err", err)
		}
	}
}

// once calls steps in order up to the first that fails, each for every profile if it names one.
func (r *runner) once(ctx context.Context, s Session, list string, steps []step) error {
	for i := range steps {
		profiles := r.opts.Profiles
		if !steps[i].action.uses("profile") {
			profiles = []string{""}
		}
		for _, profile := range profiles {
			v := r.vars(profile)
			a := steps[i].run(ctx, s, steps[i].action.render(&v), &v)
			if a.outcome != "" {
				return fmt.Errorf("%s step %s (%v%s): %s: %s", list, steps[i].name, steps[i].action, on(profile), a.outcome, a.message)
			}
		}
	}
	return nil
}

func (r *runner) vars(profile string) vars {
	return vars{profile: profile, workDir: r.opts.WorkDir, remoteDir: r.opts.RemoteDir, run: r.opts.Vars}
}

func on(profile string) string {
	if profile == "" {
		return ""
	}
	return " on " + profile
}
