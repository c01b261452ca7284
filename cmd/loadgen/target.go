package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// target is what the server works on.
type target struct {
	kind       string // as the result says it: "fake", "profiles" or "remote"
	profileDir string
	secretDir  string // empty leaves it to the server
	profiles   []string
	hosts      []hostProfile // what is known of the profiles, and of those only to be reached through a VPN
	echo       endpoint      // of an echo service that the hosts reach; empty for none
	close      func() error
	control    hostControl // of the fake host; nil for others
}

// hostProfile is what loadgen reads of a profile; the rest is the server's to judge.
type hostProfile struct {
	ID  string `yaml:"id"`
	VPN struct {
		Peers []struct {
			ID string `yaml:"id"`
		} `yaml:"peers"`
	} `yaml:"vpn"`
	ViaVPN string `yaml:"via_vpn"`
}

// openTarget finds or starts the target, with what the plans ask of it.
func openTarget(ctx context.Context, o *runOptions, work *workspace, want services) (*target, error) {
	var t *target
	var err error
	switch {
	case o.target != "fake":
		t, err = profileTarget(o.target)
	case isURL(o.server):
		t = &target{kind: "remote", profiles: o.profiles}
	case o.isolate:
		t, err = startIsolated(ctx, work, want)
	default:
		t, err = startFake(work, want)
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
	if want.echo && t.echo == (endpoint{}) {
		if err := t.openEcho(o.echo); err != nil {
			return nil, errors.Join(err, t.close())
		}
	}
	return t, nil
}

// choose keeps the profiles named, all when none is.
func (t *target) choose(ids []string) error {
	for _, id := range ids {
		if !slices.Contains(t.profiles, id) {
			return usage("--profile-id %q is not known: the target has %s", id, strings.Join(t.profiles, ", "))
		}
	}
	if len(ids) > 0 {
		t.profiles = ids
		return nil
	}
	t.profiles = slices.DeleteFunc(t.profiles, t.inside) // nothing is there before a VPN is up
	if len(t.profiles) == 0 {
		return usage("--target: every profile in %s is behind a VPN: add one that is not, or name one with --profile-id ID", t.profileDir)
	}
	return nil
}

// inside reports whether a profile is reached through a VPN alone.
func (t *target) inside(id string) bool {
	return slices.ContainsFunc(t.hosts, func(p hostProfile) bool { return p.ID == id && p.ViaVPN != "" })
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
	if err := t.readProfiles(); err != nil {
		return nil, usage("--target: %w", err)
	}
	return t, nil
}

// readProfiles notes the profiles in profileDir.
func (t *target) readProfiles() error {
	entries, err := os.ReadDir(t.profileDir)
	if err != nil {
		return fmt.Errorf("cannot read %s: %v; name fake or a folder with profiles/ and secrets/", t.profileDir, unwrapped(err))
	}
	for _, e := range entries {
		if !slices.Contains([]string{".json", ".yaml", ".yml"}, filepath.Ext(e.Name())) {
			continue
		}
		p, err := readProfile(filepath.Join(t.profileDir, e.Name()))
		if err != nil {
			return err
		}
		t.hosts = append(t.hosts, p)
		t.profiles = append(t.profiles, p.ID)
	}
	if len(t.profiles) == 0 {
		return fmt.Errorf("no profile in %s: add one, such as web-01.json", t.profileDir)
	}
	return nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func readProfile(file string) (hostProfile, error) {
	var p hostProfile
	data, err := os.ReadFile(file)
	if err != nil {
		return p, fmt.Errorf("cannot read %s: %v", file, unwrapped(err))
	}
	if err := readYAML(data, &p); err != nil {
		return p, fmt.Errorf("%s: mend the profile", yamlProblem(file, err))
	}
	if p.ID == "" {
		return p, fmt.Errorf(`%s: the profile has no id: add "id"`, file)
	}
	return p, nil
}
