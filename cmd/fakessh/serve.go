package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// config is the flags as given.
type config struct {
	listen         string
	user, password string
	keyFiles       []string
	latency        string
	seed           uint64
	faults         string
	profileDir     string
	profileID      string
	profiles       int
	localRoots     []string
	wireguard      bool
}

// options checks the flags and turns them into those of the host.
func (c config) options() (fakessh.Options, error) {
	o := fakessh.Options{Addr: c.listen}
	latency, err := parseLatency(c.latency, c.seed)
	if err != nil {
		return o, fmt.Errorf("--latency: %v", err)
	}
	o.Latency = latency
	switch {
	case c.profiles < 1:
		return o, fmt.Errorf("--count-profiles: %d is too few; write 1 or more", c.profiles)
	case c.profileDir == "" && len(c.localRoots) > 0:
		return o, errors.New("--local-root goes into a profile; add --write-profile DIR")
	case c.profileDir == "" && c.profiles != 1:
		return o, errors.New("--count-profiles counts profiles; add --write-profile DIR")
	case c.profileDir == "" && c.wireguard:
		return o, errors.New("--wireguard makes a key for its client; add --write-profile DIR, where it is left")
	case c.wireguard && c.profiles != 1:
		return o, errors.New("--wireguard belongs to one profile; leave out --count-profiles")
	case c.profileID != filepath.Base(c.profileID) || strings.HasPrefix(c.profileID, "."):
		return o, fmt.Errorf("--profile-id: %q is no file name; use letters, digits and dashes", c.profileID)
	}
	o.Users, err = c.users()
	return o, err
}

func (c config) users() (map[string]fakessh.User, error) {
	credentials := c.password != "" || len(c.keyFiles) > 0
	switch {
	case c.user == "" && credentials:
		return nil, errors.New("--password and --authorized-key belong to a user; add --user NAME")
	case c.user == "":
		return nil, nil
	case !credentials:
		return nil, errors.New("--user could not log in; add --password or --authorized-key")
	}
	user := fakessh.User{Password: c.password}
	for _, file := range c.keyFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--authorized-key: %v", err)
		}
		keys, err := fakessh.ParseAuthorizedKeys(text)
		if err != nil {
			return nil, fmt.Errorf("--authorized-key: %s: %v", file, err)
		}
		user.AuthorizedKeys = append(user.AuthorizedKeys, keys...)
	}
	return map[string]fakessh.User{c.user: user}, nil
}

// serve runs the host until the context ends.
func serve(ctx context.Context, c config, stdout, stderr io.Writer) (err error) {
	opts, err := c.options()
	if err != nil {
		return err
	}
	faults := faultsFile{name: c.faults}
	if c.faults != "" {
		if opts.Faults, err = faults.read(); err != nil {
			return fmt.Errorf("--faults: %w", err)
		}
	}
	host, err := fakessh.Listen(opts)
	if err != nil {
		return failure{err}
	}
	defer closing(host, &err)
	var peer *wgpeer.Peer
	if c.wireguard {
		if peer, err = wgpeer.Listen(wgpeer.Options{}); err != nil {
			return failure{err}
		}
		defer closing(peer, &err)
	}
	if err := c.writeProfiles(host, peer); err != nil {
		return failure{err}
	}
	if err := c.announce(host, peer, stdout); err != nil {
		return failure{err}
	}
	if c.faults == "" {
		<-ctx.Done()
		return nil
	}
	hangup := make(chan os.Signal, 1)
	notifyHangup(hangup)
	defer signal.Stop(hangup)
	faults.follow(ctx, host, hangup, stderr)
	return nil
}

// closing closes what was started and reports its failure unless there is one already.
func closing(started io.Closer, err *error) {
	if failed := started.Close(); failed != nil && *err == nil {
		*err = failure{failed}
	}
}

func (c config) writeProfiles(host *fakessh.Host, peer *wgpeer.Peer) error {
	switch {
	case c.profileDir == "":
		return nil
	case peer != nil:
		return peer.WriteProfile(c.profileDir, c.profileID, host, c.localRoots...)
	case c.profiles == 1:
		return host.WriteProfile(c.profileDir, c.profileID, c.localRoots...)
	}
	_, err := host.WriteProfiles(c.profileDir, c.profileID, c.profiles, c.localRoots...)
	return err
}

// announce prints how to reach the host.
func (c config) announce(host *fakessh.Host, peer *wgpeer.Peer, stdout io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "addr=%s\n", host.Addr())
	fmt.Fprintf(&b, "host_key=%s\n", host.HostKeyLine())
	fmt.Fprintf(&b, "known_hosts=%s\n", host.KnownHostsLine())
	if c.profileDir != "" {
		fmt.Fprintf(&b, "profiles=%s\n", filepath.Join(c.profileDir, "profiles"))
		fmt.Fprintf(&b, "secrets=%s\n", filepath.Join(c.profileDir, "secrets"))
	}
	if peer != nil {
		fmt.Fprintf(&b, "wireguard=%s\n", peer.Endpoint())
		fmt.Fprintf(&b, "inside=%s\n", peer.Host.Addr())
		fmt.Fprintf(&b, "echo=%s\n", peer.EchoAddr())
	}
	_, err := io.WriteString(stdout, b.String())
	return err
}
