package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
	"github.com/openaccess-mcp/openaccess-mcp/scenarios"
)

// runOptions are the flags of the run command.
type runOptions struct {
	server, transport, serverConfig string
	driver                          loadgen.ArmDriver // Protocol and Sessions, for arms that do not say
	target                          string
	profiles                        []string
	echo                            string
	isolate                         bool
	faults                          string
	out, format, failOn             string
	samples                         string
	samplesMax                      int64
	profileDir                      string
	calibration                     string
	certificate                     *result.Calibration // that calibration names
	quiet                           bool
	overrides                       overrides
	command                         string // that runs the same again
	shard, startAt                  string
	start                           time.Time // that startAt says; zero for at once
}

func runCommand(commandLine string) *cobra.Command {
	o := runOptions{command: commandLine}
	cmd := &cobra.Command{
		Use:   "run [SCENARIO...]",
		Short: "Measure scenarios and judge them",
		Long: `run measures scenarios one after another and reports. A scenario is the name of an embedded one (see loadgen list) or the
path of a YAML file; without any, every row of the targets table that works is measured.

The server is started as a program of its own and spoken to over MCP. It works on a fake host in memory unless --target
names a folder with the profiles of real ones. Results go to standard output, or with --out to files as well; progress
goes to standard error. Interrupt once for a report of what ran, twice to end at once.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.overrides.changed = cmd.Flags().Changed
			return o.run(cmd, args)
		},
	}
	f := cmd.Flags()
	o.serverFlags(f)
	f.StringVar(&o.serverConfig, "server-config", "", "configuration `FILE` for the server")
	f.StringVar(&o.target, "target", "fake", "fake, or a `DIR` with profiles/ and secrets/ of real hosts")
	f.StringArrayVar(&o.profiles, "profile-id", nil, "use only the profile `ID` of the target (repeatable)")
	f.StringVar(&o.echo, "echo", "", "`HOST:PORT` of an echo service that the target's hosts reach (default one on this machine)")
	f.BoolVar(&o.isolate, "isolate", false, "run the fake host in a process of its own")
	f.StringVar(&o.faults, "faults", "", "`FILE` with what goes wrong at the fake host (docs/faults.md), instead of what scenarios say")
	f.StringVar(&o.out, "out", "", "also write result.json, report.md, report.html and junit.xml into `DIR`")
	f.StringVar(&o.samples, "samples", "", "also write every measured call into `FILE.csv.gz`")
	f.Int64Var(&o.samplesMax, "samples-max", loadgen.DefaultMaxSamples, "at most so many calls, the first ones")
	f.StringVar(&o.profileDir, "profile", "", "also write the server's CPU, heap, goroutine and mutex profiles of the measured time into `DIR`")
	f.StringVar(&o.calibration, "calibration", "", "certificate `FILE` of loadgen calibrate, to put into the reports")
	f.StringVar(&o.format, "format", "text", "report on standard output: "+strings.Join(reports.Formats(), ", "))
	f.StringVar(&o.failOn, "fail-on", "poor", "band that fails: poor, or acceptable for whatever misses its target")
	f.StringVar(&o.shard, "shard", "", "take the part `I/N` of the load, such as 2/8; loadgen merge makes one result of all parts")
	f.StringVar(&o.startAt, "start-at", "", "begin the load at a `TIME` such as 2026-01-31T12:00:00Z")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	o.overrides.flags(f)
	return cmd
}

// check finds flags that contradict each other or mean nothing.
func (o *runOptions) check() error {
	if _, err := reports.Renderer(o.format); err != nil {
		return usage("--format: %w", err)
	}
	switch {
	case o.failOn != "poor" && o.failOn != "acceptable":
		return usage("--fail-on %q is not known: use poor or acceptable", o.failOn)
	case o.isolate && o.target != "fake":
		return usage("--isolate moves the fake host to a process of its own, and --target %s uses no fake host: drop one", o.target)
	case o.echo != "" && o.target == "fake" && !isURL(o.server):
		return usage("--echo is for real hosts, and the fake host has an echo service of its own: drop it")
	}
	if o.echo != "" {
		if _, err := parseEndpoint(o.echo); err != nil {
			return err
		}
	}
	if isURL(o.server) {
		switch {
		case o.serverConfig != "":
			return usage("--server-config configures a server that is started, and %s runs already: drop one", o.server)
		case o.overrides.changed("transport") && o.transport != "http":
			return usage("--transport %s does not reach the URL %s: drop it", o.transport, o.server)
		case o.target == "fake" && len(o.profiles) == 0:
			return usage("the server at %s knows its own profiles: name those to use with --profile-id ID", o.server)
		}
	}
	return o.checkServer()
}

func (o *runOptions) run(cmd *cobra.Command, args []string) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if err := o.checkSamples(); err != nil {
		return err
	}
	if err := o.checkProfile(); err != nil {
		return err
	}
	plans, err := o.plans(args)
	if err != nil {
		return err
	}
	if err := o.checkShard(plans); err != nil {
		return err
	}
	tuneThreads(plans...)
	faults, err := o.readInjection(plans)
	if err != nil {
		return err
	}
	if err := prepareOut(o.out); err != nil {
		return err
	}
	if o.certificate, err = readCertificate(o.calibration); err != nil {
		return err
	}
	work, err := newWorkspace()
	if err != nil {
		return err
	}
	defer work.remove()
	tgt, err := openTarget(cmd.Context(), o, work, servicesOf(plans))
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := tgt.close(); closeErr != nil && err == nil {
			err = harness("%w", closeErr)
		}
	}()
	plans, without, err := tgt.leaveOut(plans, len(args) > 0)
	if err != nil {
		return err
	}
	srv, err := newServerChoice(o, work, tgt)
	if err != nil {
		return err
	}
	if srv.profiles, err = openProfiles(o.profileDir, cmd.ErrOrStderr()); err != nil {
		return err
	}
	defer func() {
		if closeErr := srv.profiles.close(); err == nil {
			err = closeErr
		}
	}()
	samples, err := openSamples(o.samples, o.samplesMax)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := samples.close(cmd.ErrOrStderr()); err == nil {
			err = closeErr
		}
	}()
	return o.measure(cmd, plans, faults, srv, samples, append(o.planned(len(args) == 0), without...))
}

// measure runs the plans and reports, together with the rows that are without data.
func (o *runOptions) measure(cmd *cobra.Command, plans []*loadgen.Plan, faults injection, srv *serverChoice, samples *samplesFile,
	without []result.Planned) error {
	work, tgt := srv.work, srv.target
	show := newProgress(cmd.ErrOrStderr(), o.quiet)
	defer endOnSecondInterrupt(func() {
		show.clear()
		srv.process.kill()
		work.remove()
	})()
	runs, broken := runAll(cmd.Context(), plans, faults, srv, samples.into(loadgen.Options{
		WorkDir: work.files, RemoteDir: "/tmp/loadgen-" + work.id,
		StartAt: o.start, Progress: show.update, Log: slog.New(slog.NewTextHandler(show, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}), show)
	if len(runs) == 0 {
		return broken
	}
	return o.finish(cmd, result.Meta{
		ID: work.id, Git: revision(), Command: o.command, Path: srv.path, Config: o.serverConfig, Host: result.ThisHost(),
		Target: result.Target{Kind: tgt.kind, Faults: faults.names(plans)}, FailOn: loadgen.Band(o.failOn), Planned: without, Calibration: o.certificate,
	}, runs, broken)
}

// plans loads the scenarios with the flags applied.
func (o *runOptions) plans(names []string) ([]*loadgen.Plan, error) {
	if len(names) == 0 {
		names = scenarios.Defaults()
	}
	names = scenarios.Expand(names)
	var plans []*loadgen.Plan
	var bad []error
	for _, name := range names {
		p, err := loadScenario(name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if slices.ContainsFunc(plans, func(q *loadgen.Plan) bool { return q.Name == p.Name }) {
			bad = append(bad, fmt.Errorf("scenario %s is named twice: name it once", p.Name))
		}
		plans = append(plans, p)
	}
	if len(bad) > 0 {
		return nil, &exitError{exitUsage, errors.Join(bad...)}
	}
	if err := o.overrides.apply(plans); err != nil {
		return nil, err
	}
	return plans, nil
}

// runAll runs the plans up to the first that cannot be run, whose error it returns beside what was measured.
func runAll(ctx context.Context, plans []*loadgen.Plan, faults injection, srv *serverChoice, opts loadgen.Options, show *progress) ([]*loadgen.Result, error) {
	defer show.clear()
	show.begin(plans)
	defer context.AfterFunc(ctx, show.interrupt)()
	var runs []*loadgen.Result
	for _, p := range plans {
		if len(runs) > 0 && ctx.Err() != nil {
			break
		}
		plan, err := srv.fit(p, show)
		if err != nil {
			return runs, err
		}
		if err := srv.target.apply(faults.during(p)); err != nil {
			return runs, err
		}
		r, err := loadgen.Run(ctx, plan, srv.profiles.of(p.Name, srv.open), srv.target.fit(plan, opts))
		if err != nil {
			return runs, runError(p, err)
		}
		runs = append(runs, r)
		show.end(r)
	}
	return runs, nil
}

func runError(p *loadgen.Plan, err error) error {
	var exit *exitError
	var wrong loadgen.PlanErrors
	code := exitHarness
	switch {
	case errors.As(err, &wrong):
		code = exitUsage
	case errors.As(err, &exit):
		code = exit.code
	}
	return &exitError{code, fmt.Errorf("scenario %s: %w", p.Name, err)}
}

// finish reports and gives the error that carries the exit code.
func (o *runOptions) finish(cmd *cobra.Command, meta result.Meta, runs []*loadgen.Result, broken error) error {
	if broken != nil {
		meta.Broken = []string{broken.Error()}
	}
	d, err := result.FromRun(meta, runs)
	if err != nil {
		return harness("%w", err)
	}
	if err := output(cmd.OutOrStdout(), o.out, o.format, d); err != nil {
		return err
	}
	if broken != nil {
		return broken
	}
	if slices.ContainsFunc(runs, func(r *loadgen.Result) bool { return r.Interrupted }) {
		return &exitError{exitInterrupted, errors.New("interrupted; the report is of what ran until then")}
	}
	return verdict(d.Findings(meta.FailOn))
}

// planned lists the rows of the targets table that the default run shows without data.
func (o *runOptions) planned(all bool) []result.Planned {
	var rows []result.Planned
	for _, row := range scenarios.Targets() {
		if all && row.Planned && !limits[o.server] {
			rows = append(rows, result.Planned{Scenario: row.Scenario, Target: row.Target, Why: "planned, does not work yet"})
		}
	}
	return rows
}

// verdict gives the exit code for what did not hold. The report has said why.
func verdict(findings []result.Finding) error {
	codes := map[result.Kind]int{result.Unbelievable: exitHarness, result.Missed: exitMissed, result.Inconclusive: exitInconclusive}
	for _, kind := range []result.Kind{result.Unbelievable, result.Missed, result.Inconclusive} {
		if slices.ContainsFunc(findings, func(f result.Finding) bool { return f.Kind == kind }) {
			return &exitError{code: codes[kind]}
		}
	}
	return nil
}

// workspace is the temporary folder of a run.
type workspace struct {
	id    string // of the run
	dir   string
	files string // for ${workdir}; the server runs in it and may read and write it
}

func newWorkspace() (*workspace, error) { return newWorkspaceIn("") }

// newWorkspaceIn makes one in a folder, "" for that of the system.
func newWorkspaceIn(parent string) (*workspace, error) {
	dir, err := os.MkdirTemp(parent, "loadgen-")
	if err != nil {
		return nil, harness("cannot make a work directory: %w", err)
	}
	w := &workspace{id: runID(), dir: dir}
	if w.dir, err = filepath.EvalSymlinks(dir); err != nil {
		w.remove()
		return nil, harness("cannot make a work directory: %w", err)
	}
	w.files = filepath.Join(w.dir, "files")
	if err := os.Mkdir(w.files, 0o700); err != nil {
		w.remove()
		return nil, harness("cannot make a work directory: %w", err)
	}
	return w, nil
}

func (w *workspace) remove() { os.RemoveAll(w.dir) }

func runID() string {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return time.Now().UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}

// commandLine is the program with its arguments, quoted for a POSIX shell.
func commandLine(args []string) string {
	words := []string{"loadgen"}
	for _, a := range args {
		if a == "" || strings.Trim(a, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=./:,@%+") != "" {
			a = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}
