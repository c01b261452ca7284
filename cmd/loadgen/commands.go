package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
	"github.com/openaccess-mcp/openaccess-mcp/scenarios"
)

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the scenarios and their targets",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "SCENARIO\tOPERATION\tLOAD\tTIME\tTARGET\tWHAT")
			for _, name := range scenarios.List() {
				p, err := scenarios.Load(name)
				if err != nil {
					return &exitError{exitUsage, err}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, p.Operation, load(p.Executor), span(p), band(p.Target), p.Description)
			}
			return written(w.Flush())
		},
	}
}

func load(e loadgen.Executor) string {
	if e.Kind == loadgen.Open {
		return fmt.Sprintf("%g/s", e.Rate)
	}
	return fmt.Sprintf("%d at once", e.VUs)
}

// span is the time that a plan takes, warm-ups included.
func span(p *loadgen.Plan) string {
	return (time.Duration(max(len(p.Arms), 1)) * (p.Executor.Warmup + p.Executor.Duration)).String()
}

func band(t *loadgen.Target) string {
	if t == nil {
		return "–"
	}
	statistic := t.Statistic
	if statistic == "" {
		statistic = "p95"
	}
	return statistic + " < " + t.Target.String()
}

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check scenario files and point at every mistake",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("validate needs a file: loadgen validate FILE...")
			}
			var bad []error
			for _, file := range args {
				p, err := loadScenario(file)
				if err == nil {
					_, err = faultsOf(p)
				}
				if err != nil {
					bad = append(bad, err)
					continue
				}
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: valid\n", file); err != nil {
					return written(err)
				}
			}
			if len(bad) > 0 {
				return &exitError{exitUsage, errors.Join(bad...)}
			}
			return nil
		},
	}
}

// loadScenario reads a scenario; a missing file gives an error without the system call's name.
func loadScenario(ref string) (*loadgen.Plan, error) {
	p, err := scenarios.Load(ref)
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return nil, fmt.Errorf("scenario %s: %v; loadgen list names the embedded ones", ref, pathErr.Err)
	}
	return p, err
}

func reportCommand() *cobra.Command {
	var format string
	var schema bool
	cmd := &cobra.Command{
		Use:   "report RESULT.json",
		Short: "Render a result file again",
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				return printSchema(cmd, args)
			}
			if len(args) != 1 {
				return usage("report needs one result file: loadgen report RESULT.json --format %s", strings.Join(reports.Formats(), "|"))
			}
			render, err := rendererFor(format, cmd.OutOrStdout())
			if err != nil {
				return usage("--format: %w", err)
			}
			d, err := readResult(args[0])
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return written(render(cmd.OutOrStdout(), d))
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", strings.Join(reports.Formats(), ", "))
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of result files instead")
	return cmd
}

func printSchema(cmd *cobra.Command, args []string) error {
	if len(args) > 0 || cmd.Flags().Changed("format") {
		return usage("--schema prints the JSON Schema of every result file: drop the file and --format")
	}
	_, err := cmd.OutOrStdout().Write(result.JSONSchema)
	return written(err)
}

func readResult(file string) (*result.Doc, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the result: %w", err)
	}
	defer f.Close()
	d, err := result.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// written turns an error of writing to standard output into the program's.
func written(err error) error {
	if err == nil {
		return nil
	}
	return harness("cannot write to standard output: %w", err)
}
