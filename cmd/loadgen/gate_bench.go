package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// bench is where pairs are measured: a target, the workloads, and what starts the servers.
type bench struct {
	o        *gateOptions
	notes    io.Writer
	work     *workspace
	programs string // folder for copies of the programs
	started  int    // servers
	target   *target
	faults   map[string]*faults // by scenario, for both sides
	process  serverProcess
	plans    []*loadgen.Plan
	injected slowdown // into head, in a self-test
}

// competitor is one side: a program and its configuration file.
type competitor struct{ path, config string }

func (o *gateOptions) openBench(ctx context.Context, plans []*loadgen.Plan, notes io.Writer) (b *bench, err error) {
	b = &bench{o: o, notes: notes, plans: plans, faults: map[string]*faults{}}
	flags := o.asRun(competitor{})
	in, err := flags.readInjection(plans)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		b.faults[p.Name] = in.during(p)
	}
	tuneThreads(&loadgen.Plan{Executor: loadgen.Executor{Kind: loadgen.Open}})
	if b.work, err = newWorkspaceIn(memoryDir()); err != nil {
		return nil, err
	}
	if b.programs, err = os.MkdirTemp("", "loadgen-"); err != nil {
		b.work.remove()
		return nil, harness("cannot make a folder for the programs: %w", err)
	}
	if b.target, err = openTarget(ctx, flags, b.work, servicesOf(plans)); err != nil {
		b.remove()
		return nil, err
	}
	if _, _, err := b.target.leaveOut(plans, true); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// asRun is what the run command would be given for one side. The fake host has a process of its own, so that its work is not the generator's.
func (o *gateOptions) asRun(c competitor) *runOptions {
	return &runOptions{
		server: c.path, serverConfig: c.config, transport: o.transport, driver: loadgen.ArmDriver{Protocol: o.protocol}, target: o.target,
		isolate: o.target == "fake", overrides: overrides{changed: func(string) bool { return false }},
	}
}

func (b *bench) close() error {
	err := b.target.close()
	b.remove()
	if err != nil {
		return harness("%w", err)
	}
	return nil
}

func (b *bench) remove() {
	b.work.remove()
	os.RemoveAll(b.programs)
}

// admit finds a side's program.
func (b *bench) admit(c competitor) (competitor, error) {
	path, err := findServer(c.path)
	if err != nil {
		return c, &exitError{exitHarness, err}
	}
	c.path = path
	return c, nil
}

// copyProgram copies a program. What it writes need not reach the disk: it is gone again soon.
func copyProgram(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// opener starts a side's server afresh. Each process has a folder of its own for what it keeps, so that none finds what another left, and is started
// from a copy of its program of its own. Where the pages of a program come to lie in memory makes it a few percent faster or slower for as long as
// they stay there. With one copy for the whole gate, that would be a difference between the sides that no pair could tell from a change; with fresh
// ones it is noise. All copies have paths of the same length, which moves a program's stack.
func (b *bench) opener(c competitor) (loadgen.Opener, error) {
	choice, err := newServerChoice(b.o.asRun(c), b.work, b.target)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
		b.started++
		name := fmt.Sprintf("server-%08d", b.started)
		h := &housed{dirs: []string{filepath.Join(b.work.dir, name), filepath.Join(b.programs, name)}}
		one := &serverChoice{
			path: filepath.Join(h.dirs[1], "server"+filepath.Ext(choice.path)), driver: choice.driver, wire: choice.wire, config: choice.config, target: b.target,
			work: &workspace{id: b.work.id, dir: h.dirs[0], files: b.work.files},
		}
		if err := h.furnish(one.path, choice.path); err != nil {
			return nil, errors.Join(harness("cannot copy %s: %w", choice.path, unwrapped(err)), h.leave())
		}
		d, err := one.open(ctx, arm)
		if err != nil {
			return nil, errors.Join(err, h.leave())
		}
		h.Driver = b.process.watch(d)
		return h, nil
	}, nil
}

// housed is a driver whose server has folders that go with it.
type housed struct {
	loadgen.Driver
	dirs []string
}

func (d *housed) furnish(program, from string) error {
	for _, dir := range d.dirs {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	return copyProgram(program, from)
}

func (d *housed) leave() error {
	var errs []error
	for _, dir := range d.dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

func (d *housed) Close() error { return errors.Join(d.Driver.Close(), d.leave()) }

// The control arm: the no-op tool at a rate that any machine fit for a gate bears.
const (
	controlRate   = 1000
	controlSlice  = 200 * time.Millisecond
	controlWarmup = 50 * time.Millisecond
)

func controlLoad() loadgen.Workload {
	return loadgen.Workload{Rate: controlRate, Slice: controlSlice, Warmup: controlWarmup, Plan: &loadgen.Plan{
		Name: "control", Operation: "ssh.exec", Executor: loadgen.Executor{Kind: loadgen.Open},
		Arms:  []loadgen.Arm{{Driver: &loadgen.ArmDriver{Kind: "mcp-noop"}}},
		Steps: []loadgen.Step{{Name: "call", Tool: "ssh_exec", Args: map[string]any{"profile_id": "noop", "command": "true"}}},
	}}
}

// pairs makes ready to measure two sides. Probe is due before Run.
func (b *bench) pairs(base, head competitor, seed uint64) (*loadgen.Pairs, error) {
	p := &loadgen.Pairs{
		Seed: seed, ControlLoad: controlLoad(), Before: b.before,
		Options: func(plan *loadgen.Plan) loadgen.Options {
			return b.target.fit(plan, loadgen.Options{
				WorkDir: b.work.files, RemoteDir: "/tmp/loadgen-" + b.work.id,
				Log: slog.New(slog.NewTextHandler(b.notes, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
		},
	}
	var err error
	if base, err = b.admit(base); err != nil {
		return nil, err
	}
	if head, err = b.admit(head); err != nil {
		return nil, err
	}
	if p.Base, err = b.opener(base); err != nil {
		return nil, err
	}
	if p.Head, err = b.opener(head); err != nil {
		return nil, err
	}
	if b.injected.share > 0 {
		p.Head = slow(p.Head, b.injected)
	}
	p.Control = p.Base // its arm starts the no-op server instead
	for _, plan := range b.plans {
		p.Workloads = append(p.Workloads, loadgen.Workload{Plan: plan})
	}
	return p, nil
}

// before sets the fake host's faults for a run.
func (b *bench) before(plan *loadgen.Plan) error { return b.target.apply(b.faults[plan.Name]) }

// Times of a gate. A pair takes about pairTime for three scenarios, so that ten are done in two minutes and forty in five, the probe and a pair or two
// that the control excludes included.
const (
	sliceWarmup   = 100 * time.Millisecond
	sliceBurst    = 200 * time.Millisecond // two turns, to and fro
	sliceLoss     = 100 * time.Millisecond // starting, draining and cleaning up around a slice
	shortestSlice = 400 * time.Millisecond
	longestSlice  = 3 * time.Second
	pairTime      = 6600 * time.Millisecond
	pairLoss      = 1000 * time.Millisecond // processes that start and end, and the control arm
	pairScenarios = 3
	wantedNoise   = 0.03 // standard deviation of ln of the ratio of p50 within a pair
)

// chooseSlices sets how long every workload is measured: long enough for the noise found, for p90, and for p99 where that is not too long, within
// what a pair may take. Where that is too little for all, half of it is shared out evenly, as the noise is known badly after a short look, and half by
// what each wants. A fixed length goes before all.
func chooseSlices(ws []loadgen.Workload, found []loadgen.Probed, fixed time.Duration) {
	side := (pairTime*time.Duration(max(len(ws), pairScenarios))/pairScenarios - pairLoss) / 2
	room := side - time.Duration(len(ws))*(sliceWarmup+sliceBurst+sliceLoss)
	var sum time.Duration
	for i := range ws {
		w := &ws[i]
		w.Warmup, w.Burst = sliceWarmup, sliceBurst
		w.Slice = wantedSlice(w.Rate, found[i])
		sum += w.Slice
	}
	for i := range ws {
		switch w := &ws[i]; {
		case fixed > 0:
			w.Slice = fixed
		case sum > room:
			share := float64(w.Slice)*float64(room)/float64(sum) + float64(room)/float64(len(ws))
			w.Slice = max(shortestSlice, time.Duration(share/2))
		}
		ws[i].Slice = ws[i].Slice.Round(time.Millisecond)
	}
}

// spareSamples is how many more arrivals a slice has than its percentiles need.
const spareSamples = 1.25

// wantedSlice is the length that a workload asks for.
func wantedSlice(rate float64, found loadgen.Probed) time.Duration {
	excess := found.Noise / wantedNoise
	want := time.Duration(float64(found.NoiseSlice) * excess * excess)
	for _, q := range []float64{0.5, 0.9, 0.99} {
		if need := time.Duration(spareSamples * float64(loadgen.JudgedSamples(q)) / rate * float64(time.Second)); need <= longestSlice {
			want = max(want, need)
		}
	}
	return min(longestSlice, max(shortestSlice, want))
}

// describe says what is going to be measured.
func describe(notes io.Writer, ws []loadgen.Workload, found []loadgen.Probed) {
	for i := range ws {
		fmt.Fprintf(notes, "loadgen: gate: %s: the base sustains %.0f/s; slices of %v at %.0f/s; p50 of two slices of %v differs by %.1f %% (standard deviation)\n",
			ws[i].Plan.Name, found[i].Saturation, ws[i].Slice, ws[i].Rate, found[i].NoiseSlice, 100*found[i].Noise)
	}
}
