package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// fakeProfile is the id of the fake host's profile.
const fakeProfile = "fake"

// startFake starts the fake host in this process.
func startFake(work *workspace) (*target, error) {
	t, host, err := newFake(work.dir, work.files)
	if err != nil {
		return nil, harness("%w", err)
	}
	t.close = host.Close
	return t, nil
}

func newFake(dir, localRoot string) (*target, *fakessh.Host, error) {
	host, err := fakessh.Listen(fakessh.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("cannot start the fake host: %w", err)
	}
	if err := host.WriteProfile(dir, fakeProfile, localRoot); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot write the fake host's profile: %w", err), host.Close())
	}
	return fakeTarget(dir), host, nil
}

func fakeTarget(dir string) *target {
	return &target{
		kind: "fake", profileDir: filepath.Join(dir, "profiles"), secretDir: filepath.Join(dir, "secrets"), profiles: []string{fakeProfile},
		echo: endpoint{fakessh.EchoHost, fakessh.EchoPort},
	}
}

const fakeHostName = "fake-host"

// fakeReady is the line that the isolated fake host prints once it listens.
type fakeReady struct {
	Addr string `json:"addr"`
}

// fakeHostCommand is the other side of --isolate. It lives as long as its standard input is open, and so no longer than its parent.
func fakeHostCommand() *cobra.Command {
	return &cobra.Command{
		Use:    fakeHostName + " DIR LOCALROOT",
		Short:  "Run the fake host until standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, host, err := newFake(args[0], args[1])
			if err != nil {
				return harness("%w", err)
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(fakeReady{host.Addr()}); err != nil {
				return errors.Join(written(err), host.Close())
			}
			_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // however it ends, the parent is gone
			if err := host.Close(); err != nil {
				return harness("%w", err)
			}
			return nil
		},
	}
}

// Bounds on the isolated fake host's coming and going.
const (
	fakeStart = 15 * time.Second
	fakeStop  = 10 * time.Second
)

// startIsolated starts this program again as the fake host.
func startIsolated(ctx context.Context, work *workspace) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, harness("cannot start the fake host: %w", err)
	}
	cmd := exec.Command(self, fakeHostName, work.dir, work.files)
	cmd.Stderr = os.Stderr
	ownGroup(cmd) // Ctrl-C is for this process, which ends the host when it is done with it
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, harness("cannot start the fake host: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, harness("cannot start the fake host: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, harness("cannot start the fake host: %w", err)
	}
	kill := time.AfterFunc(fakeStart, func() { _ = cmd.Process.Kill() })
	line, readErr := bufio.NewReader(stdout).ReadBytes('\n')
	kill.Stop()
	var ready fakeReady
	if err := errors.Join(readErr, json.Unmarshal(line, &ready), ctx.Err()); err != nil {
		_ = cmd.Process.Kill()
		return nil, harness("the fake host did not start: %w", errors.Join(unwrapped(readErr), cmd.Wait(), ctx.Err()))
	}
	t := fakeTarget(work.dir)
	t.close = func() error {
		stdin.Close()
		kill := time.AfterFunc(fakeStop, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the fake host: %w", err)
		}
		return nil
	}
	return t, nil
}
