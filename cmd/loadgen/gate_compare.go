package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/gate"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// trial is a gate that was measured: what was found, and from what.
type trial struct {
	gate    result.Gate
	started time.Time
	elapsed time.Duration
	pairs   time.Duration // of elapsed, what the pairs took
	cut     bool          // an interrupt ended it
}

// judging are the options of the judge that the flags ask for.
func (o *gateOptions) judging() (gate.Options, error) {
	opts := gate.Options{
		Alpha: o.alpha, Margin: o.margin / 100, MarginTail: 3 * o.margin / 100, MinEffect: o.minEffect / 100, MinEffectTail: 2.5 * o.minEffect / 100, Seed: o.seed,
	}
	for _, n := range []int{10, 20, 40} {
		if n < o.pairs {
			opts.Looks = append(opts.Looks, n)
		}
	}
	opts.Looks = append(opts.Looks, o.pairs)
	if _, err := gate.New(opts); err != nil {
		return opts, usage("--alpha, --pairs, --margin and --min-effect: %w", err)
	}
	return opts, nil
}

// compare measures two sides, judges and reports.
func (o *gateOptions) compare(cmd *cobra.Command, plans []*loadgen.Plan) (err error) {
	ctx, notes := cmd.Context(), o.notes(cmd)
	opts, err := o.judging()
	if err != nil {
		return err
	}
	b, err := o.openBench(ctx, plans, notes)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer func() {
		if closeErr := b.close(); err == nil {
			err = closeErr
		}
	}()
	defer endOnSecondInterrupt(func() {
		b.process.kill()
		b.remove()
	})()
	sides, err := o.openSides(ctx, b, notes)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	defer func() {
		if closeErr := sides.close(); err == nil && closeErr != nil {
			err = harness("%w", closeErr)
		}
	}()
	t, err := o.tried(ctx, b, sides, opts)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	return o.finish(cmd, o.doc(b, sides, t), t.cut)
}

// tried measures, and where it regressed and --confirm is given, measures again.
func (o *gateOptions) tried(ctx context.Context, b *bench, s *gateSides, opts gate.Options) (*trial, error) {
	t, err := b.try(ctx, s.base, s.head, opts)
	if err != nil || t.cut || !o.confirm || t.gate.Verdict != result.GateRegressed {
		return t, err
	}
	base, head, how, err := s.relink(ctx, o.seed)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(b.notes, "loadgen: gate: regressed: %s; measuring again, with %s\n", strings.Join(t.gate.Why, "; "), how)
	opts.Seed = o.seed + 1
	again, err := b.try(ctx, base, head, opts)
	if err != nil {
		return nil, err
	}
	again.started, again.elapsed = t.started, again.elapsed+t.elapsed
	return again, confirmed(&t.gate, &again.gate, how)
}

// confirmed notes in the second gate what became of the first. Only what regressed in both has regressed: a first failure that is not confirmed is
// never a pass by chance, for the second gate has to reach its verdict by itself.
func confirmed(first, second *result.Gate, how string) error {
	var both []string
	for _, cell := range first.Cells {
		i := slices.IndexFunc(second.Cells, func(c result.GateCell) bool { return c.Cell == cell.Cell })
		if cell.Verdict == result.GateRegressed && i >= 0 && second.Cells[i].Verdict == result.GateRegressed {
			both = append(both, cell.String())
		}
	}
	switch {
	case len(both) > 0:
		second.Warnings = append(second.Warnings, fmt.Sprintf("measured twice, the second time with %s: %s regressed in both", how, strings.Join(both, ", ")))
	case second.Verdict == result.GateRegressed:
		second.Verdict = result.GateInconclusive
		second.Why = append([]string{"other figures regressed the first time than the second, measured with " + how}, second.Why...)
	default:
		second.Warnings = append(second.Warnings, fmt.Sprintf("regressed at first and not the second time, measured with %s: %s", how, strings.Join(first.Why, "; ")))
	}
	return nil
}

// try measures pairs until the judge has decided.
func (b *bench) try(ctx context.Context, base, head competitor, opts gate.Options) (*trial, error) {
	t := &trial{started: time.Now()}
	p, err := b.pairs(base, head, opts.Seed)
	if err != nil {
		return nil, err
	}
	found, err := p.Probe(ctx)
	if err != nil {
		return nil, err
	}
	chooseSlices(p.Workloads, found, b.o.slice)
	describe(b.notes, p.Workloads, found)
	judge, err := gate.New(opts)
	if err != nil {
		return nil, harness("%w", err)
	}
	columns := gateColumns{p.Workloads}
	var late lateness
	done := false
	err = p.Run(ctx, 2*opts.Looks[len(opts.Looks)-1], func(pair loadgen.Pair) (bool, error) {
		late.add(&pair)
		t.pairs += pair.Elapsed
		if err := judge.Add(columns.pair(&pair)); err != nil {
			return true, err
		}
		t.gate, done = judge.Look()
		fmt.Fprintf(b.notes, "loadgen: gate: pair %d took %v; %s so far\n", pair.Index+1, pair.Elapsed.Round(100*time.Millisecond), soFar(&t.gate))
		return done, nil
	})
	t.elapsed = time.Since(t.started)
	t.cut = err != nil && ctx.Err() != nil && len(t.gate.Pairs) > 0
	if err != nil && !t.cut {
		return nil, err
	}
	t.gate.Warnings = append(t.gate.Warnings, columns.unjudged()...)
	if w := late.warning(); w != "" {
		t.gate.Warnings = append(t.gate.Warnings, w)
	}
	return t, nil
}

func soFar(g *result.Gate) string {
	if g.Look == 0 {
		return "no look yet"
	}
	return fmt.Sprintf("%s at look %d", g.Verdict, g.Look)
}

// doc is the result file of a gate.
func (o *gateOptions) doc(b *bench, s *gateSides, t *trial) *result.Doc {
	d := &result.Doc{
		Schema: result.Schema, Scenarios: []result.Scenario{}, Generator: result.Generator{Valid: true, Why: []string{}}, Gate: &t.gate,
		Run: result.Run{
			ID: b.work.id, Started: t.started.UTC(), DurationS: t.elapsed.Seconds(), Seed: o.seed, Git: revision(), Command: o.command, Host: result.ThisHost(),
			Server: result.Server{Path: s.headName, Transport: o.transport, Config: o.headConfig}, Target: result.Target{Kind: b.target.kind},
		},
	}
	gateVerdict(d)
	return d
}

// gateVerdict takes the gate's verdict for that of the document.
func gateVerdict(d *result.Doc) {
	d.Verdict = result.Verdict{OK: d.Gate.OK(), Failed: []string{}}
	if !d.Verdict.OK {
		d.Verdict.Failed = append(d.Verdict.Failed, d.Gate.Why...)
		if len(d.Verdict.Failed) == 0 {
			d.Verdict.Failed = []string{string(d.Gate.Verdict)}
		}
	}
}

// finish reports and gives the error that carries the exit code.
func (o *gateOptions) finish(cmd *cobra.Command, d *result.Doc, cut bool) error {
	if err := output(cmd.OutOrStdout(), o.out, o.format, d); err != nil {
		return err
	}
	if err := o.surfaces(cmd.ErrOrStderr(), d); err != nil {
		return err
	}
	switch {
	case cut:
		return &exitError{exitInterrupted, errors.New("interrupted; the report is of what ran until then")}
	case d.Gate.Verdict == result.GateRegressed:
		return &exitError{code: exitMissed}
	case !d.Gate.OK():
		return &exitError{code: exitInconclusive}
	}
	return nil
}

// gateSides are the two programs of a gate.
type gateSides struct {
	base, head competitor
	headName   string
	built      *revisions // nil for programs that were given
}

func (s *gateSides) close() error {
	if s.built == nil {
		return nil
	}
	return s.built.close()
}

// openSides finds the programs, or builds them.
func (o *gateOptions) openSides(ctx context.Context, b *bench, notes io.Writer) (*gateSides, error) {
	s := &gateSides{base: competitor{o.base, o.baseConfig}, head: competitor{o.head, o.headConfig}, headName: o.head}
	if o.baseRef == "" {
		if s.head.path == "" {
			s.head.path, s.headName = o.base, o.base
		}
		return s, nil
	}
	var err error
	fmt.Fprintf(notes, "loadgen: gate: building %s and %s\n", o.baseRef, o.headRef)
	if s.built, err = openRevisions(ctx, o.baseRef, o.headRef, o.pkg, b.programs); err == nil {
		s.base.path, s.head.path, err = s.built.build(ctx, 0)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.headName = s.built.head
	return s, nil
}

// relink gives programs of the same sources whose functions lie in another order, where they were built here: how fast code runs also depends on
// where it lies, which is no property of the change.
func (s *gateSides) relink(ctx context.Context, seed uint64) (base, head competitor, how string, err error) {
	base, head = s.base, s.head
	if s.built == nil {
		return base, head, "the same programs", nil
	}
	base.path, head.path, err = s.built.build(ctx, seed%1_000_000+1)
	return base, head, "builds whose functions lie in another order", err
}
