package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// capacityOptions are the flags of the capacity command.
type capacityOptions struct {
	run        runOptions // what is measured, and where the report goes
	slo        string
	objective  *loadgen.Objective // that slo says
	start, max float64
	budget     time.Duration
	sweep      []int
	repeats    int
	demand     demandOptions
	varied     string
	vary       variation // that varied says
}

// leastBudget is the shortest --budget: doubling and the latency below capacity take half of it.
const leastBudget = 20 * time.Second

func capacityCommand(commandLine string) *cobra.Command {
	o := capacityOptions{run: runOptions{command: commandLine, failOn: "poor"}}
	cmd := &cobra.Command{
		Use:   "capacity SCENARIO",
		Short: "Find the highest rate that meets an objective",
		Long: `capacity searches for the highest rate of arrivals at which a scenario meets an objective: it doubles the rate until that is missed,
then bisects with trials whose answers may be wrong, until the answer is known to a per cent or the time is used up. It reports
the rate with an interval, the knee, what was short first, and latency at 50, 70 and 90 % of it (docs/capacity.md).

Every trial starts the server anew. The scenario's first arm is measured, at rates that take the place of its own.
Exit codes: 0 found; 1 the objective is met at no rate; 4 the load generator, not the server, was the limit.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.run.overrides.changed = cmd.Flags().Changed
			return o.search(cmd, args)
		},
	}
	f := cmd.Flags()
	o.run.serverFlags(f)
	f.StringVar(&o.slo, "slo", "p99<100ms,errors<0.1%", "the objective: percentiles of the latency, and errors")
	f.Float64Var(&o.start, "start", 50, "arrivals per second of the first trial")
	f.Float64Var(&o.max, "max-rate", 20_000, "arrivals per second beyond which nothing is tried")
	f.DurationVar(&o.budget, "budget", 170*time.Second, "time of all trials together")
	f.IntSliceVar(&o.sweep, "sweep", nil, "instead of a search, measure closed loops of so many users, such as 1,2,4,8,16,32,64, and fit the scalability law to them")
	f.IntVar(&o.repeats, "repeats", 3, "of each number of --sweep")
	f.StringVar(&o.varied, "vary", "", "search with each value of a `KEY=V,V…` of the server's configuration, such as connection_pooling.max_ssh_connections=5,10,20")
	f.StringVar(&o.demand.rate, "demand", "", "also plan servers for so many calls per second, such as 2500/s")
	f.StringVar(&o.demand.headroom, "headroom", "30%", "of the demand that they have to spare")
	f.IntVar(&o.demand.survive, "survive", 1, "how many of them may be lost")
	f.BoolVar(&o.demand.try, "try", true, "try the plan on this machine, behind the gateway, where there is room")
	f.StringVar(&o.run.serverConfig, "server-config", "", "configuration `FILE` for the server")
	f.StringVar(&o.run.target, "target", "fake", "fake, or a `DIR` with profiles/ and secrets/ of real hosts")
	f.StringArrayVar(&o.run.profiles, "profile-id", nil, "use only the profile `ID` of the target (repeatable)")
	f.BoolVar(&o.run.isolate, "isolate", false, "run the fake host in a process of its own")
	f.StringVar(&o.run.faults, "faults", "", "`FILE` with what goes wrong at the fake host (docs/faults.md), instead of what the scenario says")
	f.StringVar(&o.run.out, "out", "", "also write result.json, report.md, report.html and junit.xml into `DIR`")
	f.StringVar(&o.run.format, "format", "text", "report on standard output: "+strings.Join(reports.Formats(), ", "))
	f.StringArrayVar(&o.run.overrides.arms, "arm", nil, "measure the arm `NAME` instead of the first")
	f.Uint64Var(&o.run.overrides.seed, "seed", 0, "seed of payloads and arrivals")
	f.DurationVar(&o.run.overrides.maxLateness, "max-lateness", 0, "p99 of how late calls may be sent before a trial is not valid (default 10ms)")
	f.BoolVarP(&o.run.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

// plan loads the scenario as a trial needs it.
func (o *capacityOptions) plan(args []string) (*loadgen.Plan, error) {
	if len(args) != 1 {
		return nil, usage("capacity needs one scenario: loadgen capacity SCENARIO --slo 'p99<100ms,errors<0.1%%'")
	}
	plans, err := o.run.plans(args)
	if err != nil {
		return nil, err
	}
	if len(plans) != 1 {
		return nil, usage("%s names %d scenarios: name one", args[0], len(plans))
	}
	p := plans[0]
	e := &p.Executor
	if len(p.Mix) > 0 || e.Stages != nil || e.Trace != nil || e.Kind != loadgen.Open && e.Kind != loadgen.Closed {
		return nil, usage("scenario %s sets a load of its own (mix, stages, trace or holders), which capacity cannot scale: name one with a rate or virtual users", p.Name)
	}
	if e.Kind == loadgen.Closed {
		e.Arrivals = loadgen.Poisson // users who know nothing of each other
	}
	p.Executor = loadgen.Executor{Kind: loadgen.Open, Arrivals: e.Arrivals, MaxInFlight: e.MaxInFlight, Sessions: e.Sessions}
	p.Thresholds, p.Compare, p.Target = nil, nil, nil
	if len(p.Arms) > 1 {
		p.Arms = p.Arms[:1]
	}
	return p, nil
}

func (o *capacityOptions) check() (err error) {
	if o.objective, err = loadgen.ParseObjective(o.slo); err != nil {
		return usage("--slo: %w", err)
	}
	switch {
	case !(o.start > 0):
		return usage("--start %g is not above 0: give arrivals per second", o.start)
	case !(o.max >= o.start):
		return usage("--max-rate %g is below --start %g: raise it", o.max, o.start)
	case o.budget < leastBudget:
		return usage("--budget %v is too short for a search: give %v or more", o.budget, leastBudget)
	}
	if err := o.checkSweep(); err != nil {
		return err
	}
	if err := o.checkVary(); err != nil {
		return err
	}
	if err := o.demand.check(o.run.overrides.changed); err != nil {
		return err
	}
	return o.run.check()
}

func (o *capacityOptions) search(cmd *cobra.Command, args []string) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	plan, err := o.plan(args)
	if err != nil {
		return err
	}
	tuneThreads(plan)
	faults, err := o.run.readInjection([]*loadgen.Plan{plan})
	if err != nil {
		return err
	}
	if err := prepareOut(o.run.out); err != nil {
		return err
	}
	work, err := newWorkspace()
	if err != nil {
		return err
	}
	defer work.remove()
	tgt, err := openTarget(cmd.Context(), &o.run, work, servicesOf([]*loadgen.Plan{plan}))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := tgt.close(); closeErr != nil && err == nil {
			err = harness("%w", closeErr)
		}
	}()
	srv, err := newServerChoice(&o.run, work, tgt)
	if err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	if o.run.quiet {
		notes = io.Discard
	}
	fitted, err := srv.fit(plan, notes)
	if err != nil {
		return err
	}
	s := &capacitySearch{o: o, plan: fitted, faults: faults.during(plan), srv: srv, notes: notes}
	defer endOnSecondInterrupt(func() {
		srv.process.kill()
		s.kill.call()
		work.remove()
	})()
	switch {
	case len(o.sweep) > 0:
		return s.sweep(cmd)
	case o.varied != "":
		return s.reportVaried(cmd)
	}
	return s.report(cmd)
}

// capacitySearch makes the trials of a search.
type capacitySearch struct {
	o      *capacityOptions
	plan   *loadgen.Plan
	faults *faults // nil for none
	srv    *serverChoice
	notes  io.Writer
	made   uint64          // trials so far
	last   *loadgen.Result // that was good and valid, for the report
	kill   killer          // of what else was started
}

// killer ends what was started, from whatever goroutine.
type killer struct {
	mu sync.Mutex
	f  func()
}

func (k *killer) set(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.f = f
}

func (k *killer) call() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.f != nil {
		k.f()
	}
}

// trial measures at a rate, with arrivals of its own.
func (s *capacitySearch) trial(ctx context.Context, p loadgen.TrialPlan) (loadgen.Trial, error) {
	plan := *s.plan
	plan.Executor.Rate, plan.Executor.Warmup, plan.Executor.Duration = p.Rate, p.Warmup, p.Duration
	start := time.Now()
	r, err := s.measure(ctx, plan)
	if err != nil {
		return loadgen.Trial{}, err
	}
	t := loadgen.TrialOf(s.o.objective, r)
	t.Took = time.Since(start)
	if t.Good {
		s.last = r
	}
	return t, nil
}

// measure runs a plan with a seed of its own.
func (s *capacitySearch) measure(ctx context.Context, plan loadgen.Plan) (*loadgen.Result, error) {
	return s.measureWith(ctx, plan, s.srv.open, nil)
}

// measureWith does so over a driver, and tells of its progress.
func (s *capacitySearch) measureWith(ctx context.Context, plan loadgen.Plan, open loadgen.Opener, progress func(loadgen.Progress)) (*loadgen.Result, error) {
	plan.Seed += s.made
	s.made++
	if err := s.srv.target.apply(s.faults); err != nil {
		return nil, err
	}
	r, err := loadgen.Run(ctx, &plan, open, s.srv.target.fit(&plan, loadgen.Options{
		Progress: progress,
		WorkDir:  s.srv.work.files, RemoteDir: "/tmp/loadgen-" + s.srv.work.id,
		Log: slog.New(slog.NewTextHandler(s.notes, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}))
	switch {
	case err != nil:
		return nil, runError(&plan, err)
	case r.Interrupted:
		return nil, errInterrupted
	}
	return r, nil
}

var errInterrupted = &exitError{exitInterrupted, errors.New("interrupted: nothing is known of the capacity")}

// told says what came of a trial, on a line.
func (s *capacitySearch) told(t loadgen.Trial) {
	verdict := "held"
	switch {
	case t.Generator:
		verdict = "generator: " + t.Why[len(t.Why)-1]
	case !t.Good:
		verdict = "missed: " + t.Why[0]
	}
	fmt.Fprintf(s.notes, "loadgen: capacity: %.5g/s for %v: %s\n", t.Plan.Rate, t.Plan.Duration.Round(100*time.Millisecond), verdict)
}

// find searches. Its error wraps loadgen.ErrNoCapacity where the objective is met at no rate.
func (s *capacitySearch) find(ctx context.Context) (*loadgen.Capacity, error) {
	c, err := loadgen.SearchCapacity(ctx, loadgen.CapacityOptions{
		Start: s.o.start, MaxRate: s.o.max, Budget: s.o.budget, Allowed: s.o.objective.Allowed(), Bound: s.o.objective.Bound(), Done: s.told,
	}, s.trial)
	if errors.Is(err, context.Canceled) {
		return nil, errInterrupted
	}
	return c, err
}

// report searches and reports.
func (s *capacitySearch) report(cmd *cobra.Command) error {
	c, err := s.find(cmd.Context())
	switch {
	case errors.Is(err, loadgen.ErrNoCapacity):
		return &exitError{exitMissed, err}
	case err != nil:
		return err
	case c.Generator:
		return harness("the load generator was the limit, at about %.4g/s, so that nothing is said of the server: give it a machine of its own, or more CPUs", c.Rate)
	}
	found := result.NewCapacity(s.plan.Name, s.o.slo, c, runtime.NumCPU())
	if s.o.demand.demand.Rate > 0 {
		if found.Plan, err = s.planServers(cmd.Context(), c); err != nil {
			return err
		}
	}
	d, err := s.document()
	if err != nil {
		return err
	}
	d.Capacity = found
	if err := output(cmd.OutOrStdout(), s.o.run.out, s.o.run.format, d); err != nil {
		return err
	}
	if p := found.Plan; p != nil && p.Tried != nil && !p.Tried.Held {
		return &exitError{exitMissed, errors.New("the plan was tried, and missed the objective")}
	}
	return nil
}

// document is a result file of the last good trial, for what else is to be put into it.
func (s *capacitySearch) document() (*result.Doc, error) {
	var runs []*loadgen.Result
	if s.last != nil {
		runs = append(runs, s.last)
	}
	target := result.Target{Kind: s.srv.target.kind}
	if s.faults != nil {
		target.Faults = s.faults.name
	}
	d, err := result.FromRun(result.Meta{
		ID: s.srv.work.id, Git: revision(), Command: s.o.run.command, Path: s.srv.path, Config: s.o.run.serverConfig, Host: result.ThisHost(),
		Target: target, FailOn: loadgen.BandPoor,
	}, runs)
	if err != nil {
		return nil, harness("%w", err)
	}
	return d, nil
}
