//go:build realssh && linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"golang.org/x/sys/unix"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// outsideText is what lies outside of both roots: it must neither come in nor change.
const outsideText = "outside"

// twoRoots are a folder of this machine and one of a real host, each with in/, which the profile admits, beside out/. Who logs in there may read and write
// all of the host's; the server here may anyway.
type twoRoots struct {
	session   *mcp.ClientSession
	near, far string
	before    map[string]map[string]string // what the folders outside hold, see treeList
	folders   bool                         // their times may have changed
}

func newTwoRoots(t *testing.T) *twoRoots {
	s := startSSHD(t, "MaxSessions 100", "MaxStartups 100")
	w := &twoRoots{near: filepath.Join(s.dir, "near"), far: remoteDir(t), before: map[string]map[string]string{}}
	for _, dir := range []string{w.near, w.far} {
		w.fill(t, dir)
		for _, name := range []string{"out", "inside"} {
			w.before[filepath.Join(dir, name)] = treeList(t, filepath.Join(dir, name))
		}
	}
	command(t, "chown", "-R", "-h", testUser, w.far)
	s.profile(t, "real", map[string]any{"protocols": []string{"ssh", "sftp", "rsync"}, "policy": map[string]any{
		"max_concurrent_sessions": 100, "local_roots": []string{filepath.Join(w.near, "in")}, "remote_roots": []string{w.far + "/in"},
	}})
	w.session = s.session(t)
	return w
}

// fill makes in/ and out/, with links of every kind that lead from the one to the other.
func (w *twoRoots) fill(t *testing.T, dir string) {
	t.Helper()
	for name, text := range map[string]string{"in/file": "inside", "in/tree/sub/file": "inside", "in/plain/file": "inside", "out/file": outsideText, "out/sub/file": outsideText, "inside/file": outsideText} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		write(t, filepath.Join(dir, name), text, 0o644)
	}
	for link, target := range map[string]string{
		"in/up": "..", "in/far": dir + "/out", "in/farfile": dir + "/out/file", "in/near": "../out", "in/nearfile": "../out/file", "in/loop": "loop", "in/chain": "near", "in/dangling": "../out/new",
		"in/tree/far": "../../out", "in/tree/farfile": dir + "/out/file", "in/ghost": "missing/../../out", "in/root": "/proc/self/root" + dir + "/out",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
}

// unharmed fails where something outside has changed, or has come in.
func (w *twoRoots) unharmed(t *testing.T, after string) {
	t.Helper()
	for dir, want := range w.before {
		got := treeList(t, dir)
		for name, what := range got {
			if mode, _, _ := strings.Cut(want[name], " "); w.folders && strings.HasPrefix(what, "d") && strings.HasPrefix(what, mode+" ") {
				got[name] = want[name]
			}
		}
		sameTrees(t, after+": outside, "+dir, got, want)
	}
	for _, dir := range []string{w.near, w.far} {
		names, err := os.ReadDir(dir)
		must(t, err)
		if len(names) != 3 { // in, inside and out
			t.Errorf("%s: %s holds %v", after, dir, names)
		}
		must(t, filepath.WalkDir(filepath.Join(dir, "in"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // what the calls and the swaps remove meanwhile
			}
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), outsideText) {
				t.Errorf("%s: %s holds %q", after, path, text)
			}
			return nil
		}))
	}
}

// ways out of dir/in, as paths under in/ or near it. The same are tried on both sides.
func waysOut(dir string) (paths []string) {
	for _, name := range []string{
		"out", "in/../out", "in/./../out", "in/tree/../../out", "in//..//out/", "in/..", "in/up/out", "in/far", "in/near", "in/chain", "in/tree/far", "in/up/up/out", "in/loop", "in/dangling", "in/ghost/sub", "in/root", "inside",
		"in/near/sub/..", "in/far/../out", "in/" + strings.Repeat("a/../", 500) + "../out", "in/tree/" + strings.Repeat("../", 40) + dir + "/out", "in/" + strings.Repeat("a", 300), "in/" + strings.Repeat("a/", 3000),
		"in/\x00", "in/\x00/../../out", "in/tree\x00/../../out", "in/\xc0\xae\xc0\xae/out", "in/\xff", "in/\uff0e\uff0e/out", "in/\u2025/out", "in/..\u2215out", "in/\u202e/../../out", `in/..\out`, "in/%2e%2e/out", "in/..%2fout", "in/.. /out", "in/ ../out", "in/.../out",
		"in/\n../out", "IN/../out", "in/*/../../ou[t]", "in/../ou?", "in/[.][.]/out", "in/{..,x}/out", "in/..;/out", "in/$(cp ../out/file .)", "in/`cp ../out/file .`", "in/'; cp ../out/file in; '", "in/-e sh", "in/--rsync-path=sh", "in/host:out", "in/::module",
	} {
		paths = append(paths, dir+"/"+name)
	}
	return append(paths, "/proc/self/root"+dir+"/out", "/proc/self/cwd/../"+dir+"/out", "//"+dir+"/out", "file://"+dir+"/out", "host:"+dir+"/out", "rsync://localhost"+dir+"/out", strings.Repeat("../", 40)+dir+"/out", "~/../../"+dir+"/out", "-e"+dir+"/out", "")
}

// attempt makes a call with a folder of this machine and one of the host, which may fail or do something harmless.
func (w *twoRoots) attempt(t *testing.T, tool, direction, near, far string, more map[string]any) (done bool) {
	t.Helper()
	a := map[string]any{"profile_id": "real", "direction": direction, "local_path": near, "remote_path": far}
	maps.Copy(a, more)
	return call[server.TransferData](t.Context(), t, w.session, tool, a).Success
}

// TestRealEscapes tries every way out, on this machine and on a real host, both ways with both tools, of which one runs the installed rsync: nothing
// outside is read or changed.
func TestRealEscapes(t *testing.T) {
	w := newTwoRoots(t)
	rsync := map[string]any{"engine": "rsync", "dry_run": false}
	near, far := waysOut(w.near), waysOut(w.far)
	attempts := 0
	for i := range near {
		for _, side := range []struct{ near, far string }{{near[i], w.far + "/in/got"}, {w.near + "/in/plain", far[i]}} {
			for tool, more := range map[string]map[string]any{"rsync_sync": rsync, "sftp_transfer": {"recursive": true}} {
				up, down := "upload", "download"
				if tool == "rsync_sync" {
					up, down = "push", "pull"
				}
				w.attempt(t, tool, up, side.near, side.far, more)
				w.attempt(t, tool, down, side.near, side.far, more)
				attempts += 2
			}
			w.attempt(t, "sftp_transfer", "upload", side.near+"/file", side.far, nil)
			w.attempt(t, "sftp_transfer", "download", side.near, side.far+"/file", nil)
			attempts += 2
		}
		w.unharmed(t, fmt.Sprintf("%q and %q", near[i], far[i]))
	}
	t.Logf("%d paths of this machine and %d of the host, %d attempts", len(near), len(far), attempts)
	if len(near) < 60 {
		t.Errorf("%d ways out, want at least 60", len(near))
	}
	if !w.attempt(t, "rsync_sync", "push", w.near+"/in/plain", w.far+"/in/again", rsync) || !w.attempt(t, "sftp_transfer", "download", w.near+"/in/again", w.far+"/in/file", nil) {
		t.Error("what is admitted does not work")
	}
}

// TestRealLinksInTrees moves trees that hold links where the other side has folders, and the other way round: none is followed, and none that leads out is
// made on the host.
func TestRealLinksInTrees(t *testing.T) {
	w := newTwoRoots(t)
	for _, engine := range []string{"rsync", "sftp"} {
		sync := map[string]any{"engine": engine, "dry_run": false}
		for _, dir := range []string{w.near, w.far} { // here sub is a folder, there a link
			name := filepath.Join(dir, "in", engine)
			must(t, os.MkdirAll(filepath.Join(name, "sub"), 0o755))
			write(t, filepath.Join(name, "sub/new"), "inside", 0o644)
			must(t, os.MkdirAll(filepath.Join(name, "linked"), 0o755))
			must(t, os.Symlink("../../out", filepath.Join(name, "linked/sub")))
			must(t, os.Symlink(dir+"/out/file", filepath.Join(name, "linked/new")))
			must(t, os.Symlink("sub/../../../out", filepath.Join(name, "linked/back")))
			command(t, "chown", "-R", "-h", testUser, name)
		}
		here, there := filepath.Join(w.near, "in", engine), filepath.Join(w.far, "in", engine)
		w.attempt(t, "rsync_sync", "push", here, there+"/linked", sync)
		w.attempt(t, "rsync_sync", "pull", here+"/linked", there, sync)
		w.unharmed(t, engine+": folders over links")
		if w.attempt(t, "rsync_sync", "push", here+"/linked", there+"/made", sync) && engine == "sftp" {
			t.Error("links that lead out are pushed without a word")
		}
		w.attempt(t, "sftp_transfer", "upload", here+"/linked", there+"/uploaded", map[string]any{"recursive": true})
		for _, dir := range []string{"made", "uploaded"} {
			for name, what := range treeList(t, filepath.Join(there, dir)) {
				target, ok := strings.CutPrefix(what, "-> ")
				if ok && !filepath.IsAbs(target) {
					target = filepath.Join(there, dir, filepath.Dir(name), target)
				}
				if ok && !strings.HasPrefix(target, w.far+"/in/") {
					t.Errorf("%s: the host has the link %s/%s %s", engine, dir, name, what)
				}
			}
		}
		w.attempt(t, "rsync_sync", "pull", here+"/pulled", there+"/linked", sync)
		w.attempt(t, "rsync_sync", "push", here+"/pulled", there, sync)
		w.unharmed(t, engine+": links")
	}
}

// swap exchanges a folder for a link that leads out and back, in one step each time, until stop, and returns how often. Whoever holds still sees no
// exchange. What is pulled over the door may put a folder in the link's place: for a moment neither is there, and the link is made anew.
func swap(t *testing.T, door, target string, still *sync.Mutex, stop <-chan struct{}) (swaps int) {
	other := door + ".other"
	isLink := func(name string) bool {
		info, err := os.Lstat(name)
		return err == nil && info.Mode()&os.ModeSymlink != 0
	}
	exchange := func() error {
		still.Lock()
		defer still.Unlock()
		if !isLink(door) && !isLink(other) {
			if err := errors.Join(os.RemoveAll(other), os.Symlink(target, other)); err != nil {
				return err
			}
		}
		return unix.Renameat2(unix.AT_FDCWD, door, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
	}
	for {
		select {
		case <-stop:
			return swaps
		default:
		}
		switch err := exchange(); {
		case err == nil:
			swaps++
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY): // nor one that a call still fills
			t.Errorf("swap %s: %v", door, err)
			return swaps
		}
	}
}

// TestRealLinksMadeDuringTheCall swaps folders of this machine for links that lead out, again and again, while transfers name them or pass through them.
// Of what is outside, rsync can set nothing but the times of folders, see docs/policy.md.
func TestRealLinksMadeDuringTheCall(t *testing.T) {
	w := newTwoRoots(t)
	w.folders = true
	doors := []string{filepath.Join(w.near, "in/door"), filepath.Join(w.near, "in/plain/door")}
	stop := make(chan struct{})
	var still sync.Mutex
	var swapping sync.WaitGroup
	var swaps [2]int
	defer func() {
		close(stop)
		swapping.Wait()
		t.Logf("%d swaps", swaps)
		if min(swaps[0], swaps[1]) < 1000 {
			t.Error("too few swaps to tell anything")
		}
	}()
	for i, door := range doors {
		must(t, os.MkdirAll(door, 0o755))
		for i := range 10 {
			write(t, filepath.Join(door, fmt.Sprint("file", i)), "inside", 0o644)
		}
		swapping.Go(func() { swaps[i] = swap(t, door, filepath.Join(w.near, "out"), &still, stop) })
	}
	filled := filepath.Join(w.far, "in/filled") // what the host has for out/, should it be reached
	for _, name := range []string{"file", "file1", "new", "sub/file", "door/file", "door/file1", "door/new", "door/sub/new"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(filled, name)), 0o755))
		write(t, filepath.Join(filled, name), "inside, and changed", 0o600)
	}
	command(t, "chown", "-R", testUser, filled)
	attempts, done := 0, 0
	for i := range 12 {
		for _, near := range []string{doors[0], filepath.Dir(doors[1]), doors[1]} {
			to := fmt.Sprintf("%s/in/swapped-%d", w.far, i)
			for _, a := range []struct {
				tool, direction, near, far string
				more                       map[string]any
			}{
				{"rsync_sync", "push", near, to, map[string]any{"engine": "rsync", "dry_run": false}},
				{"rsync_sync", "pull", near, filled, map[string]any{"engine": "rsync", "dry_run": false}},
				{"rsync_sync", "push", near, to, map[string]any{"engine": "sftp", "dry_run": false}},
				{"rsync_sync", "pull", near, filled, map[string]any{"engine": "sftp", "dry_run": false}},
				{"sftp_transfer", "upload", near, to, map[string]any{"recursive": true}},
				{"sftp_transfer", "download", near, filled, map[string]any{"recursive": true}},
				{"sftp_transfer", "upload", doors[1] + "/file", to + "-file", nil},
				{"sftp_transfer", "download", doors[0] + "/file", filled + "/file", nil},
			} {
				attempts++
				if w.attempt(t, a.tool, a.direction, a.near, a.far, a.more) {
					done++
				}
			}
		}
		still.Lock()
		w.unharmed(t, fmt.Sprint("round ", i))
		still.Unlock()
	}
	t.Logf("%d attempts, of which %d went through", attempts, done)
}

// TestRealLinksOfOtherCalls has one caller push a tree in which a folder is a link that leads out, and one in which it is none, again and again, while
// another reads and writes through it: what transfers can make on the host opens no way out of it.
func TestRealLinksOfOtherCalls(t *testing.T) {
	w := newTwoRoots(t)
	for name, put := range map[string]func(door string) error{
		"folder": func(door string) error { return os.MkdirAll(door+"/sub", 0o755) },
		"link":   func(door string) error { return os.Symlink(w.far+"/out", door) },
		"upward": func(door string) error { return os.Symlink("../../out", door) },
	} {
		must(t, os.MkdirAll(filepath.Join(w.near, "in", name), 0o755))
		must(t, put(filepath.Join(w.near, "in", name, "door")))
	}
	stop := make(chan struct{})
	var pushing sync.WaitGroup
	defer pushing.Wait()
	defer close(stop)
	pushing.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				engine := []string{"sftp", "rsync"}[i/3%2]
				w.attempt(t, "rsync_sync", "push", filepath.Join(w.near, "in", []string{"folder", "link", "upward"}[i%3]), w.far+"/in/shared", map[string]any{"engine": engine, "dry_run": false})
			}
		}
	})
	for i := range 40 {
		got := filepath.Join(w.near, "in", fmt.Sprint("got", i))
		w.attempt(t, "sftp_transfer", "download", got, w.far+"/in/shared/door/file", nil)
		w.attempt(t, "sftp_transfer", "upload", w.near+"/in/file", w.far+"/in/shared/door/file", nil)
		w.attempt(t, "rsync_sync", "pull", got+"-tree", w.far+"/in/shared/door", map[string]any{"engine": []string{"sftp", "rsync"}[i%2], "dry_run": false})
		w.attempt(t, "rsync_sync", "push", w.near+"/in/plain", w.far+"/in/shared/door", map[string]any{"engine": []string{"rsync", "sftp"}[i%2], "dry_run": false})
		w.unharmed(t, fmt.Sprint("round ", i))
	}
}
