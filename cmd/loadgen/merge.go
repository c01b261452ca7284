package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// mergeOptions are the flags of the merge command.
type mergeOptions struct{ out, format, failOn string }

func mergeCommand() *cobra.Command {
	o := &mergeOptions{}
	cmd := &cobra.Command{
		Use:   "merge RESULT.json...",
		Short: "Make one result of the shards of a run",
		Long: `merge makes one result of those that loadgen run --shard 1/n to n/n wrote. Histograms and counters add up exactly, and thresholds and the target
are judged on the whole. The order of the files makes no difference. All shards have to be there, once each, with one plan, seed and start.

Exit codes are those of loadgen run.`,
		RunE: o.run,
	}
	f := cmd.Flags()
	f.StringVar(&o.out, "out", "", "also write result.json, report.md, report.html and junit.xml into `DIR`")
	f.StringVar(&o.format, "format", "text", "report on standard output: "+strings.Join(reports.Formats(), ", "))
	f.StringVar(&o.failOn, "fail-on", "poor", "band that fails: poor, or acceptable for whatever misses its target")
	return cmd
}

func (o *mergeOptions) run(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return usage("merge needs the result of every shard: loadgen merge A/result.json B/result.json")
	case o.failOn != "poor" && o.failOn != "acceptable":
		return usage("--fail-on %q is not known: use poor or acceptable", o.failOn)
	}
	if _, err := reports.Renderer(o.format); err != nil {
		return usage("--format: %w", err)
	}
	var docs []*result.Doc
	for _, file := range args {
		d, err := readResult(file)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		docs = append(docs, d)
	}
	d, err := result.Merge(docs, loadgen.Band(o.failOn))
	if err != nil {
		return usage("merge: %w", err)
	}
	d.Run.Command = commandLine(result.MergedCommand(docs, args))
	if err := prepareOut(o.out); err != nil {
		return err
	}
	if err := output(cmd.OutOrStdout(), o.out, o.format, d); err != nil {
		return err
	}
	return verdict(d.Findings(loadgen.Band(o.failOn)))
}

// checkShard reads --shard and --start-at and puts the shard into the plans.
func (o *runOptions) checkShard(plans []*loadgen.Plan) (err error) {
	if o.startAt != "" {
		if o.start, err = parseStart(o.startAt); err != nil {
			return err
		}
	}
	if o.shard == "" {
		return nil
	}
	s, err := loadgen.ParseShard(o.shard)
	switch {
	case err != nil:
		return usage("--shard: %w", err)
	case len(plans) != 1:
		return usage("--shard splits one scenario, and these are %s: name one", names(plans))
	case len(plans[0].Trends) > 0:
		return usage("--shard %s: the trends of %s are judged on the whole of a run, which no shard has: run it unsplit, or without its trends", s, plans[0].Name)
	case s.Count > 1 && o.start.IsZero():
		return usage("--shard %s needs the time at which all shards begin: add --start-at, the same to each", s)
	}
	plans[0].Shard = s
	return nil
}
