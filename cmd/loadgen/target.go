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
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// target is what the server works on.
type target struct {
	kind       string // as the result says it: "fake", "profiles" or "remote"
	profileDir string
	secretDir  string // empty leaves it to the server
	profiles   []string
	close      func() error
}

// fakeProfile is the id of the fake host's profile.
const fakeProfile = "fake"

func openTarget(ctx context.Context, o *runOptions, work *workspace) (*target, error) {
	var t *target
	var err error
	switch {
	case o.target != "fake":
		t, err = profileTarget(o.target)
	case isURL(o.server):
		t = &target{kind: "remote", profiles: o.profiles}
	case o.isolate:
		t, err = startIsolated(ctx, work)
	default:
		t, err = startFake(work)
	}
	if err != nil {
		return nil, err
	}
	if t.close == nil {
		t.close = func() error { return nil }
	}
	if err := t.choose(o.profiles); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// choose keeps the profiles named, all when none is.
func (t *target) choose(ids []string) error {
	for _, id := range ids {
		if !slices.Contains(t.profiles, id) {
			return usage("--profile %q is not known: the target has %s", id, strings.Join(t.profiles, ", "))
		}
	}
	if len(ids) > 0 {
		t.profiles = ids
	}
	return nil
}

// profileTarget finds the profiles of real hosts: in DIR/profiles with DIR/secrets beside it, or in DIR itself.
func profileTarget(dir string) (*target, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, usage("--target: %w", err)
	}
	t := &target{kind: "profiles", profileDir: dir}
	secrets := filepath.Join(filepath.Dir(dir), "secrets")
	if isDir(filepath.Join(dir, "profiles")) {
		t.profileDir, secrets = filepath.Join(dir, "profiles"), filepath.Join(dir, "secrets")
	}
	if isDir(secrets) {
		t.secretDir = secrets
	}
	entries, err := os.ReadDir(t.profileDir)
	if err != nil {
		return nil, usage("--target: cannot read %s: %v; name fake or a folder with profiles/ and secrets/", t.profileDir, unwrapped(err))
	}
	for _, e := range entries {
		if !slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(e.Name())) {
			continue
		}
		id, err := profileID(filepath.Join(t.profileDir, e.Name()))
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		t.profiles = append(t.profiles, id)
	}
	if len(t.profiles) == 0 {
		return nil, usage("--target: no profile in %s: add one, such as web-01.json", t.profileDir)
	}
	return t, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// profileID reads no more of a profile than its id; the rest is the server's to judge.
func profileID(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--target: cannot read %s: %v", file, unwrapped(err))
	}
	var p struct {
		ID string `yaml:"id"`
	}
	if err := yaml.Unmarshal(data, &p); err != nil {
		return "", fmt.Errorf("--target: %s: mend the profile", yamlProblem(file, err))
	}
	if p.ID == "" {
		return "", fmt.Errorf(`--target: %s: the profile has no id: add "id"`, file)
	}
	return p.ID, nil
}

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
