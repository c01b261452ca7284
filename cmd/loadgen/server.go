package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

const serverName = "openaccess-mcp"

// serverChoice is the server to measure: a program to start, a URL, or the server package in this process.
type serverChoice struct {
	path      string // of the program, absolute; empty for the others
	url       string
	transport string // of a started program: "stdio" or "http"
	config    serverConfig
	target    *target
	work      *workspace
	process   serverProcess
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

func newServerChoice(o *runOptions, work *workspace, tgt *target) (*serverChoice, error) {
	s := &serverChoice{transport: o.transport, target: tgt, work: work}
	var err error
	if s.config, err = readServerConfig(o.serverConfig); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	switch {
	case isURL(o.server):
		s.url = o.server
	case o.server != "inprocess":
		if s.path, err = findServer(o.server); err != nil {
			return nil, &exitError{exitHarness, err}
		}
	}
	return s, nil
}

// findServer returns the absolute path of the server program.
func findServer(path string) (string, error) {
	if path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("--server %s cannot be run: %v", path, unwrapped(err))
		}
		return filepath.Abs(found)
	}
	name := serverName
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	beside := "its own folder"
	if self, err := os.Executable(); err == nil {
		beside = filepath.Dir(self)
		if found, err := exec.LookPath(filepath.Join(beside, name)); err == nil {
			return found, nil
		}
	}
	if found, err := exec.LookPath(name); err == nil {
		return filepath.Abs(found)
	}
	return "", fmt.Errorf("no server: %s is neither in %s nor on PATH; run make build, or name it with --server PATH", name, beside)
}

// unwrapped is the innermost error.
func unwrapped(err error) error {
	for {
		inner, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = inner.Unwrap()
	}
}

// fit leaves out the arms of a plan that the server cannot take: one at a URL keeps the configuration it has.
func (s *serverChoice) fit(p *loadgen.Plan, notes io.Writer) (*loadgen.Plan, error) {
	if s.url == "" {
		return p, nil
	}
	fitted := *p
	fitted.Arms = nil
	for _, a := range p.Arms {
		if a.ServerConfig == nil {
			fitted.Arms = append(fitted.Arms, a)
			continue
		}
		fmt.Fprintf(notes, "loadgen: %s: arm %s is left out: it configures the server, and %s runs already\n", p.Name, a.Name, s.url)
	}
	if len(p.Arms) > 0 && len(fitted.Arms) == 0 {
		return nil, usage("scenario %s has no arm left that the server at %s can take: let loadgen start the server", p.Name, s.url)
	}
	return &fitted, nil
}

// open is a loadgen.Opener.
func (s *serverChoice) open(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
	if s.url != "" {
		return driver.HTTP(ctx, driver.HTTPConfig{URL: s.url})
	}
	config, err := s.config.forArm(arm, s.work.dir)
	if err != nil {
		return nil, err
	}
	if s.path == "" {
		return s.openInProcess(ctx, config)
	}
	args := []string{"serve", "--profiles", s.target.profileDir}
	if s.target.secretDir != "" {
		args = append(args, "--secrets", s.target.secretDir)
	}
	if config != "" {
		args = append(args, "--config", config)
	}
	child := driver.ChildConfig{Path: s.path, Args: args, Dir: s.work.files}
	start := driver.Stdio
	if s.transport == "http" {
		child.Args = append(child.Args, "--transport", "http", "--listen", "127.0.0.1:0")
		start = driver.HTTPChild
	}
	d, err := start(ctx, child)
	if err != nil {
		return nil, err
	}
	return s.process.watch(d), nil
}

// openInProcess runs the server package over two pipes. The driver closes it.
func (s *serverChoice) openInProcess(ctx context.Context, config string) (loadgen.Driver, error) {
	var cfg server.Config
	if config != "" {
		var err error
		if cfg, err = server.LoadConfig(config); err != nil {
			return nil, &exitError{exitUsage, err}
		}
	}
	cfg.Profiles, cfg.Version, cfg.Logger = s.target.profileDir, version(), slog.New(slog.DiscardHandler)
	if s.target.secretDir != "" {
		cfg.Secrets = s.target.secretDir
	}
	srv, err := server.New(cfg)
	if err != nil {
		return nil, err
	}
	return driver.InProcess(ctx, func(ctx context.Context, in io.Reader, out io.Writer) error {
		defer srv.Close()
		return srv.Run(ctx, server.Stdio(in, out))
	})
}
