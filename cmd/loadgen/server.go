package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

const serverName = "openaccess-mcp"

// limits are the values of --server, and the kinds of driver, that measure something else than the server as its clients start it. Such
// figures are never graded.
var limits = map[string]bool{"inprocess": true, "raw-ssh": true, "mcp-noop": true, "mcp-library": true}

// serverChoice is what to measure: a program to start, a URL, the server package in this process, or one of the limits.
type serverChoice struct {
	path     string // of the program, absolute; empty for the others
	url      string
	driver   loadgen.ArmDriver // what arms without a driver of their own take
	wire     string            // of servers that are started: "stdio" or "http"
	config   serverConfig
	target   *target
	work     *workspace
	process  serverProcess
	profiles *profiles // nil for none
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

// serverFlags are the flags that say what is driven and how.
func (o *runOptions) serverFlags(f *pflag.FlagSet) {
	f.StringVar(&o.server, "server", "", "what to measure: PATH, URL, inprocess, or the limits raw-ssh, mcp-noop and mcp-library (default openaccess-mcp beside loadgen or on PATH)")
	f.StringVar(&o.transport, "transport", "stdio", "how to speak to a server that is started: stdio or http")
	f.StringVar(&o.driver.Protocol, "protocol", "", "MCP `VERSION` to speak: "+driver.ProtocolStateful+" or "+driver.ProtocolStateless)
	f.StringVar(&o.driver.Sessions, "sessions", "", "MCP sessions: shared (as stdio has it), per-vu (as http has it) or per-call")
}

// checkServer finds mistakes in them.
func (o *runOptions) checkServer() error {
	if o.transport != "stdio" && o.transport != "http" {
		return usage("--transport %q is not known: use stdio or http", o.transport)
	}
	if err := checkDriver(o.driver); err != nil {
		return usage("--%w", err)
	}
	if o.server != "inprocess" && o.server != "raw-ssh" {
		return nil
	}
	for _, flag := range []string{"transport", "protocol", "sessions"} {
		if o.overrides.changed(flag) {
			return usage("--%s means nothing to --server %s: drop it", flag, o.server)
		}
	}
	return nil
}

// checkDriver judges a driver's fields one by one.
func checkDriver(d loadgen.ArmDriver) error {
	known := func(name, value string, values []string) error {
		if value == "" || slices.Contains(values, value) {
			return nil
		}
		return fmt.Errorf("%s %q is not known: use one of %s", name, value, strings.Join(values, ", "))
	}
	return cmp.Or(
		known("kind", d.Kind, loadgen.DriverKinds),
		known("protocol", d.Protocol, loadgen.Protocols),
		known("transport", d.Transport, loadgen.Transports),
		known("sessions", d.Sessions, loadgen.SessionUses))
}

func newServerChoice(o *runOptions, work *workspace, tgt *target) (*serverChoice, error) {
	s := &serverChoice{driver: o.driver, wire: o.transport, target: tgt, work: work}
	var err error
	if s.config, err = readServerConfig(o.serverConfig); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	switch {
	case isURL(o.server):
		s.url, s.driver.Kind = o.server, "http"
	case limits[o.server]:
		s.driver.Kind = o.server
	default:
		s.driver.Kind = o.transport
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

// fit leaves out the arms of a plan that the server cannot take: one at a URL keeps the configuration it has. Arms that nothing could
// take are an error.
func (s *serverChoice) fit(p *loadgen.Plan, notes io.Writer) (*loadgen.Plan, error) {
	fitted := *p
	fitted.Arms = nil
	for _, a := range p.Arms {
		d, err := s.driverOf(a)
		if err != nil {
			return nil, usage("scenario %s: arm %s: %w", p.Name, a.Name, err)
		}
		if s.url != "" && d.Kind == "http" && a.ServerConfig != nil {
			fmt.Fprintf(notes, "loadgen: %s: arm %s is left out: it configures the server, and %s runs already\n", p.Name, a.Name, s.url)
			continue
		}
		fitted.Arms = append(fitted.Arms, a)
	}
	keepComparable(&fitted, p)
	first := loadgen.Arm{}
	switch {
	case len(fitted.Arms) > 0:
		first = fitted.Arms[0]
	case len(p.Arms) > 0:
		return nil, usage("scenario %s has no arm left that the server at %s can take: let loadgen start the server", p.Name, s.url)
	}
	d, err := s.driverOf(first)
	if err != nil {
		return nil, usage("%w", err)
	}
	if limits[d.Kind] {
		fitted.Target = nil
	}
	return &fitted, nil
}

// keepComparable leaves out the comparisons whose arms are not all there any more.
func keepComparable(p, before *loadgen.Plan) {
	if len(p.Arms) < len(before.Arms) {
		p.Compare = slices.DeleteFunc(slices.Clone(p.Compare), func(c loadgen.Comparison) bool { return c.ComparesMissing(before.Arms[0].Name, p.Arms) })
	}
}

// driverOf is the driver of an arm: its own, and where it says nothing the run's.
func (s *serverChoice) driverOf(arm loadgen.Arm) (loadgen.ArmDriver, error) {
	d := s.driver
	if arm.Driver != nil {
		d = *arm.Driver
		d.Kind = cmp.Or(d.Kind, s.driver.Kind)
		if d.Kind != "inprocess" && d.Kind != "raw-ssh" {
			d.Protocol, d.Sessions = cmp.Or(d.Protocol, s.driver.Protocol), cmp.Or(d.Sessions, s.driver.Sessions)
		}
	}
	return d, cmp.Or(checkDriver(d), s.possible(d, arm.ServerConfig != nil))
}

// possible finds what a driver cannot do.
func (s *serverChoice) possible(d loadgen.ArmDriver, configures bool) error {
	speaks, noop := d.Kind == "stdio" || d.Kind == "http", isNoop(d.Kind)
	switch {
	case speaks && s.url != "" && d.Kind == "stdio":
		return fmt.Errorf("driver stdio starts the server, and the one at %s runs already: use kind http, or let loadgen start the server", s.url)
	case speaks && s.url == "" && s.path == "":
		return fmt.Errorf("driver %s needs a server program: name it with --server PATH, not %s", d.Kind, s.driver.Kind)
	case d.Kind == "inprocess" && s.url != "", d.Kind == "raw-ssh" && s.target.profileDir == "":
		return fmt.Errorf("driver %s needs the target's profiles, which the server at %s keeps to itself: give --target DIR, or let loadgen start the server", d.Kind, s.url)
	case !noop && d.Transport != "":
		return fmt.Errorf("driver %s has no transport to choose: drop it", d.Kind)
	case d.Kind != "raw-ssh" && d.Connections != 0:
		return fmt.Errorf("driver %s has no connections to count: drop it", d.Kind)
	case (d.Kind == "raw-ssh" || noop) && configures:
		return fmt.Errorf("driver %s has no server that server_config could configure: drop one", d.Kind)
	case speaks || noop:
		return nil
	}
	for name, set := range map[string]bool{"protocol": d.Protocol != "", "sessions": d.Sessions != "", "read_rate": d.ReadRate != 0} {
		if set {
			return fmt.Errorf("driver %s has no %s: drop it", d.Kind, name)
		}
	}
	return nil
}

// open is a loadgen.Opener.
func (s *serverChoice) open(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
	d, err := s.driverOf(arm)
	if err != nil {
		return nil, &exitError{exitUsage, err}
	}
	client := driver.Client{Protocol: d.Protocol, Sessions: d.Sessions, ReadRate: d.ReadRate}
	switch {
	case d.Kind == "raw-ssh":
		return s.openRawSSH(ctx, d.Connections)
	case isNoop(d.Kind):
		client.Kind = d.Kind
		return s.openNoop(ctx, cmp.Or(d.Transport, s.wire), client)
	case d.Kind == "http" && s.url != "":
		d, err := driver.HTTP(ctx, driver.HTTPConfig{Client: client, URL: s.url})
		if err != nil {
			return nil, err
		}
		return s.profiles.ofRunning(ctx, d, s.url)
	}
	config, err := s.config.forArm(arm, s.work.dir)
	if err != nil {
		return nil, err
	}
	if d.Kind == "inprocess" {
		return s.openInProcess(ctx, config)
	}
	args := []string{"serve", "--profiles", s.target.profileDir}
	if s.target.secretDir != "" {
		args = append(args, "--secrets", s.target.secretDir)
	}
	if config != "" {
		args = append(args, "--config", config)
	}
	child := driver.ChildConfig{Client: client, Path: s.path, Args: args, Dir: s.work.files, Env: s.environment()}
	return s.profiles.ofStarted(d.Kind, child, func(child driver.ChildConfig) (loadgen.Driver, error) { return s.start(ctx, d.Kind, child) })
}

// environment keeps the server's record of a run's calls apart from that of the user's own server, unless the configuration says where it is.
// A variable does not trouble a server that knows none.
func (s *serverChoice) environment() []string {
	if audit, _ := s.config.values["audit"].(map[string]any); audit["path"] != nil {
		return nil
	}
	return []string{"OPENACCESS_AUDIT_PATH=" + filepath.Join(s.work.dir, "audit.db")}
}

// start starts a server that takes --transport.
func (s *serverChoice) start(ctx context.Context, transport string, child driver.ChildConfig) (loadgen.Driver, error) {
	start := driver.Stdio
	if transport == "http" {
		child.Args = append(child.Args, "--transport", "http", "--listen", "127.0.0.1:0")
		start = driver.HTTPChild
	}
	d, err := start(ctx, child)
	if err != nil {
		return nil, err
	}
	return s.process.watch(d), nil
}

// isNoop reports whether a kind of driver is of a server that does nothing.
func isNoop(kind string) bool { return kind == "mcp-noop" || kind == "mcp-library" }

// openNoop starts this program again as the server that does nothing.
func (s *serverChoice) openNoop(ctx context.Context, transport string, client driver.Client) (loadgen.Driver, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, harness("cannot start the no-op server: %w", err)
	}
	child := driver.ChildConfig{Client: client, Path: self, Args: []string{noopServerName}, Dir: s.work.files}
	if client.Kind == "mcp-library" {
		child.Args = append(child.Args, "--library")
	}
	return s.start(ctx, transport, child)
}

// openRawSSH connects to every profile of the target.
func (s *serverChoice) openRawSSH(ctx context.Context, connections int) (loadgen.Driver, error) {
	cfg := driver.RawSSHConfig{Connections: connections}
	for _, id := range s.target.profiles {
		t, err := driver.ReadSSHTarget(s.target.profileDir, s.target.secretDir, id)
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		cfg.Targets = append(cfg.Targets, t)
	}
	return driver.RawSSH(ctx, cfg)
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
