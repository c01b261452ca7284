package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// fakeProfile is the id of the fake host's profile.
const fakeProfile = "fake"

// fake is the fake host and, where scenarios toggle a VPN, a WireGuard peer with another fake host behind it.
type fake struct {
	host *fakessh.Host
	peer *wgpeer.Peer // nil for none
}

// newFake starts the hosts and writes their profiles below dir.
func newFake(dir, localRoot string, vpn bool) (*fake, error) {
	var f fake
	err := f.start(dir, localRoot, vpn)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start the fake host: %w", err), f.close())
	}
	return &f, nil
}

func (f *fake) start(dir, localRoot string, vpn bool) (err error) {
	if f.host, err = fakessh.Listen(fakessh.Options{}); err != nil {
		return err
	}
	if vpn {
		if f.peer, err = wgpeer.Listen(wgpeer.Options{}); err == nil {
			err = f.peer.WriteProfile(dir, fakeProfile, f.host, localRoot)
		}
	} else {
		err = f.host.WriteProfile(dir, fakeProfile, localRoot)
	}
	if err != nil {
		return err
	}
	return addPolicy(filepath.Join(dir, "profiles", fakeProfile+".json"))
}

// fakePolicy gives the fake host's profile rules as a real one has them, so that what they cost is measured. Scenarios whose results the server
// may remember begin their commands as its read_only_commands do.
var fakePolicy = map[string]any{
	"deny_sudo":          true,
	"command_denylist":   []string{`\brm\s+-rf\s+/(\s|$)`, `\b(shutdown|reboot|halt)\b`, `\bmkfs(\.|\s)`},
	"read_only_commands": []string{`^echo read-only( |$)`},
}

// addPolicy adds the rules to a profile file.
func addPolicy(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var profile map[string]any
	if err := json.Unmarshal(text, &profile); err != nil {
		return err
	}
	policy, _ := profile["policy"].(map[string]any)
	if policy == nil {
		policy = map[string]any{}
	}
	maps.Copy(policy, fakePolicy)
	profile["policy"] = policy
	if text, err = json.MarshalIndent(profile, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}

// close ends whatever has started.
func (f *fake) close() error {
	var errs []error
	if f.peer != nil {
		errs = append(errs, f.peer.Close())
	}
	if f.host != nil {
		errs = append(errs, f.host.Close())
	}
	return errors.Join(errs...)
}

// startFake starts the fake host in this process.
func startFake(work *workspace, want services) (*target, error) {
	f, err := newFake(work.dir, work.files, want.vpn)
	if err != nil {
		return nil, harness("%w", err)
	}
	return fakeTarget(work.dir, localControl{f.host}, f.close)
}

// fakeTarget reads what newFake has written.
func fakeTarget(dir string, control hostControl, closeFake func() error) (*target, error) {
	t := &target{
		kind: "fake", control: control, profileDir: filepath.Join(dir, "profiles"), secretDir: filepath.Join(dir, "secrets"),
		echo: endpoint{fakessh.EchoHost, fakessh.EchoPort}, close: closeFake,
	}
	if err := t.readProfiles(); err != nil {
		return nil, errors.Join(harness("the fake host's profiles: %w", err), closeFake())
	}
	return t, nil
}

const (
	fakeHostName = "fake-host"
	wireguard    = "wireguard" // its flag
)

// fakeReady is the line that the isolated fake host prints once it listens.
type fakeReady struct {
	Addr string `json:"addr"`
}

// fakeHostCommand is the other side of --isolate. It takes the requests of control.go and lives as long as its standard input is open, and so no longer than its parent.
func fakeHostCommand() *cobra.Command {
	var vpn bool
	cmd := &cobra.Command{
		Use:    fakeHostName + " DIR LOCALROOT",
		Short:  "Run the fake host until standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := newFake(args[0], args[1], vpn)
			if err != nil {
				return harness("%w", err)
			}
			if err := json.NewEncoder(cmd.OutOrStdout()).Encode(fakeReady{f.host.Addr()}); err != nil {
				return errors.Join(written(err), f.close())
			}
			err = serveControl(f.host, cmd.InOrStdin(), cmd.OutOrStdout()) // however it ends, the parent is gone
			if err := errors.Join(err, f.close()); err != nil {
				return harness("%w", err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&vpn, wireguard, false, "with a WireGuard peer")
	return cmd
}

// Bounds on the isolated fake host's coming and going.
const (
	fakeStart = 15 * time.Second
	fakeStop  = 10 * time.Second
)

// startIsolated starts this program again as the fake host.
func startIsolated(ctx context.Context, work *workspace, want services) (*target, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, harness("cannot start the fake host: %w", err)
	}
	cmd := exec.Command(self, fakeHostName, work.dir, work.files, fmt.Sprintf("--%s=%v", wireguard, want.vpn))
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
	out := bufio.NewReader(stdout)
	line, readErr := out.ReadBytes('\n')
	kill.Stop()
	var ready fakeReady
	if err := errors.Join(readErr, json.Unmarshal(line, &ready), ctx.Err()); err != nil {
		_ = cmd.Process.Kill()
		return nil, harness("the fake host did not start: %w", errors.Join(unwrapped(readErr), cmd.Wait(), ctx.Err()))
	}
	return fakeTarget(work.dir, &remoteControl{in: stdin, out: out}, func() error {
		stdin.Close()
		kill := time.AfterFunc(fakeStop, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("the fake host: %w", err)
		}
		return nil
	})
}
