package main

import (
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func serveCommand() *cobra.Command {
	var src sources
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve MCP clients over stdio or HTTP",
		Long: "Serve MCP clients over stdio or HTTP.\n\nOver stdio, standard output carries nothing but the protocol; logs go to standard error. " +
			"The server ends when its client closes standard input, or on SIGTERM; calls under way get 10 seconds to end. On SIGHUP it reads its " +
			"configuration again.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := src.load()
			if err != nil {
				return err
			}
			return serve(cmd, &src, cfg)
		},
	}
	src.add(cmd)
	serveFlags(cmd, &src)
	return cmd
}

func serve(cmd *cobra.Command, src *sources, cfg server.Config) error {
	level := new(slog.LevelVar)
	follow(level, cfg)
	tuneGC()
	cfg.Logger = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	s, err := server.New(cfg)
	if err != nil {
		return usageError{err}
	}
	defer s.Close()
	stop := onHangup(func() {
		next, err := src.load()
		if err == nil {
			_, _, err = s.Reload(next)
		}
		if err != nil {
			cfg.Logger.Error("configuration not reloaded; the one before stays", "error", err)
			return
		}
		follow(level, next)
	})
	defer stop()
	if cfg.Transport == "http" {
		return s.Run(cmd.Context(), server.HTTP(cfg.Listen))
	}
	return s.Run(cmd.Context(), server.Stdio(cmd.InOrStdin(), cmd.OutOrStdout()))
}

// follow sets what the process as a whole takes from a configuration.
func follow(level *slog.LevelVar, cfg server.Config) {
	_ = level.UnmarshalText([]byte(cfg.LogLevel)) // Load has checked it
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(cfg.MemoryLimit())
	}
}

// onHangup calls reload on every SIGHUP, one at a time, until stop, which waits for the last.
func onHangup(reload func()) (stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range signals {
			reload()
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		<-done
	}
}
