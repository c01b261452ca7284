// Command fakessh runs an SSH host that keeps its files in memory and runs a
// small table of harmless commands: a target for tests, demonstrations and load.
// Package fakessh says what it offers; this program is its flags (main.go), the
// syntax of --latency (latency.go), the file of --faults (faults.go) and what it prints (serve.go).
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

// Exit codes of the program.
const (
	exitOK     = 0 // stopped by SIGINT or SIGTERM
	exitFailed = 1 // the host could not do its work
	exitUsage  = 2 // bad flags or arguments
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// failure marks an error that is not the caller's mistake in usage.
type failure struct{ error }

// run is the program: it serves until the context ends and returns the exit
// code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "fakessh:", err)
	if errors.As(err, new(failure)) {
		return exitFailed
	}
	fmt.Fprintln(stderr, "Run 'fakessh --help' for the flags.")
	return exitUsage
}

const long = `fakessh runs an SSH host that keeps its files in memory and knows a few
harmless commands (echo, sleep, exit, bytes, cat, sha256sum and the like).
Nothing on this machine is read, run or changed.

It accepts every user, key and password unless --user says who may log in.
On standard output it prints, one key=value a line, once it is listening:

  addr         host and port
  host_key     the host's public key
  known_hosts  a line for a known_hosts file
  profiles     folder of the profiles written
  secrets      folder of their secrets

With --wireguard there is a WireGuard peer on a UDP port of loopback, and behind
it a second SSH host and an echo service. The profile then has the peer "lab",
and the profile ID-inside is that host, reached via it. Printed besides:

  wireguard    host and port of the peer
  inside       address of the host behind it
  echo         address of the echo service behind it

A file of --faults is read again when it changes and on SIGHUP. A broken one
leaves the last good one in force, which standard error tells.

SIGINT and SIGTERM end it with exit code 0.`

func newRoot() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:   "fakessh",
		Short: "An SSH and SFTP host that keeps its files in memory",
		Long:  long,
		Example: "  fakessh --listen 127.0.0.1:2222\n" +
			"  fakessh --write-profile DIR &\n" +
			"  openaccess-mcp serve --profiles DIR/profiles --secrets DIR/secrets",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serve(cmd.Context(), c, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.listen, "listen", "127.0.0.1:0", "`ADDR` to listen on, port 0 for a free one")
	f.StringVar(&c.user, "user", "", "`NAME` of the only user, with --password or --authorized-key")
	f.StringVar(&c.password, "password", "", "`PW` that --user logs in with")
	f.StringArrayVar(&c.keyFiles, "authorized-key", nil, "`FILE` with public keys that --user logs in with (repeatable)")
	f.StringVar(&c.latency, "latency", "", "`WAITS` before operations: OP=MEAN[~STDDEV],… of connect, exec, sftp, such as exec=5ms~1ms,sftp=500us")
	f.Uint64Var(&c.seed, "seed", 1, "`N` that the waits are drawn from")
	f.StringVar(&c.faults, "faults", "", "`FILE` with what goes wrong, in YAML (docs/faults.md); an edit takes effect at once")
	f.StringVar(&c.profileDir, "write-profile", "", "`DIR` to write profiles/ and secrets/ into, ready for openaccess-mcp serve")
	f.StringVar(&c.profileID, "profile-id", "fake", "`ID` of the profile")
	f.IntVar(&c.profiles, "count-profiles", 1, "`N` profiles of this host, ID-1 to ID-N where N is not 1")
	f.StringArrayVar(&c.localRoots, "local-root", nil, "`DIR` that transfers of the profile may name local files in (repeatable; default \".\")")
	f.BoolVar(&c.wireguard, "wireguard", false, "add a WireGuard peer with an SSH host behind it; needs --write-profile")
	cmd.AddCommand(versionCommand())
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			version, goVersion := "(devel)", "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
				if info.Main.Version != "" {
					version = info.Main.Version
				}
			}
			fmt.Fprintln(cmd.OutOrStdout(), "fakessh", version, goVersion)
		},
	}
}
