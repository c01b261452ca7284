package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// gateOptions are the flags of the gate command.
type gateOptions struct {
	base, head             string // programs, or files with pairs
	baseConfig, headConfig string
	baseRef, headRef       string
	pkg                    string // that baseRef builds
	transport, protocol    string
	target                 string
	pairs                  int
	slice                  time.Duration
	margin, minEffect      float64 // percent
	alpha                  float64
	confirm                bool
	seed                   uint64
	out, format, comment   string
	quiet                  bool
	selfTest               bool
	selfGates              int
	selfSlowdown           float64 // percent
	selfSlowest            float64 // percent
	simulate               int
	command                string // that runs the same again
	changed                func(flag string) bool
}

// gateScenarios are measured where none is named: a command, a transfer and a tunnel.
var gateScenarios = []string{"ssh-exec", "sftp-small", "tunnel-create"}

func gateCommand(commandLine string) *cobra.Command {
	o := gateOptions{command: commandLine}
	cmd := &cobra.Command{
		Use:   "gate [SCENARIO...]",
		Short: "Say whether one build of a server is slower than another",
		Long: `gate measures two builds of a server in pairs of slices and says of each figure whether it regressed, improved, stayed or cannot be told.

  loadgen gate --base OLD --head NEW            two programs
  loadgen gate --base-ref main                  builds that revision and the current one with the same flags, and compares them
  loadgen gate --base-config A --head-config B  one program, two configurations
  loadgen gate --base A.json --head B.json      judges recorded pairs again: the base of one file against the head of the other
  loadgen gate --self-test --base BIN           measures how often the gate itself is wrong on this machine
  loadgen gate --simulate 1000                  judges simulated gates, with --base PAIRS.jsonl on recorded noise

Without a scenario, ssh-exec, sftp-small and tunnel-create are measured. Every pair has fresh processes of both sides, in an order that a coin
decides; it ends after 10, 20 or 40 pairs, as soon as everything is decided. See docs/gate.md.

Exit codes: 0 nothing regressed; 1 something did; 2 bad usage or input; 3 inconclusive; 4 the harness, target or server could not do its
work; 130 interrupted.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.changed = cmd.Flags().Changed
			return o.run(cmd, args)
		},
	}
	o.flags(cmd.Flags())
	return cmd
}

func (o *gateOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.base, "base", "", "`PROGRAM` that is the yardstick, or a result.json with recorded pairs")
	f.StringVar(&o.head, "head", "", "`PROGRAM` that is judged, or a result.json with recorded pairs")
	f.StringVar(&o.baseConfig, "base-config", "", "configuration `FILE` for the base")
	f.StringVar(&o.headConfig, "head-config", "", "configuration `FILE` for the head")
	f.StringVar(&o.baseRef, "base-ref", "", "git `REVISION` to build the base from, instead of --base and --head")
	f.StringVar(&o.headRef, "head-ref", "HEAD", "git `REVISION` to build the head from; what is not committed is left out")
	f.StringVar(&o.pkg, "package", "./cmd/openaccess-mcp", "main `PACKAGE` that --base-ref builds")
	f.StringVar(&o.transport, "transport", "stdio", "how to speak to the servers: stdio or http")
	f.StringVar(&o.protocol, "protocol", "", "MCP `VERSION` to speak: "+driver.ProtocolStateful+" or "+driver.ProtocolStateless)
	f.StringVar(&o.target, "target", "fake", "fake, or a `DIR` with profiles/ and secrets/ of real hosts")
	f.IntVar(&o.pairs, "pairs", 40, "most pairs of slices")
	f.DurationVar(&o.slice, "slice", 0, "measured time of every slice (default: by the noise that a short look finds)")
	f.Float64Var(&o.margin, "margin", 5, "`PERCENT` that may not be told from no change at all (three times that for p99, half as much again for p90)")
	f.Float64Var(&o.minEffect, "min-effect", 2, "`PERCENT` below which a change is none (two and a half times that for p99, half as much again for p90)")
	f.Float64Var(&o.alpha, "alpha", 0.005, "probability of a false alarm, of all figures and looks together")
	f.BoolVar(&o.confirm, "confirm", false, "measure a failure again before failing, with --base-ref on builds whose functions lie in another order")
	f.Uint64Var(&o.seed, "seed", 0, "seed of coin, payloads, arrivals and resampling (default drawn)")
	f.StringVar(&o.out, "out", "", "also write result.json, report.md, report.html and junit.xml into `DIR`")
	f.StringVar(&o.comment, "comment", "", "also write a comment for the pull request into `FILE`, in Markdown")
	f.StringVar(&o.format, "format", "text", "report on standard output: "+strings.Join(reports.Formats(), ", "))
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&o.selfTest, "self-test", false, "measure how often the gate alarms without cause and with one, on this machine")
	f.IntVar(&o.selfGates, "self-test-gates", 3, "gates of each kind in a self-test; each takes one to five minutes")
	f.Float64Var(&o.selfSlowdown, "self-test-slowdown", 10, "`PERCENT` by which calls are slowed in half of a self-test's gates")
	f.Float64Var(&o.selfSlowest, "self-test-slowest", 100, "`PERCENT` of calls that a self-test slows, those that take longest: 5 makes only the tail worse")
	f.IntVar(&o.simulate, "simulate", 0, "instead of measuring, simulate `N` gates of each kind: on the null pairs in --base FILE, and without it on noise that is made up")
}

// check finds flags that contradict each other or mean nothing.
func (o *gateOptions) check(args []string) error {
	if _, err := reports.Renderer(o.format); err != nil {
		return usage("--format: %w", err)
	}
	switch {
	case o.transport != "stdio" && o.transport != "http":
		return usage("--transport %q is not known: use stdio or http", o.transport)
	case o.pairs < 10 || o.pairs > 64:
		return usage("--pairs %d is out of range: give 10 to 64", o.pairs)
	case o.changed("slice") && o.slice < 100*time.Millisecond:
		return usage("--slice %v is too short: give 100ms or more", o.slice)
	case !(o.margin > 0 && o.margin < 100):
		return usage("--margin %g is out of range: give percent, above 0 and below 100", o.margin)
	case !(o.minEffect > 0 && o.minEffect < 100):
		return usage("--min-effect %g is out of range: give percent, above 0 and below 100", o.minEffect)
	case !(o.alpha > 0 && o.alpha < 0.5):
		return usage("--alpha %g is out of range: give a probability above 0 and below 0.5, such as 0.005", o.alpha)
	}
	if o.simulate < 0 {
		return usage("--simulate %d is out of range: give the number of gates, above 0", o.simulate)
	}
	for _, flag := range []string{"self-test-gates", "self-test-slowdown", "self-test-slowest"} {
		if o.changed(flag) && !o.selfTest {
			return usage("--%s goes with --self-test: add it, or drop the flag", flag)
		}
	}
	if err := checkDriver(loadgen.ArmDriver{Protocol: o.protocol}); err != nil {
		return usage("--%w", err)
	}
	if _, err := o.judging(); err != nil {
		return err
	}
	return o.checkSides(args)
}

// checkSides finds out whether it is clear what to compare.
func (o *gateOptions) checkSides(args []string) error {
	recorded := isResult(o.base) || isResult(o.head)
	switch {
	case o.baseRef != "" && (o.base != "" || o.head != ""):
		return usage("--base-ref builds both sides, and --base or --head names one: drop either")
	case o.baseRef == "" && o.changed("head-ref"):
		return usage("--head-ref goes with --base-ref: name the revision to compare with, such as --base-ref main")
	case o.simulate > 0 || o.selfTest:
		return o.checkTests(args)
	case recorded && !(isResult(o.base) && isResult(o.head)):
		return usage("--base %s and --head %s: name two result files or two programs", o.base, o.head)
	case recorded && len(args) > 0:
		return usage("recorded pairs have their scenarios already: drop %s", strings.Join(args, " "))
	case o.baseRef == "" && o.base == "":
		return usage("nothing to compare with: name a program with --base, or a revision with --base-ref")
	case o.head == "" && o.baseRef == "" && o.headConfig == "" && o.baseConfig == "":
		return usage("nothing to compare %s with: name a program with --head, or two configurations with --base-config and --head-config", o.base)
	}
	return nil
}

// checkTests finds mistakes in what is asked of the gate itself.
func (o *gateOptions) checkTests(args []string) error {
	switch {
	case o.simulate > 0 && o.selfTest:
		return usage("--simulate measures nothing and --self-test does: drop either")
	case o.head != "" || o.headConfig != "" || o.baseRef != "":
		return usage("a test of the gate has one server on both sides: drop --head, --head-config and --base-ref")
	case o.simulate > 0 && len(args) > 0:
		return usage("simulated gates have their scenarios already: drop %s", strings.Join(args, " "))
	case o.simulate > 0 && o.base != "" && !isResult(o.base) && !isPairs(o.base):
		return usage("--simulate draws from recorded pairs, which --base %s is not: name a result.json of a gate, or a .jsonl that a self-test recorded", o.base)
	case o.selfTest && (isResult(o.base) || isPairs(o.base)):
		return usage("--self-test measures a program, which --base %s is not: name one, or use --simulate", o.base)
	case o.selfTest && !(o.selfGates >= 1 && o.selfGates <= 1000):
		return usage("--self-test-gates %d is out of range: give 1 to 1000", o.selfGates)
	case o.selfTest && !(o.selfSlowdown > 0 && o.selfSlowdown <= 1000):
		return usage("--self-test-slowdown %g is out of range: give percent, above 0 and at most 1000", o.selfSlowdown)
	case o.selfTest && !(o.selfSlowest > 0 && o.selfSlowest <= 100):
		return usage("--self-test-slowest %g is out of range: give percent, above 0 and at most 100", o.selfSlowest)
	}
	return nil
}

func isResult(path string) bool { return strings.EqualFold(filepath.Ext(path), ".json") }

func (o *gateOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.check(args); err != nil {
		return err
	}
	if !o.changed("seed") {
		o.seed = rand.Uint64() >> 11 // a number that every JSON reader holds exactly
	}
	if err := prepareOut(o.out); err != nil {
		return err
	}
	switch {
	case o.simulate > 0:
		return o.runSimulation(cmd)
	case isResult(o.base) && !o.selfTest:
		return o.rejudge(cmd)
	}
	plans, err := gatePlans(args)
	if err == nil {
		err = o.checkFiles()
	}
	if err != nil {
		return err
	}
	if o.selfTest {
		return o.runSelfTest(cmd, plans)
	}
	return o.compare(cmd, plans)
}

// checkFiles finds programs that cannot be run and configurations that cannot be read, before anything starts.
func (o *gateOptions) checkFiles() error {
	for _, side := range []struct{ name, program, config string }{{"base", o.base, o.baseConfig}, {"head", o.head, o.headConfig}} {
		if side.program != "" {
			if _, err := exec.LookPath(side.program); err != nil {
				return usage("--%s %s cannot be run: %v; name a server's program, such as bin/openaccess-mcp", side.name, side.program, unwrapped(err))
			}
		}
		if _, err := readServerConfig(side.config); err != nil {
			return usage("--%s-config: %w", side.name, err)
		}
	}
	return nil
}

// gatePlans loads the scenarios, ready for slices.
func gatePlans(names []string) ([]*loadgen.Plan, error) {
	if len(names) == 0 {
		names = gateScenarios
	}
	loaded, err := (&runOptions{overrides: overrides{changed: func(string) bool { return false }}}).plans(names)
	if err != nil {
		return nil, err
	}
	var bad []error
	plans := slices.Clone(loaded)
	for i, p := range loaded {
		if plans[i], err = loadgen.SlicePlan(p); err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 0 {
		return nil, &exitError{exitUsage, errors.Join(bad...)}
	}
	return plans, nil
}

// notes are where progress goes.
func (o *gateOptions) notes(cmd *cobra.Command) io.Writer {
	if o.quiet {
		return io.Discard
	}
	return cmd.ErrOrStderr()
}

// interruptedOr gives the exit code of an interrupt to an error that comes of it.
func interruptedOr(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return &exitError{exitInterrupted, errors.New("interrupted: there is no verdict")}
	}
	var exit *exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	return harness("%w", err)
}
