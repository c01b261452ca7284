// Command openaccess-mcp is the pooled MCP server: it gives AI clients SSH commands and file transfers on the hosts of its profiles.
//
// Exit codes: 0 for an orderly end, 1 when something failed, 2 for bad usage or bad input.
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

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks what the user must mend: flags, configuration, profiles.
type usageError struct{ error }

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run is main without the process: tests call it with arguments and streams of their own.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "openaccess-mcp",
		Short:         "Pooled MCP server for SSH and SFTP",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version(),
	}
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), gatewayCommand(), checkCommand(), configCommand(), doctorCommand(), auditCommand(), tokenCommand(), versionCommand(), rsyncShellCommand())
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "openaccess-mcp: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) || unknownCommand(root, args) {
		return exitUsage
	}
	return exitFailed
}

// unknownCommand reports whether args name no command, which cobra gives no error type of its own.
func unknownCommand(root *cobra.Command, args []string) bool {
	_, _, err := root.Find(args)
	return err != nil
}

// noArgs refuses positional arguments as bad usage.
func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected argument %q", args[0])}
	}
	return nil
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "openaccess-mcp", version()) },
	}
}

// version is the module version the binary was built from, or the commit of a development build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
