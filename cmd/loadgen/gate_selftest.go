package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/gate"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// kindOfGate is one half of a self-test: gates that all have the same truth.
type kindOfGate struct {
	name     string
	injected slowdown // zero in null gates
	gates    []*trial
}

func kindOf(by slowdown) *kindOfGate { return &kindOfGate{name: by.String(), injected: by} }

// runSelfTest measures how often the gate is wrong on this machine, with one program on both sides: gates without any difference, and gates in which
// the head's calls are slowed. The two kinds take turns.
func (o *gateOptions) runSelfTest(cmd *cobra.Command, plans []*loadgen.Plan) (err error) {
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
	by := slowdown{share: o.selfSlowdown / 100}
	if o.selfSlowest < 100 {
		by.slowest = o.selfSlowest / 100
	}
	kinds := []*kindOfGate{kindOf(slowdown{}), kindOf(by)}
	testErr := o.testGates(ctx, b, opts, kinds)
	if len(kinds[0].gates) == 0 {
		return interruptedOr(ctx, testErr)
	}
	if err := o.reportSelfTest(cmd.OutOrStdout(), kinds); err != nil {
		return err
	}
	if testErr != nil {
		return interruptedOr(ctx, testErr)
	}
	return judgeSelfTest(kinds, o.alpha)
}

// testGates measures the gates of all kinds by turns, each with a seed of its own. A gate that is cut off is left out.
func (o *gateOptions) testGates(ctx context.Context, b *bench, opts gate.Options, kinds []*kindOfGate) error {
	side := competitor{o.base, o.baseConfig}
	for i := range o.selfGates {
		for k, kind := range kinds {
			opts.Seed = o.seed + uint64(len(kinds)*i+k)
			b.injected = kind.injected
			t, err := b.try(ctx, side, side, opts)
			if err == nil && t.cut {
				err = context.Cause(ctx)
			}
			if err != nil {
				return err
			}
			kind.gates = append(kind.gates, t)
			fmt.Fprintf(b.notes, "loadgen: gate: gate %d of %d, %s: %s with %d pairs in %v\n", i+1, o.selfGates, kind.name, t.gate.Verdict, t.gate.Used,
				t.elapsed.Round(time.Second))
		}
	}
	return nil
}

// count is how many gates of the kind had a verdict.
func (k *kindOfGate) count(v result.GateVerdict) (n int) {
	for _, t := range k.gates {
		if t.gate.Verdict == v {
			n++
		}
	}
	return n
}

// passed counts the latencies of slowed calls that a gate called equivalent or improved. The wide margin of p99 may hold a slowdown rightly, and p50 and
// p90 do where only the slowest calls are slowed.
func (k *kindOfGate) passed() (n int) {
	for _, t := range k.gates {
		for i := range t.gate.Cells {
			c := &t.gate.Cells[i]
			typical := c.Measure == result.MeasureP50 || c.Measure == result.MeasureP90
			if typical && k.injected.slowest == 0 && k.injected.share > c.Margin && (c.Verdict == result.GateEquivalent || c.Verdict == result.GateImproved) {
				n++
			}
		}
	}
	return n
}

// times are the median pairs and the longest time of a gate.
func (k *kindOfGate) times() (pairs float64, longest time.Duration) {
	for _, t := range k.gates {
		pairs += float64(t.gate.Used) / float64(len(k.gates))
		longest = max(longest, t.elapsed)
	}
	return pairs, longest
}

// share writes a count of gates as a share with its exact interval of 95 %, that of Clopper and Pearson.
func (k *kindOfGate) share(n int) string {
	low, high := stats.ClopperPearson(int64(n), int64(len(k.gates)), 0.025)
	return fmt.Sprintf("%d of %d, %.1f %% (%.1f to %.1f %%)", n, len(k.gates), 100*float64(n)/float64(len(k.gates)), 100*low, 100*high)
}

// reportSelfTest writes the rates to standard output, and with --out also into a file, with the gates and the pairs of null gates beside them.
func (o *gateOptions) reportSelfTest(w io.Writer, kinds []*kindOfGate) error {
	var text bytes.Buffer
	writeSelfTest(&text, kinds)
	if _, err := w.Write(text.Bytes()); err != nil {
		return written(err)
	}
	if o.out == "" {
		return nil
	}
	var pairs bytes.Buffer
	var gates [][]result.Pair
	for _, t := range kinds[0].gates {
		gates = append(gates, t.gate.Pairs)
	}
	if err := result.WritePairs(&pairs, gates); err != nil {
		return harness("%w", err)
	}
	tested, err := json.Marshal(testedGates(kinds))
	if err != nil {
		return harness("%w", err)
	}
	for name, b := range map[string][]byte{"self-test.txt": text.Bytes(), "self-test.json": tested, "null-pairs.jsonl": pairs.Bytes()} {
		if err := os.WriteFile(filepath.Join(o.out, name), b, 0o644); err != nil {
			return harness("--out: cannot write %s: %v; name another folder", name, unwrapped(err))
		}
	}
	return nil
}

// testedGate is a gate of a self-test, as self-test.json lists them.
type testedGate struct {
	Slowdown float64     `json:"slowdown"`          // share by which the head's calls were slowed
	Slowest  float64     `json:"slowest,omitempty"` // share of calls that were, the slowest; 0 for all
	Started  time.Time   `json:"started"`
	ElapsedS float64     `json:"elapsed_s"`
	Gate     result.Gate `json:"gate"`
}

func testedGates(kinds []*kindOfGate) (out []testedGate) {
	for _, k := range kinds {
		for _, t := range k.gates {
			out = append(out, testedGate{k.injected.share, k.injected.slowest, t.started, t.elapsed.Seconds(), t.gate})
		}
	}
	return out
}

func writeSelfTest(w io.Writer, kinds []*kindOfGate) {
	writeVerdicts(w, kinds)
	fmt.Fprintln(w)
	writeNoise(w, kinds[0].gates)
}

// writeVerdicts has a line for each kind of gate.
func writeVerdicts(w io.Writer, kinds []*kindOfGate) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "gates\tregressed (95 % interval)\tinconclusive (95 % interval)\tequivalent\timproved\tpairs on average\tlongest")
	for _, k := range kinds {
		if len(k.gates) == 0 {
			continue
		}
		pairs, longest := k.times()
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%.1f\t%v\n", k.name, k.share(k.count(result.GateRegressed)), k.share(k.count(result.GateInconclusive)),
			k.count(result.GateEquivalent), k.count(result.GateImproved), pairs, longest.Round(time.Second))
	}
	_ = t.Flush()
}

// writeNoise says what null pairs differ by: the standard deviation of ln(head/base) of each cell, and how often the head and how often the side that was
// measured second had the larger figure. Where the method is fair, both are about half of the pairs.
func writeNoise(w io.Writer, gates []*trial) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "null pairs\tpairs\tsd\tmean\thead larger\tsecond larger")
	for _, n := range noiseOf(gates) {
		fmt.Fprintf(t, "%s\t%d\t%.1f %%\t%+.1f %%\t%d\t%d\n", n.cell, n.pairs, 100*n.sd(), 100*n.sum/float64(n.pairs), n.head, n.second)
	}
	_ = t.Flush()
}

// cellNoise sums up the log ratios of a cell.
type cellNoise struct {
	cell                result.Cell
	pairs, head, second int
	sum, squares        float64
}

func (n *cellNoise) add(d float64, headFirst bool) {
	n.pairs, n.sum, n.squares = n.pairs+1, n.sum+d, n.squares+d*d
	if d > 0 {
		n.head++
	}
	if d != 0 && (d > 0) != headFirst {
		n.second++
	}
}

func (n *cellNoise) sd() float64 {
	mean := n.sum / float64(n.pairs)
	return math.Sqrt(max(0, n.squares/float64(n.pairs)-mean*mean) * float64(n.pairs) / max(1, float64(n.pairs-1)))
}

// noiseOf gives the cells in the order in which they came.
func noiseOf(gates []*trial) (out []*cellNoise) {
	index := map[result.Cell]*cellNoise{}
	for _, t := range gates {
		for i := range t.gate.Pairs {
			p := &t.gate.Pairs[i]
			for _, f := range p.Base.Figures {
				h, ok := figureOf(p.Head.Figures, f.Cell())
				if !ok {
					continue
				}
				n := index[f.Cell()]
				if n == nil {
					n = &cellNoise{cell: f.Cell()}
					index[f.Cell()], out = n, append(out, n)
				}
				n.add(math.Log(h.Value/f.Value), p.HeadFirst)
			}
		}
	}
	return out
}

// judgeSelfTest gives the exit code. Few gates can say little: only what is beyond chance fails.
func judgeSelfTest(kinds []*kindOfGate, alpha float64) error {
	null, slowed := kinds[0], kinds[1]
	alarms := null.count(result.GateRegressed)
	if low, _ := stats.ClopperPearson(int64(alarms), int64(len(null.gates)), 0.025); low > alpha {
		return &exitError{exitMissed, fmt.Errorf("%d of %d null gates alarmed, which is beyond the %.1f %% that are promised", alarms, len(null.gates), 100*alpha)}
	}
	if n := slowed.passed(); n > 0 {
		return &exitError{exitMissed, fmt.Errorf("%d latencies of slowed calls were called equivalent or improved", n)}
	}
	if slowed.count(result.GateRegressed) == 0 {
		return &exitError{exitInconclusive, fmt.Errorf("this machine cannot tell %s in %d gates: look at the noise above", slowed.name, len(slowed.gates))}
	}
	return nil
}
