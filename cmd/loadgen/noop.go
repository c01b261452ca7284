package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

const noopServerName = "noop-server"

// noopServerCommand is the server of the drivers mcp-noop and mcp-library. It may also be started by hand, to give other load generators the same endpoint.
func noopServerCommand() *cobra.Command {
	var transport, listen string
	var noop server.Noop
	var library bool
	cmd := &cobra.Command{
		Use:    noopServerName,
		Short:  "Run an MCP server whose ssh_exec does nothing",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if noop.Delay < 0 || noop.Sigma < 0 {
				return usage("--delay %v and --sigma %v must not be negative", noop.Delay, noop.Sigma)
			}
			if library && (noop.Delay > 0 || noop.Sigma > 0) {
				return usage("--library answers at once: drop --delay and --sigma")
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			var t server.Transport
			switch transport {
			case "stdio":
				if library {
					return server.LibraryStdio(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
				}
				t = server.Stdio(cmd.InOrStdin(), cmd.OutOrStdout())
			case "http":
				if library {
					return server.LibraryHTTP(cmd.Context(), listen, log)
				}
				t = server.HTTP(listen)
			default:
				return usage("--transport %q is not known: use stdio or http", transport)
			}
			s := server.NewNoop(server.Config{Version: version(), Logger: log}, noop)
			defer s.Close()
			if err := s.Run(cmd.Context(), t); err != nil {
				return harness("%w", err)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&transport, "transport", "stdio", "stdio or http")
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`ADDR` of the http transport, loopback only")
	f.DurationVar(&noop.Delay, "delay", 0, "before each answer; with --sigma the median of a log-normal one")
	f.Float64Var(&noop.Sigma, "sigma", 0, "of the delay's logarithm")
	f.BoolVar(&library, "library", false, "answer by the MCP library alone, over its own transports")
	f.Uint64Var(&noop.Seed, "seed", 1, "of the delays")
	return cmd
}
