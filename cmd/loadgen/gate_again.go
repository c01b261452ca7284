package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/reports/gate"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// rejudge judges recorded pairs: those of one file that is named twice, or the heads of two files.
func (o *gateOptions) rejudge(cmd *cobra.Command) error {
	opts, err := o.judging()
	if err != nil {
		return err
	}
	a, err := readGate("base", o.base)
	if err != nil {
		return err
	}
	b, err := readGate("head", o.head)
	if err != nil {
		return err
	}
	pairs := a.Gate.Pairs
	if o.base != o.head {
		if pairs = acrossFiles(a.Gate.Pairs, b.Gate.Pairs); len(pairs) == 0 {
			return usage("--base %s and --head %s have no scenario in common", o.base, o.head)
		}
	}
	judge, err := gate.New(opts)
	if err != nil {
		return usage("%w", err)
	}
	var g result.Gate
	for _, p := range pairs {
		p.Excluded = ""
		if err := judge.Add(p); err != nil {
			return usage("%s: %w", o.head, err)
		}
		var done bool
		if g, done = judge.Look(); done {
			break
		}
	}
	d := *b
	d.Gate, d.Run.Command, d.Run.Seed = &g, o.command, o.seed
	gateVerdict(&d)
	return o.finish(cmd, &d, false)
}

func readGate(flag, file string) (*result.Doc, error) {
	d, err := readResult(file)
	if err != nil {
		return nil, usage("--%s: %w", flag, err)
	}
	if d.Gate == nil || len(d.Gate.Pairs) == 0 {
		return nil, usage("--%s %s has no pairs: name a result.json that loadgen gate --out wrote; for two results of loadgen run, use loadgen compare", flag, file)
	}
	return d, nil
}

// acrossFiles pairs the heads of two gates, which were measured at different times. Each is taken relative to the base that was measured beside it:
// the second one's figures are multiplied by what its base differs from the first one's.
func acrossFiles(a, b []result.Pair) []result.Pair {
	var out []result.Pair
	for i := range min(len(a), len(b)) {
		p := result.Pair{Index: i + 1, HeadFirst: b[i].HeadFirst}
		p.Base.Errors, p.Head.Errors = a[i].Head.Errors, b[i].Head.Errors
		for _, f := range a[i].Head.Figures {
			x, ok1 := figureOf(a[i].Base.Figures, f.Cell())
			y, ok2 := figureOf(b[i].Base.Figures, f.Cell())
			h, ok3 := figureOf(b[i].Head.Figures, f.Cell())
			if ok1 && ok2 && ok3 {
				h.Value *= x.Value / y.Value
				p.Base.Figures, p.Head.Figures = append(p.Base.Figures, f), append(p.Head.Figures, h)
			}
		}
		if len(p.Base.Figures) > 0 {
			out = append(out, p)
		}
	}
	return out
}

func figureOf(figures []result.Figure, c result.Cell) (result.Figure, bool) {
	i := slices.IndexFunc(figures, func(f result.Figure) bool { return f.Cell() == c })
	if i < 0 {
		return result.Figure{}, false
	}
	return figures[i], true
}
