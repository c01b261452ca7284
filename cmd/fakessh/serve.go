package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// config is the flags as given.
type config struct {
	listen         string
	user, password string
	keyFiles       []string
	latency        string
	seed           uint64
	profileDir     string
	profileID      string
	profiles       int
	localRoots     []string
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
func serve(ctx context.Context, c config, stdout io.Writer) (err error) {
	opts, err := c.options()
	if err != nil {
		return err
	}
	host, err := fakessh.Listen(opts)
	if err != nil {
		return failure{err}
	}
	defer func() {
		if closing := host.Close(); closing != nil && err == nil {
			err = failure{closing}
		}
	}()
	if err := c.writeProfiles(host); err != nil {
		return failure{err}
	}
	if err := c.announce(host, stdout); err != nil {
		return failure{err}
	}
	<-ctx.Done()
	return nil
}

func (c config) writeProfiles(host *fakessh.Host) error {
	if c.profileDir == "" {
		return nil
	}
	if c.profiles == 1 {
		return host.WriteProfile(c.profileDir, c.profileID, c.localRoots...)
	}
	_, err := host.WriteProfiles(c.profileDir, c.profileID, c.profiles, c.localRoots...)
	return err
}

// announce prints how to reach the host.
func (c config) announce(host *fakessh.Host, stdout io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "addr=%s\n", host.Addr())
	fmt.Fprintf(&b, "host_key=%s\n", host.HostKeyLine())
	fmt.Fprintf(&b, "known_hosts=%s\n", host.KnownHostsLine())
	if c.profileDir != "" {
		fmt.Fprintf(&b, "profiles=%s\n", filepath.Join(c.profileDir, "profiles"))
		fmt.Fprintf(&b, "secrets=%s\n", filepath.Join(c.profileDir, "secrets"))
	}
	_, err := io.WriteString(stdout, b.String())
	return err
}
