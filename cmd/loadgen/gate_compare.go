package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// compare measures two sides, judges and reports.
func (o *gateOptions) compare(cmd *cobra.Command, plans []*loadgen.Plan) (err error) {
	ctx, notes := cmd.Context(), o.notes(cmd)
	b, err := o.openBench(ctx, plans, notes)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := b.close(); err == nil {
			err = closeErr
		}
	}()
	defer endOnSecondInterrupt(func() {
		b.process.kill()
		b.work.remove()
	})()
	base, head := competitor{o.base, o.baseConfig}, competitor{o.head, o.headConfig}
	return interruptedOr(ctx, o.trial(ctx, b, base, head, notes))
}

func (o *gateOptions) trial(ctx context.Context, b *bench, base, head competitor, notes io.Writer) error {
	p, err := b.pairs(base, head, o.seed)
	if err != nil {
		return err
	}
	start := time.Now()
	found, err := p.Probe(ctx)
	if err != nil {
		return err
	}
	chooseSlices(p.Workloads, found, o.slice)
	describe(notes, p.Workloads, found)
	fmt.Fprintf(notes, "probe took %v\n", time.Since(start))
	return p.Run(ctx, o.pairs, func(pair loadgen.Pair) (bool, error) {
		dump(notes, p, pair)
		return false, nil
	})
}

func dump(w io.Writer, p *loadgen.Pairs, pair loadgen.Pair) {
	line := func(name string, b, h *loadgen.Slice) {
		for i := range b.Steps {
			fmt.Fprintf(w, "PAIR %d %s/%s", pair.Index, name, b.Steps[i].Step)
			for _, q := range []float64{0.5, 0.9, 0.99} {
				x, y := b.Steps[i].Percentile(q), h.Steps[i].Percentile(q)
				fmt.Fprintf(w, " %d %d", x, y)
			}
			fmt.Fprintf(w, " %.3e %.3e %d %d %.1f %.1f %v %d/%d %d/%d %q %q\n", b.CPUPerOp, h.CPUPerOp, b.RSS, h.RSS, b.Saturation, h.Saturation, pair.HeadFirst, b.Errors, b.Requests, h.Errors, h.Requests, b.Late, h.Late)
		}
	}
	for i := range pair.Base {
		line(p.Workloads[i].Plan.Name, &pair.Base[i], &pair.Head[i])
	}
	if pair.HasControlArm {
		line("control", &pair.Control[0], &pair.Control[1])
	}
	fmt.Fprintf(w, "PAIR %d took %v\n", pair.Index, pair.Elapsed)
}

func (o *gateOptions) runSimulation(cmd *cobra.Command) error                      { return nil }
func (o *gateOptions) rejudge(cmd *cobra.Command) error                            { return nil }
func (o *gateOptions) runSelfTest(cmd *cobra.Command, plans []*loadgen.Plan) error { return nil }
