package server

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// secretText is what lies outside of every root and must come neither in nor out.
const secretText = "outside"

// escapes makes a fixture whose profile bounds both sides: this machine to in/ beside out/, the host to /in beside /out.
func escapes(t *testing.T) *fixture {
	f := start(t, fakessh.Options{}, func(f *fixture) {
		f.profile(t, "fake", func(p map[string]any) {
			p["protocols"] = []string{"ssh", "sftp", "rsync"}
			rules, _ := p["policy"].(map[string]any)
			if rules == nil {
				rules = map[string]any{}
			}
			rules["local_roots"] = []string{filepath.Join(f.dir, "in")}
			rules["remote_roots"] = []string{"/in"}
			rules["remote_denylist"] = []string{`/\.ssh/`, `^/in/denied`}
			p["policy"] = rules
		})
	})
	for _, dir := range []string{"in/tree/sub", "out/sub"} {
		if err := os.MkdirAll(filepath.Join(f.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, filepath.Join(f.dir, "in/file"), "inside")
	mustWrite(t, filepath.Join(f.dir, "in/tree/sub/file"), "inside")
	mustWrite(t, filepath.Join(f.dir, "out/file"), secretText)
	mustWrite(t, filepath.Join(f.dir, "out/sub/file"), secretText)
	for link, target := range map[string]string{
		"in/up": "..", "in/far": filepath.Join(f.dir, "out"), "in/farfile": filepath.Join(f.dir, "out/file"), "in/near": "../out", "in/nearfile": "../out/file",
		"in/loop": "loop", "in/chain": "near", "in/dangling": "../out/new", "in/tree/far": "../../out",
	} {
		if err := os.Symlink(target, filepath.Join(f.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	host := f.host.FS()
	for _, dir := range []string{"/in/tree/sub", "/in/.ssh", "/in/tree/.ssh", "/in/denied", "/out/sub", "/inside"} {
		if err := host.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"/in/file": "inside", "/in/tree/sub/file": "inside", "/in/.ssh/key": secretText, "/in/tree/.ssh/key": secretText, "/in/denied/file": secretText,
		"/out/file": secretText, "/out/sub/file": secretText, "/inside/file": secretText,
	} {
		if err := host.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"/in/up": "..", "/in/far": "/out", "/in/farfile": "/out/file", "/in/near": "../out", "/in/nearfile": "../out/file", "/in/loop": "loop", "/in/chain": "near",
		"/in/dangling": "/out/new", "/in/key": ".ssh/key", "/in/ghost": "missing/../../out", "/in/sub": "/out/sub",
	} {
		if err := host.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// localEscapes are local paths that must not be read or written, below the fixture's folder where they are relative to it.
func localEscapes(dir string) []string {
	at := func(name string) string { return dir + "/" + name }
	return []string{
		at("out/file"), at("in/../out/file"), at("in/./../out/file"), at("in/tree/../../out/file"), at("in//../out//file"), "/etc/passwd", "//etc/passwd", "/", dir, at("in/.."),
		at("in/up/out/file"), at("in/far/file"), at("in/farfile"), at("in/near/file"), at("in/nearfile"), at("in/chain/file"), at("in/tree/far/file"), at("in/up/up/out/file"),
		at("in/loop"), at("in/loop/file"), at("in/file\x00"), at("in/\x00/../../out/file"), "\x00", at("in/file\x00/../../out/file"), at("inside/file"), at("in\u2024\u2024/out/file"), at("in/\u2025/out/file"),
		at("in/%2e%2e/out/file"), at("in/..%2fout/file"), at("in/\xc0\xae\xc0\xae/out/file"), at("in/..\u2215out/file"), at("in/\uff0e\uff0e/out/file"), at(`in/..\out\file`), at("in/" + strings.Repeat("a/../", 2000) + "../out/file"),
		at("in/" + strings.Repeat("a", 5000)), at("in/" + strings.Repeat("a/", 3000)), at("in/tree/" + strings.Repeat("../", 50) + "etc/passwd"), "../../../../../../etc/passwd", "~/x", "file:///etc/passwd", "/proc/self/root/etc/passwd",
		"/proc/self/cwd/go.mod", "/dev/fd/0", at("IN/../out/file"), at("in/\u202e/../../out/file"), at("in/ ../out/file"), at("in/.. /out/file"), at("in/.../out/file"),
	}
}

// remoteEscapes are paths of the host that must not be read or written.
var remoteEscapes = []string{
	"/out/file", "/in/../out/file", "/in/./../out/file", "/in/tree/../../out/file", "/in//..//out/file", "/", "//", "/out", "/inside/file", "/in/..", "/in/tree/..", "../out/file", "..", "out/file", "./out/file", "in/../out/file",
	"/in/up/out/file", "/in/far/file", "/in/farfile", "/in/near/file", "/in/nearfile", "/in/chain/file", "/in/up/up/out/file", "/in/up/in/up/out/file", "/in/loop", "/in/loop/file", "/in/dangling", "/in/ghost/file", "/in/sub/file",
	"/in/.ssh/key", "/in//.ssh//key", "/in/./.ssh/key", "/in/key", "/in/denied/file", "/in/denied", "/in/tree/.ssh/key", "/in/.ssh", "~/file", "~root/file", "~", "/in/\x00", "/in/file\x00", "/in/\x00/../../out/file",
	"/in/\xc0\xae\xc0\xae/out/file", "/in/\xff", "/in/\u2024\u2024/out/file", "/in/\u2025/out/file", "/in/..\u2215out/file", "/in/\uff0e\uff0e\uff0fout", `/in/..\out\file`, `\out\file`, `/in\..\out`, "/in/" + strings.Repeat("a", 5000),
	"/in/" + strings.Repeat("a/", 3000), "/in/" + strings.Repeat("../", 50) + "out/file", "/in/\u202e/x", "/in/\n../out/file", "/in/\r", "/in/\u2028x", "/in\u200b/file", "/IN/file", "/in /file", "/in;/out/file",
}

// TestPathEscapes tries every escape both ways with both tools and both ends: none reads or changes what lies outside.
func TestPathEscapes(t *testing.T) {
	f := escapes(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	attempts := 0
	try := func(tool string, a args) {
		t.Helper()
		attempts++
		a["profile_id"] = "fake"
		if e := c.call(tool, a); e.Success && !f.arrivedInside(a) {
			t.Errorf("%s %+v succeeds: %+v", tool, a, e.Data)
		}
	}
	for _, local := range localEscapes(f.dir) {
		try("sftp_transfer", args{"direction": "upload", "local_path": local, "remote_path": "/in/got"})
		try("sftp_transfer", args{"direction": "download", "local_path": local + "/new", "remote_path": "/in/file"})
		try("rsync_sync", args{"direction": "push", "source": filepath.Dir(local + "x"), "dest": "/in/nowhere/got", "dry_run": false, "engine": "sftp", "include": []any{"nothing"}, "exclude": []any{"*"}, "plan_id": "none"})
		f.unharmed(t)
	}
	for _, remote := range remoteEscapes {
		try("sftp_transfer", args{"direction": "upload", "local_path": filepath.Join(f.dir, "in/file"), "remote_path": remote})
		try("sftp_transfer", args{"direction": "download", "local_path": filepath.Join(f.dir, "in/got"), "remote_path": remote})
		try("sftp_transfer", args{"direction": "upload", "local_path": filepath.Join(f.dir, "in/tree/sub"), "remote_path": remote, "recursive": true})
		try("rsync_sync", args{"direction": "push", "source": filepath.Join(f.dir, "in/tree/sub"), "dest": remote, "dry_run": false})
		f.unharmed(t)
	}
	t.Logf("%d local and %d remote paths, %d attempts", len(localEscapes(f.dir)), len(remoteEscapes), attempts)
	if n := len(localEscapes(f.dir)) + len(remoteEscapes); n < 60 {
		t.Errorf("%d paths, want at least 60", n)
	}
}

// arrivedInside says whether a download went to a file of the local root: a name that only looks like a way out is a name like any other.
func (f *fixture) arrivedInside(a args) bool {
	name, _ := a["local_path"].(string)
	root, err := filepath.EvalSymlinks(filepath.Join(f.dir, "in"))
	if err != nil || a["direction"] != "download" || a["remote_path"] != "/in/file" {
		return false
	}
	real, err := filepath.EvalSymlinks(string([]rune(name))) // as JSON carries what is not UTF-8
	return err == nil && strings.HasPrefix(real, root+string(filepath.Separator))
}

// unharmed finds what an escape would have left: outside files that have changed or come, or their text inside.
func (f *fixture) unharmed(t *testing.T) {
	t.Helper()
	for root, files := range map[string]fs.FS{"this machine": os.DirFS(f.dir), "the host": f.host.FS()} {
		_ = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil
			}
			top, _, _ := strings.Cut(name, "/")
			text, err := fs.ReadFile(files, name)
			outside := top == "out" || root == "the host" && (top == "inside" || strings.Contains(name, ".ssh/") || strings.Contains(name, "denied"))
			if err == nil && (top == "in" || outside) && (string(text) == secretText) != outside {
				t.Errorf("%s has %s with %q", root, name, text)
			}
			return nil
		})
	}
	for _, name := range []string{"out/new", "out/got", "out/sub/got"} {
		if _, err := os.Lstat(filepath.Join(f.dir, name)); err == nil {
			t.Errorf("this machine has %s", name)
		}
	}
	if _, err := f.host.FS().Lstat("out/new"); err == nil {
		t.Error("the host has /out/new")
	}
}

// TestDeniedPathsStayInTrees moves whole folders that hold a denied one, and a link that leads out where a folder is expected.
func TestDeniedPathsStayInTrees(t *testing.T) {
	f := escapes(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	back := filepath.Join(f.dir, "in/back")
	e := c.call("sftp_transfer", args{"profile_id": "fake", "direction": "download", "local_path": back, "remote_path": "/in/tree", "recursive": true})
	e.wantCode(t, CodePolicyViolation, "remote_denylist[0]")
	if _, err := os.Stat(filepath.Join(back, "sub/file")); err != nil {
		t.Error(err)
	}
	synced := filepath.Join(f.dir, "in/synced")
	if e := c.call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "/in/tree", "dest": synced, "dry_run": false}); !e.Success {
		t.Errorf("%+v", e)
	}
	for _, dir := range []string{back, synced} {
		if _, err := os.Lstat(filepath.Join(dir, ".ssh")); err == nil {
			t.Errorf("%s has the denied folder", dir)
		}
	}
	c.call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "/in/tree", "dest": synced, "engine": "rsync"}).wantCode(t, CodeInvalidParameters, "use sftp or auto")
	mine := filepath.Join(f.dir, "in/mine")
	for _, name := range []string{"sub/evil", ".ssh/evil"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(mine, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, filepath.Join(mine, name), "inside")
	}
	c.call("sftp_transfer", args{"profile_id": "fake", "direction": "upload", "local_path": mine, "remote_path": "/in", "recursive": true}).wantCode(t, CodePolicyViolation)
	c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": mine, "dest": "/in", "dry_run": false})
	for _, name := range []string{"out/sub/evil", "in/.ssh/evil"} {
		if _, err := f.host.FS().Lstat(name); err == nil {
			t.Errorf("the host has /%s", name)
		}
	}
	f.unharmed(t)
}

// TestNoLinkThatLeadsOutIsMade pushes links of every kind to the host: those that stay inside are made, those that lead out are refused, since another
// transfer could be led out by them.
func TestNoLinkThatLeadsOutIsMade(t *testing.T) {
	f := escapes(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	links := filepath.Join(f.dir, "in/links")
	if err := os.MkdirAll(filepath.Join(links, "deep/er"), 0o755); err != nil {
		t.Fatal(err)
	}
	inside := map[string]string{"a": "b", "b": "deep", "deep/up": "..", "deep/er/up": "../../deep", "root": "/in/file", "deep/er/tree": "../../../tree", "nothing": "./deep//er/./nothing", "self": "."}
	outside := map[string]string{
		"x": "/out", "y": "../../out/file", "deep/x": "../../../out", "z": "/in/../out", "down": "deep/../../../out", "deep/er/far": "up/../../../../out", "key": "/in/.ssh/key", "near": "../.ssh", "top": "/", "prefix": "/inside/file", "odd": "/in/a\\b",
		"turn": "deep/er/up/../..",
	}
	for _, kind := range []map[string]string{inside, outside} {
		for name, target := range kind {
			if err := os.Symlink(target, filepath.Join(links, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	host := f.host.FS()
	if err := host.Symlink("/in", "/in/tree/sub/short"); err != nil { // behind it, two dots are not what they seem
		t.Fatal(err)
	}
	for to, call := range map[string]func(to string) envelope{
		"/in/uploaded": func(to string) envelope {
			return c.call("sftp_transfer", args{"profile_id": "fake", "direction": "upload", "local_path": links, "remote_path": to, "recursive": true})
		},
		"/in/synced": func(to string) envelope {
			return c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": links, "dest": to, "dry_run": false})
		},
	} {
		if e := call(to); e.Success {
			t.Errorf("%s: %+v", to, e)
		}
		for name, target := range inside {
			if got, err := host.ReadLink(to[1:] + "/" + name); got != target {
				t.Errorf("%s/%s leads to %q, %v", to, name, got, err)
			}
		}
		for name := range outside {
			if _, err := host.Lstat(to[1:] + "/" + name); err == nil {
				t.Errorf("%s/%s is made", to, name)
			}
		}
	}
	short := filepath.Join(f.dir, "in/short")
	if err := os.Mkdir(short, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../out", filepath.Join(short, "z")); err != nil {
		t.Fatal(err)
	}
	c.call("sftp_transfer", args{"profile_id": "fake", "direction": "upload", "local_path": short, "remote_path": "/in/tree/sub/short", "recursive": true})
	if _, err := host.Lstat("in/z"); err == nil {
		t.Error("a link that leads out is made behind one that does not")
	}
	f.unharmed(t)
}

// TestLocalLinksMadeDuringTheCall swaps a folder for a link that leads out, again and again, while files go through it.
func TestLocalLinksMadeDuringTheCall(t *testing.T) {
	f := escapes(t)
	c := f.connect(t.Context(), t)
	defer c.end()
	door, aside := filepath.Join(f.dir, "in/door"), filepath.Join(f.dir, "in/aside")
	if err := os.Mkdir(door, 0o755); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(door, "file"), "inside")
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(door, aside)
			_ = os.Symlink("../out", door)
			_ = os.Remove(door)
			_ = os.Rename(aside, door)
		}
	})
	for i := range 20 {
		remote := fmt.Sprintf("/in/swap-%d", i)
		c.call("sftp_transfer", args{"profile_id": "fake", "direction": "upload", "local_path": filepath.Join(door, "file"), "remote_path": remote})
		c.call("sftp_transfer", args{"profile_id": "fake", "direction": "download", "local_path": filepath.Join(door, "new"), "remote_path": "/in/file"})
		c.call("rsync_sync", args{"profile_id": "fake", "direction": "push", "source": door, "dest": remote + "-tree", "dry_run": false})
		c.call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "/in/tree/sub", "dest": door, "dry_run": false})
	}
	close(stop)
	swapping.Wait()
	f.unharmed(t)
}
