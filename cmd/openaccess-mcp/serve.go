package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// sources says where the configuration comes from. Flags win over the file, and the file over the defaults.
type sources struct {
	config, profiles, secrets string
}

func (s *sources) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&s.config, "config", "", "YAML configuration `FILE`")
	f.StringVar(&s.profiles, "profiles", "", "`DIR` of host profiles (default \"profiles\")")
	f.StringVar(&s.secrets, "secrets", "", "`DIR` of secrets (default \"secrets\")")
}

func (s *sources) load() (server.Config, error) {
	var cfg server.Config
	if s.config != "" {
		var err error
		if cfg, err = server.LoadConfig(s.config); err != nil {
			return cfg, usageError{err}
		}
	}
	override(&cfg.Profiles, s.profiles)
	override(&cfg.Secrets, s.secrets)
	cfg.Version = version()
	return cfg, nil
}

func override(v *string, flag string) {
	if flag != "" {
		*v = flag
	}
}

func serveCommand() *cobra.Command {
	var src sources
	var transport, listen, logLevel string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve MCP clients over stdio or HTTP",
		Long: "Serve MCP clients over stdio or HTTP.\n\nOver stdio, standard output carries nothing but the protocol; logs go to standard error. " +
			"The server ends when its client closes standard input, or on SIGTERM; calls under way get 10 seconds to end.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			override(&cfg.Transport, transport)
			override(&cfg.Listen, listen)
			if cfg.Logger, err = logger(cmd.ErrOrStderr(), logLevel); err != nil {
				return err
			}
			return serve(cmd, cfg)
		},
	}
	src.flags(cmd)
	cmd.Flags().StringVar(&transport, "transport", "", "`stdio|http` (default \"stdio\")")
	cmd.Flags().StringVar(&listen, "listen", "", "loopback `ADDR` of the http transport (default \"127.0.0.1:8722\")")
	cmd.Flags().StringVar(&logLevel, "log-level", "info", "`debug|info|warn|error`")
	return cmd
}

func serve(cmd *cobra.Command, cfg server.Config) error {
	s, err := server.New(cfg)
	if err != nil {
		return usageError{err}
	}
	defer s.Close()
	if cfg.Transport == "http" {
		listen := cfg.Listen
		if listen == "" {
			listen = server.DefaultListen
		}
		return s.Run(cmd.Context(), server.HTTP(listen))
	}
	return s.Run(cmd.Context(), server.Stdio(cmd.InOrStdin(), cmd.OutOrStdout()))
}

func logger(w io.Writer, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level: %q is none of debug, info, warn, error", level)}
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l})), nil
}
