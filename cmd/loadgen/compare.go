package main

import (
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/reports"
)

// compareOptions are the flags of the compare command.
type compareOptions struct {
	format string
	failOn float64 // percent; 0 means that nothing fails
}

func compareCommand() *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare BASE.json HEAD.json",
		Short: "Set two results of loadgen run side by side",
		Long: `compare sets two results side by side, cell by cell, with ratios, and with intervals where both runs have windows.

It never says that head is as fast as base: two single runs were made at different times. What says so is loadgen gate, which measures both in turn.

Exit codes: 0 both were compared; 1 with --fail-on, the interval of a figure lies wholly beyond that worsening; 2 bad usage or input; 3 no cell
is in both, or with --fail-on nothing is clearly worse, which is no pass.`,
		RunE: o.run,
	}
	cmd.Flags().StringVar(&o.format, "format", "text", "text or markdown")
	cmd.Flags().Float64Var(&o.failOn, "fail-on", 0, "fail when a figure is clearly worse by more than so many `PERCENT`")
	return cmd
}

func (o *compareOptions) run(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usage("compare needs two result files: loadgen compare BASE.json HEAD.json")
	}
	asked := cmd.Flags().Changed("fail-on")
	if asked && !(o.failOn > 0 && o.failOn <= 1000) {
		return usage("--fail-on %g is out of range: give percent, above 0 and at most 1000", o.failOn)
	}
	write, err := o.writer(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	base, err := readResult(args[0])
	if err != nil {
		return usage("base: %w", err)
	}
	head, err := readResult(args[1])
	if err != nil {
		return usage("head: %w", err)
	}
	c := reports.Compare(base, head)
	if err := written(write(cmd.OutOrStdout(), &c)); err != nil {
		return err
	}
	return o.judge(cmd.OutOrStdout(), &c, asked, base.Generator.Valid && head.Generator.Valid)
}

func (o *compareOptions) writer(w io.Writer) (func(io.Writer, *reports.Comparison) error, error) {
	switch o.format {
	case "text":
		columns := widestReport
		if n, _, ok := terminalSize(w); ok {
			columns = min(n, widestReport)
		}
		return func(w io.Writer, c *reports.Comparison) error { return reports.CompareText(w, c, columns) }, nil
	case "markdown":
		return reports.CompareMarkdown, nil
	}
	return nil, usage("--format: unknown format %q: use text or markdown", o.format)
}

// judge gives the exit code. Figures that cannot be believed fail nothing.
func (o *compareOptions) judge(w io.Writer, c *reports.Comparison, asked, believed bool) error {
	if len(c.Figures) == 0 {
		return &exitError{code: exitInconclusive}
	}
	if !asked {
		return nil
	}
	worse, silent := 0, 0
	for i := range c.Figures {
		if f := &c.Figures[i]; believed && f.Worse(o.failOn/100) {
			fmt.Fprintf(w, "WORSE: %s %s by more than %g %%: ×%.3f to ×%.3f\n", f.Cell, f.Figure, o.failOn, f.Low, f.High)
			worse++
		} else if math.IsNaN(f.Low) {
			silent++
		}
	}
	if worse > 0 {
		return &exitError{code: exitMissed}
	}
	_, err := fmt.Fprintf(w, "INCONCLUSIVE: no figure is clearly worse by more than %g %%, %d have no interval, %d cells stand apart; two single runs are never a pass\n",
		o.failOn, silent, len(c.Apart))
	if err != nil {
		return written(err)
	}
	return &exitError{code: exitInconclusive}
}
