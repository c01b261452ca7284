//go:build unix

package remote

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// rsyncOptions is what one run of a sync has of its own.
type rsyncOptions struct {
	dryRun bool
	total  int64 // payload bytes to go, for the progress; 0 is unknown
}

// kind says which options of a run decide the command line for the host.
func (e *rsyncEngine) kind(o rsyncOptions) string {
	return fmt.Sprint(e.sync.Direction, e.sync.Permissions, e.sync.Times, e.sync.Content, o.dryRun, e.safeLinks())
}

// safeLinks says whether no link may be made that leads out of what is pushed: what Bounds.link does for the other engine.
func (e *rsyncEngine) safeLinks() bool {
	return e.sync.Direction == Upload && e.sync.Bounds != nil && len(e.sync.Bounds.Roots) > 0
}

// rsyncHost stands for the host in rsync's arguments, where a path without one would be local.
const rsyncHost = "host"

// rsyncArgs returns the arguments of one run. Nothing of them reaches a shell: with --protect-args, rsync sends paths and patterns over
// its own connection once it stands. All options come first and end with --, and both paths begin with a dot, a slash or the host.
func (e *rsyncEngine) rsyncArgs(at *rsyncPlace, shell string, o rsyncOptions) []string {
	s := &e.sync
	args := []string{
		"--recursive", "--links", "--omit-link-times", "--protect-args", "--rsh=" + shell,
		"--8-bit-output", "--no-human-readable", "--outbuf=L", "--stats", "--out-format=" + itemFormat,
	}
	option := func(set bool, arg string) {
		if set {
			args = append(args, arg)
		}
	}
	option(s.Permissions, "--perms")
	option(s.Times, "--times")
	option(s.Content, "--checksum")
	option(s.BandwidthKBps > 0, "--bwlimit="+strconv.Itoa(s.BandwidthKBps))
	option(o.dryRun, "--dry-run")
	option(o.dryRun && s.Delete, "--delete")
	option(!o.dryRun && s.Progress != nil, "--info=progress2")
	if e.safeLinks() {
		args = append(args, "--safe-links", "--info=name1") // the latter has it tell which
	}
	for _, p := range s.Include {
		args = append(args, "--include="+p)
	}
	for _, p := range s.Exclude {
		args = append(args, "--exclude="+p)
	}
	local, remote := "./"+strings.TrimPrefix(at.name+"/", "./"), rsyncHost+":"+rsyncPath(s.Remote)
	if s.Direction == Upload {
		return append(args, "--", local, remote)
	}
	return append(args, "--", remote, local)
}

// rsyncPath is a directory of the host as the rsync there takes it for its contents. It expands patterns in paths, also in the name of a
// destination, so that what looks like one is escaped. An escaped name that matches nothing stays as it is: makeDestination sees to it that
// this does not become the name of a new directory.
func rsyncPath(dir string) string {
	if !strings.HasPrefix(dir, "/") {
		dir = "./" + dir // else a colon or a tilde in front would mean something
	}
	elems := strings.Split(strings.TrimRight(dir, "/"), "/")
	for i, elem := range elems {
		if isPattern(elem) { // a backslash in any other element is one
			elems[i] = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(elem)
		}
	}
	return strings.Join(elems, "/") + "/"
}

func isPattern(path string) bool { return strings.ContainsAny(path, "*?[") }

// rsyncProgram is the rsync of this machine. It is safe for concurrent use.
type rsyncProgram struct {
	path string

	mu    sync.Mutex
	words map[string][]string // what it runs on the host, by rsyncEngine.kind
}

// foretell returns what the program ran on the host for options of that kind the last time, or nil.
func (p *rsyncProgram) foretell(kind string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.words[kind]
}

func (p *rsyncProgram) learn(kind string, words []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.words[kind] = words
}

// rsyncFound is the local rsync once it has been found good.
var rsyncFound atomic.Pointer[rsyncProgram]

// localRsync finds the rsync of this machine, or says why there is none to use.
func localRsync() (*rsyncProgram, error) {
	if found := rsyncFound.Load(); found != nil {
		return found, nil
	}
	path, err := exec.LookPath("rsync")
	if err != nil {
		return nil, errors.New("the server's machine has no rsync: install its package rsync, or use the engine sftp")
	}
	cmd := exec.Command(path, "--version")
	cmd.Env = rsyncEnviron()
	out, err := cmd.Output()
	if err == nil {
		err = recentRsync(out)
	}
	if err != nil {
		return nil, fmt.Errorf("the rsync of the server's machine (%s) is of no use: %w; install the package rsync, or use the engine sftp", path, err)
	}
	rsyncFound.CompareAndSwap(nil, &rsyncProgram{path: path, words: map[string][]string{}})
	return rsyncFound.Load(), nil
}

// rsyncEnviron is the environment of an rsync here: it holds no secret, and no variable or home directory whose settings would give options
// another meaning.
func rsyncEnviron(more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}, more...)
}

// recentRsync judges what rsync --version prints. Some systems have another program of that name, which knows fewer options.
func recentRsync(version []byte) error {
	var major, minor int
	line, _, _ := strings.Cut(string(version), "\n")
	if _, err := fmt.Sscanf(strings.Replace(line, "version v", "version ", 1), "rsync  version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("it calls itself %q", line)
	}
	if major < 3 || major == 3 && minor < 1 {
		return fmt.Errorf("it is version %d.%d, older than 3.1", major, minor)
	}
	return nil
}

// hasRsync reports whether the host has an rsync of use.
func hasRsync(ctx context.Context, p *pool.Pool, t *profile.Target) bool {
	out, err := Exec(ctx, p, t, Command{Line: "rsync --version", MaxOutput: 4 << 10})
	return err == nil && out.ExitCode == 0 && recentRsync(out.Stdout) == nil
}
