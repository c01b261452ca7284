//go:build conformance

// Command conformance serves over HTTP what openaccess-mcp serves, with the tools of the official MCP conformance suite added.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run() error {
	file := flag.String("config", "", "the server's configuration `file`")
	listen := flag.String("listen", "127.0.0.1:0", "`address` to serve")
	flag.Parse()
	cfg, err := server.LoadConfig(*file)
	if err != nil {
		return err
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	s, err := server.NewConformance(cfg)
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return s.Run(ctx, server.HTTP(*listen))
}
