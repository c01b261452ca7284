//go:build realssh

package remote

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// The suite of the engines runs over the installed rsync, too.
func init() {
	syncEngines = append(syncEngines, struct {
		name  string
		start func(t testing.TB, opts fakessh.Options) *syncFixture
	}{EngineRsync, startRsyncSync})
}

func startRsyncSync(t testing.TB, opts fakessh.Options) *syncFixture {
	opts.Rsync = true
	f := start(t, opts)
	return &syncFixture{f, EngineRsync, osSite{filepath.Join(f.dir, "near")}, osSite{filepath.Join(f.host.RsyncDir(), "far")}, "/rsync/far"}
}

// TestRsyncMissingOnHost changes nothing on either side.
func TestRsyncMissingOnHost(t *testing.T) {
	for _, way := range []Direction{Upload, Download} {
		f := startSFTPSync(t, noFaults())
		f.engine = EngineRsync
		src, dst := f.ends(way)
		put(t, src, many(3))
		y := f.open(t, toward(way))
		_, planErr := y.Plan(t.Context())
		_, err := y.Apply(t.Context(), nil)
		for _, err := range []error{planErr, err} {
			wantKind(t, err, Refused)
			if !strings.Contains(fmt.Sprint(err), "the host has no rsync: install its package rsync there") {
				t.Error(err)
			}
		}
		if got := read(t, dst); got != nil {
			t.Errorf("%s made %v", way, got)
		}
	}
}

// TestRsyncPaths syncs to and from directories whose names mean something to shells or to rsync.
func TestRsyncPaths(t *testing.T) {
	f := startRsyncSync(t, fakessh.Options{Home: "/rsync"})
	tree := files{".": dir(), "f": file("x")}
	if err := os.MkdirAll(f.host.RsyncDir()+"/star", 0o755); err != nil { // what st*r? must not be
		t.Fatal(err)
	}
	for _, remote := range []string{
		"--delete", "::x", "host:x", "~root", "*", "st*r?", "/rsync/deep/[x]/a*b", `/rsync/back\*`, `/rsync/back\slash`,
		"/rsync/sp ace quo\"te's new\nline $(touch x) `id` a;b|c&d ünï",
	} {
		f.remote = remote
		if err := f.near.remove("."); err != nil {
			t.Fatal(err)
		}
		put(t, f.near, tree)
		f.run(t, toward(Upload))
		far := osSite{filepath.Join(f.host.RsyncDir(), strings.TrimPrefix(remote, "/rsync/"))}
		same(t, read(t, far), tree)
		if err := f.near.remove("."); err != nil {
			t.Fatal(err)
		}
		f.run(t, toward(Download))
		same(t, read(t, f.near), tree)
		if err := far.remove("."); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			t.Fatalf("%q", remote)
		}
	}
	left := read(t, osSite{f.host.RsyncDir()})
	maps.DeleteFunc(left, func(_ string, n node) bool { return n.mode.IsDir() })
	if len(left) > 0 {
		t.Errorf("made elsewhere: %v", left)
	}
}

// processes returns those of rsync below this one whose command line holds a word, or does not.
func processes(t *testing.T, word string, holds bool) (pids []int) {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-o", "pid=,ppid=,args=").Output()
	if err != nil {
		t.Fatal(err)
	}
	parents, lines := map[int]int{}, map[int]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pid, _ := strconv.Atoi(fields[0])
		parents[pid], _ = strconv.Atoi(fields[1])
		lines[pid] = strings.Join(fields[2:], " ")
	}
	for pid, line := range lines {
		mine := false
		for up := pid; up > 1 && !mine; up = parents[up] {
			mine = parents[up] == os.Getpid()
		}
		if mine && path.Base(strings.Fields(line)[0]) == "rsync" && strings.Contains(line, word) == holds {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestRsyncKilled kills one of the two programs in the middle of a sync.
func TestRsyncKilled(t *testing.T) {
	for _, tc := range []struct {
		name   string
		remote bool
		words  string
	}{{"local", false, "local rsync was ended by a signal"}, {"remote", true, "a signal ended rsync"}} {
		for _, way := range []Direction{Upload, Download} {
			t.Run(tc.name+"/"+string(way), func(t *testing.T) {
				f := startRsyncSync(t, noFaults())
				src, dst := f.ends(way)
				tree := many(300)
				put(t, src, tree)
				y := f.open(t, with(toward(way), func(s *Sync) {
					s.BandwidthKBps = 50
					s.Progress = after(1, func() {
						for _, pid := range processes(t, "--server", tc.remote) {
							_ = syscall.Kill(pid, syscall.SIGKILL)
						}
					})
				}))
				start := time.Now()
				stats, err := y.Apply(t.Context(), nil)
				took := time.Since(start)
				wantKind(t, err, Unknown)
				if !strings.Contains(fmt.Sprint(err), tc.words) || stats.FilesTransferred >= 300 || took > 20*time.Second {
					t.Errorf("%d files in %v, %v", stats.FilesTransferred, took, err)
				}
				got := read(t, dst)
				for _, c := range stats.Changes {
					if g, want := got[c.Path], tree[c.Path]; g != want {
						t.Errorf("%q is confirmed, and is %v instead of %v", c.Path, g, want)
					}
				}
				f.run(t, toward(way))
				waitUntil(t, "no rsync is left", func() bool { return len(processes(t, "", true)) == 0 })
			})
		}
	}
}

// TestRsyncLeavesNothing looks for processes, sockets and sessions after a sync that was stopped.
func TestRsyncLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	f := startRsyncSync(t, noFaults())
	put(t, f.near, files{".": dir(), "big": file(string(random(4 << 20)))})
	ctx, cancel := context.WithCancel(t.Context())
	y := f.open(t, with(toward(Upload), func(s *Sync) {
		s.BandwidthKBps = 200
		s.Progress = after(1, cancel)
	}))
	start := time.Now()
	_, err := y.Apply(ctx, nil)
	wantKind(t, err, Stopped)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v to stop", took)
	}
	waitUntil(t, "no rsync is left", func() bool { return len(processes(t, "", true)) == 0 })
	waitUntil(t, "no session is left", func() bool { return f.pool.Stats().Leased == 0 })
	same(t, read(t, f.far), files{".": node{dir().mode, "", 0, true}})
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "rsync-shell-*")); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
}

// TestRsyncGuessesWrong has another command line foretold than rsync wants.
func TestRsyncGuessesWrong(t *testing.T) {
	f := startRsyncSync(t, noFaults())
	put(t, f.near, many(5))
	y := f.open(t, toward(Upload))
	e := y.engine.(*rsyncEngine)
	e.program.learn(e.kind(rsyncOptions{}), []string{"rsync", "--server", "-nslr", ".", "/rsync"})
	if _, err := y.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	same(t, read(t, f.far), many(5))
}

// TestRsyncDelta sends of a large file only what has changed.
func TestRsyncDelta(t *testing.T) {
	for _, way := range []Direction{Upload, Download} {
		f := startRsyncSync(t, noFaults())
		f.engine = EngineAuto
		src, dst := f.ends(way)
		data := random(16 << 20)
		put(t, dst, files{".": dir(), "big": {0o600, string(data), epoch - 5, false}})
		copy(data[8<<20:], "changed")
		put(t, src, files{".": dir(), "big": file(string(data))})
		y := f.open(t, toward(way))
		stats, err := y.Apply(t.Context(), nil)
		if err != nil || y.Engine() != EngineRsync || stats.FilesTransferred != 1 || stats.BytesTransferred == 0 || stats.BytesTransferred > 64<<10 {
			t.Errorf("%s by %s: %+v, %v", way, y.Engine(), stats, err)
		}
		same(t, read(t, dst), read(t, src))
	}
}
