package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/openaccess-mcp/openaccess-mcp/reports/history"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// historyEnv names the history where --db does not: a URL with a password does not belong on a command line.
const historyEnv = "LOADGEN_HISTORY"

// historyOptions are the flags of the history commands.
type historyOptions struct {
	db, branch, revision string
	format               string
	analyze              history.Options
	minEffect            float64 // in percent
}

func historyCommand() *cobra.Command {
	o := &historyOptions{}
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Keep results over time and find since when they have changed",
		Long: `history keeps the figures of results in a SQLite file or in PostgreSQL, and finds since which commits they have changed.

Figures are compared inside of a branch, a class of machine (CPU, cores and system) and a load only.`,
		RunE: func(*cobra.Command, []string) error {
			return usage("history needs a command: add, show, check, export or import")
		},
	}
	cmd.PersistentFlags().StringVar(&o.db, "db", "", "the history: a SQLite `FILE` or a postgres:// URL (default $"+historyEnv+", else history.db)")
	cmd.AddCommand(o.addCommand(), o.showCommand(), o.checkCommand(), o.exportCommand(), o.importCommand())
	return cmd
}

func (o *historyOptions) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add RESULT.json...",
		Short: "Keep results",
		Long:  "add keeps the figures of results. A result that is kept already is left alone.",
		RunE:  o.add,
	}
	cmd.Flags().StringVar(&o.branch, "branch", "", "`NAME` of the branch that was measured (default the one that is checked out here, main outside of a repository)")
	cmd.Flags().StringVar(&o.revision, "rev", "", "`COMMIT` that was measured (default the one that the result names, else the one that is checked out here)")
	return cmd
}

func (o *historyOptions) add(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("history add needs a result file: loadgen history add RESULT.json...")
	}
	branch, err := o.branchHere(cmd)
	if err != nil {
		return err
	}
	var runs []*history.Run
	var bad []error
	for _, file := range args {
		d, err := readResult(file)
		if err == nil {
			var r *history.Run
			if r, err = history.FromDoc(d, branch, o.revisionOf(cmd, d)); err == nil {
				runs = append(runs, r)
				continue
			}
			err = fmt.Errorf("%s: %w", file, err)
		}
		bad = append(bad, err)
	}
	if len(bad) > 0 {
		return &exitError{exitUsage, errors.Join(bad...)}
	}
	return o.keep(cmd, runs)
}

// branchHere is the branch of --branch, or the one that is checked out.
func (o *historyOptions) branchHere(cmd *cobra.Command) (string, error) {
	if cmd.Flags().Changed("branch") {
		return o.branch, nil
	}
	if _, err := command(cmd.Context(), "", "git", "rev-parse", "--git-dir"); err != nil {
		return "main", nil
	}
	out, err := command(cmd.Context(), "", "git", "symbolic-ref", "--short", "-q", "HEAD")
	if err != nil {
		return "", usage("no branch is checked out here, as is usual in CI: name the one that was measured with --branch")
	}
	branch := strings.TrimSpace(out)
	fmt.Fprintf(cmd.ErrOrStderr(), "loadgen: history: branch %s, which is checked out here\n", branch)
	return branch, nil
}

// revisionOf is the commit of --rev, the one that the result names, or the one that is checked out.
func (o *historyOptions) revisionOf(cmd *cobra.Command, d *result.Doc) string {
	if o.revision != "" || d.Run.Git != "" {
		return o.revision // or the result's
	}
	out, err := command(cmd.Context(), "", "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "" // the error of the result says what to do
	}
	revision := strings.TrimSpace(out)
	fmt.Fprintf(cmd.ErrOrStderr(), "loadgen: history: commit %s, which is checked out here\n", revision)
	return revision
}

// keep adds runs to the history and says how many were new.
func (o *historyOptions) keep(cmd *cobra.Command, runs []*history.Run) error {
	return o.with(cmd.Context(), true, func(s *history.Store) error {
		added, err := s.Add(cmd.Context(), runs...)
		if errors.Is(err, history.ErrDiffers) {
			return &exitError{exitUsage, err}
		}
		if err != nil {
			return harness("%w", err)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d of %d runs added, %d kept already\n", added, len(runs), len(runs)-added)
		return written(err)
	})
}

// with opens the history, which must exist unless it may be made.
func (o *historyOptions) with(ctx context.Context, mayMake bool, do func(*history.Store) error) (err error) {
	where := o.db
	if where == "" {
		where = os.Getenv(historyEnv)
	}
	if where == "" {
		where = "history.db"
	}
	if _, err := os.Stat(where); !mayMake && !strings.Contains(where, "://") && errors.Is(err, fs.ErrNotExist) {
		return usage("history %s does not exist; make it with loadgen history add, or name another with --db", where)
	}
	s, err := history.Open(ctx, where)
	if err != nil {
		return harness("%w", err)
	}
	defer func() {
		if closeErr := s.Close(); err == nil && closeErr != nil {
			err = harness("%w", closeErr)
		}
	}()
	return do(s)
}

// historyFormats are those of show and check.
var historyFormats = []struct {
	name   string
	render func(io.Writer, []history.Group) error
}{{"text", history.Text}, {"markdown", history.Markdown}, {"html", history.HTML}}

func (o *historyOptions) analysisFlags(f *pflag.FlagSet) {
	f.StringVar(&o.analyze.Branch, "branch", "main", "`NAME` of the branch to look at")
	f.StringVar(&o.analyze.Base, "base", "", "`NAME` of a branch whose runs are the baseline, before those of --branch")
	f.IntVar(&o.analyze.Last, "last", 10, "a change is new when its first run is one of the last `N`")
	f.IntVar(&o.analyze.Most, "most", 500, "look at the newest `N` runs")
	f.Float64Var(&o.analyze.Alpha, "alpha", 0.001, "most that the `P`-value of a change may be")
	f.Float64Var(&o.minEffect, "min-effect", 0, "least change in `PERCENT` that counts as worse (default by metric: 2 for p50, 5 for p99)")
	f.Uint64Var(&o.analyze.Seed, "seed", 1, "of the permutations")
}

func (o *historyOptions) checkFlags() error {
	switch a := o.analyze; {
	case a.Branch == "":
		return usage("--branch is empty: name a branch")
	case a.Last < 3:
		return usage("--last %d is too few: a change needs 3 runs behind it", a.Last)
	case a.Most < 14:
		return usage("--most %d is too few: use at least 14", a.Most)
	case !(a.Alpha >= 1e-5 && a.Alpha <= 0.1):
		return usage("--alpha %g is not between 0.00001 and 0.1", a.Alpha)
	case !(o.minEffect >= 0 && o.minEffect <= 1000):
		return usage("--min-effect %g is not between 0 and 1000 percent", o.minEffect)
	}
	o.analyze.MinEffect = o.minEffect / 100
	return nil
}

func (o *historyOptions) showCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show baselines, trends and changes",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, f := range historyFormats {
				if f.name == o.format {
					return o.analyzed(cmd, func(groups []history.Group) error { return written(f.render(cmd.OutOrStdout(), groups)) })
				}
			}
			return usage("--format: unknown format %q: use one of text, markdown, html", o.format)
		},
	}
	o.analysisFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.format, "format", "text", "text, markdown, or html for a page with charts")
	cmd.Flags().StringVar(&o.analyze.Machine, "machine", "", "only classes of machines whose name contains `TEXT`; newest for that of the newest run")
	return cmd
}

// analyzed looks at the runs. No run is not an error.
func (o *historyOptions) analyzed(cmd *cobra.Command, do func([]history.Group) error) error {
	if err := o.checkFlags(); err != nil {
		return err
	}
	return o.with(cmd.Context(), false, func(s *history.Store) error {
		runs, err := s.Runs(cmd.Context(), history.Filter{})
		if err != nil {
			return harness("%w", err)
		}
		groups, err := history.Analyze(runs, o.analyze)
		if err != nil {
			return harness("%w", err)
		}
		return do(groups)
	})
}

func (o *historyOptions) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Fail when a figure has changed for the worse lately",
		Long: `check fails when a figure of a branch has changed for the worse within the last runs, and names the commits that the change came with.
Exit codes: 0 no such change; 1 a change for the worse; 3 too few runs to say.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.analyzed(cmd, func(groups []history.Group) error { return o.judge(cmd.OutOrStdout(), groups) })
		},
	}
	o.analysisFlags(cmd.Flags())
	cmd.Flags().StringVar(&o.analyze.Machine, "machine", history.NewestMachine, "classes of machines whose name contains `TEXT`")
	return cmd
}

func (o *historyOptions) judge(w io.Writer, groups []history.Group) error {
	var b strings.Builder
	worse, short := 0, 0
	for i := range groups {
		g := &groups[i]
		fmt.Fprintln(&b, g.Title())
		for _, f := range g.New() {
			fmt.Fprintf(&b, "- %s\n", f)
			worse++
		}
		for _, s := range g.Short() {
			fmt.Fprintf(&b, "- %s: too few runs to say: %d, needs %d\n", s.Title(), len(s.Points), s.Needed)
			short++
		}
	}
	code := exitHeld
	switch {
	case worse > 0:
		code = exitMissed
		fmt.Fprintf(&b, "FAILED: new changes for the worse in the last %d runs: %d\n", o.analyze.Last, worse)
	case len(groups) == 0:
		code = exitInconclusive
		fmt.Fprintf(&b, "INCONCLUSIVE: no run of branch %q on such a machine; add some with loadgen history add --branch\n", o.analyze.Branch)
	case short > 0:
		code = exitInconclusive
		fmt.Fprintf(&b, "INCONCLUSIVE: figures with too few runs to say: %d\n", short)
	default:
		fmt.Fprintf(&b, "HELD: no change for the worse in the last %d runs\n", o.analyze.Last)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return written(err)
	}
	if code != exitHeld {
		return &exitError{code, nil}
	}
	return nil
}

func (o *historyOptions) exportCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Write all runs as JSON lines",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.with(cmd.Context(), false, func(s *history.Store) error {
				runs, err := s.Runs(cmd.Context(), history.Filter{})
				if err != nil {
					return harness("%w", err)
				}
				return written(history.WriteLines(cmd.OutOrStdout(), runs))
			})
		},
	}
}

func (o *historyOptions) importCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Add the runs of an export, - for standard input",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("history import needs one file, or - for standard input: loadgen history import FILE")
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return usage("cannot read the export %s: %v; name a file that loadgen history export wrote", args[0], unwrapped(err))
				}
				defer f.Close()
				in = f
			}
			runs, err := history.ReadLines(in)
			if err != nil {
				return usage("%s: %w", args[0], err)
			}
			return o.keep(cmd, runs)
		},
	}
}
