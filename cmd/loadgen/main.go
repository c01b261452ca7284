// Command loadgen measures an MCP server under load and judges it by the targets table.
//
// Start with run, which is the whole program as a function of its arguments and streams. The run command is in run.go: it reads
// the scenarios (plans.go), finds or starts what the server works on (target.go), starts the server (server.go), hands both to
// package loadgen, and reports (output.go).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes. Where several apply, the first of exitUsage, exitHarness, exitMissed, exitInconclusive is given.
const (
	exitHeld         = 0
	exitMissed       = 1   // a target or threshold was missed
	exitUsage        = 2   // bad usage or bad input
	exitInconclusive = 3   // too little was measured to say
	exitHarness      = 4   // the harness, target or server could not do its work
	exitInterrupted  = 130 // the figures are of what ran until then
)

func main() {
	tuneGC()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// exitError ends the program with a code of its own. With a nil err nothing is left to say.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func harness(format string, args ...any) error {
	return &exitError{exitHarness, fmt.Errorf(format, args...)}
}

// run runs the program and returns its exit code. When ctx ends, a measurement under way ends early and is reported.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand(args)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitHeld
	}
	var exit *exitError
	if !errors.As(err, &exit) { // of the flag parser
		exit = &exitError{exitUsage, fmt.Errorf("%w; see loadgen --help", err)}
	}
	if exit.err != nil {
		fmt.Fprintf(stderr, "loadgen: %v\n", exit.err)
	}
	return exit.code
}

func rootCommand(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:           "loadgen",
		Short:         "Measures an MCP server under load and judges it by the targets table",
		SilenceErrors: true,
		SilenceUsage:  true,
		Long: `loadgen measures an MCP server under load and judges it by the targets table.

Exit codes: 0 all held; 1 a target or threshold was missed; 2 bad usage or input; 3 too little was measured
to say; 4 the harness, target or server could not do its work; 130 interrupted.`,
	}
	root.AddCommand(runCommand(commandLine(args)), listCommand(), validateCommand(), reportCommand(), calibrateCommand(), gateCommand(commandLine(args)), capacityCommand(commandLine(args)), historyCommand(), compareCommand(), mergeCommand(),
		versionCommand(), fakeHostCommand(), noopServerCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "loadgen", version(), revision(), goVersion())
			return written(err)
		},
	}
}

// version is the module's version as it was built, "(devel)" for a build from a checkout.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func goVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.GoVersion
	}
	return ""
}

// revision is the commit that the program was built from, with "+dirty" for one that was changed, "" when unknown.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	rev, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			rev = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if rev == "" {
		return ""
	}
	return rev + dirty
}
