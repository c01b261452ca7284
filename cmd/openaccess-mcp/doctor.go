package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// errSick is the end of a diagnosis in which a step has failed. The diagnosis itself says more.
var errSick = errors.New("a step failed")

func doctorCommand() *cobra.Command {
	var src sources
	var opts server.DiagnoseOptions
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor PROFILE",
		Short: "Connect to a host, time each step, and say what is slow or fails",
		Long: "Connect to the host of a profile again and again, time name look-up, TCP, key exchange, authentication, channel, command and SFTP, " +
			"and say in plain words what is slow or fails and what to do about it.\n\nThe policy of the profile holds: where it does not admit " +
			"the command `true`, none is run. The diagnosis is recorded as a call is. Exits 1 when a step failed, 2 for bad usage.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("name one profile: openaccess-mcp doctor PROFILE")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			if opts.Iterations < 1 { // 0 would be the default
				return usageError{fmt.Errorf("iterations must be from 1 to 100, not %d", opts.Iterations)}
			}
			opts.Profile = args[0]
			d, err := server.Diagnose(cmd.Context(), cfg, opts)
			if err != nil && cmd.Context().Err() == nil {
				return usageError{err}
			}
			if err != nil {
				return err
			}
			if err := writeDiagnosis(cmd.OutOrStdout(), d, asJSON); err != nil {
				return err
			}
			if !d.Healthy {
				return errSick
			}
			return nil
		},
	}
	src.add(cmd)
	src.key(cmd, "audit", "audit.path", "`FILE` for the record of every call (default \"openaccess-mcp/audit.db\" in the state folder)")
	cmd.Flags().StringVar(&opts.Operation, "operation", "", "`"+strings.Join(server.DiagnoseOperations, "|")+"` whose way to time (default \"all\")")
	cmd.Flags().IntVar(&opts.Iterations, "iterations", 10, "fresh connections to make, 1 to 100")
	cmd.Flags().BoolVar(&opts.BringUpVPN, "bring-up-vpn", false,
		"bring up the WireGuard tunnel on the way; a server that has it up with the same key loses it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the diagnosis as JSON")
	return cmd
}

func writeDiagnosis(w io.Writer, d *server.Diagnosis, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	}
	fmt.Fprintf(w, "%s, %s", d.ProfileID, d.Address)
	if len(d.Through) > 0 {
		fmt.Fprintf(w, " through %s", strings.Join(d.Through, ", "))
	}
	fmt.Fprintf(w, ": %s, %.1f s\n\n", count(d.Iterations, "fresh connection"), d.DurationS)
	if err := writeSteps(w, d); err != nil {
		return err
	}
	if len(d.Findings) == 0 {
		_, err := fmt.Fprintln(w, "\nNothing is wrong, and nothing is slow.")
		return err
	}
	for _, f := range d.Findings {
		if _, err := fmt.Fprintf(w, "\n%s\n", finding(d, f)); err != nil {
			return err
		}
	}
	return nil
}

// writeSteps writes a table with the steps of each host, in their order.
func writeSteps(w io.Writer, d *server.Diagnosis) error {
	var table strings.Builder
	t := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "step\thost\tok\tfailed\tmin\tmedian\tp95\tmax\t")
	for _, s := range d.Steps {
		times := "\t\t\t"
		if s.Count > 0 {
			p95 := "-" // fewer than 20 repeats
			if s.P95S != nil {
				p95 = duration(*s.P95S)
			}
			times = strings.Join([]string{duration(s.MinS), duration(s.MedianS), p95, duration(s.MaxS)}, "\t")
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\n", s.Step, s.ProfileID, s.Count, s.Failed, times, s.Note)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(table.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// duration rounds seconds to three digits.
func duration(s float64) string {
	d := time.Duration(s * float64(time.Second))
	for unit := time.Duration(1); ; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
}

// finding is a paragraph.
func finding(d *server.Diagnosis, f server.Finding) string {
	where := strings.ReplaceAll(f.Kind, "_", " ")
	if f.Step != "" {
		where += ", " + f.Step
	}
	if f.ProfileID != "" && f.ProfileID != d.ProfileID {
		where += " of " + f.ProfileID
	}
	return fmt.Sprintf("%s: %s.\n  What to do: %s.", where, f.Message, f.Remedy)
}
