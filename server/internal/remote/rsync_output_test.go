//go:build unix

package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// escape is what rsync does to a name before it prints it, with --8-bit-output.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		rest := name[i:]
		if name[i] < ' ' && name[i] != '\t' || len(rest) > 4 && rest[:2] == `\#` && strings.Trim(rest[2:5], "0123456789") == "" {
			fmt.Fprintf(&b, `\#%03o`, name[i])
		} else {
			b.WriteByte(name[i])
		}
	}
	return b.String()
}

func TestUnescape(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	const letters = "\\\\\\##0123789a\n\r\t\x01\xff"
	for range 5000 {
		name := make([]byte, rnd.IntN(12))
		for i := range name {
			name[i] = letters[rnd.IntN(len(letters))]
		}
		if got := unescape(escape(string(name))); got != string(name) {
			t.Errorf("%q became %q by way of %q", name, got, escape(string(name)))
		}
	}
	for _, name := range []string{"", "plain", "new\nline", `\#012`, `\\#012`, `\#12`, "\\\n", "naïve", "\x01\x1f\x7f\xff", "tab\there", `\#999`} {
		if got := unescape(escape(name)); got != name {
			t.Errorf("%q became %q by way of %q", name, got, escape(name))
		}
	}
}

func TestRsyncOutput(t *testing.T) {
	var progress []int64
	o := &rsyncOutput{progress: func(done int64) { progress = append(progress, done) }}
	fmt.Fprint(o, strings.Join([]string{
		`created directory /x`,
		`skipping non-regular file "a\#012pipe"`,
		`ignoring unsafe symlink "a\#012link" -> "../x"`,
		`cannot delete non-empty directory: kept`,
		`change *deleting   0 gone`,
		`change *deleting   0 gone too/`,
		`change *deleting   0 kept/`,
		`change cd+++++++++ 4096 ./`,
		`change cd+++++++++ 4096 d ir/`,
		`change <f+++++++++ 12 d ir/ -> x`,
		`change >f+++++++++ 7 new\#012line`,
		`change <f.st...... 3 changed`,
		`change <f..T...... 4 copied again`,
		`change cL+++++++++ 9 link`,
		`change cLc.t...... 9 other link`,
		`change .f...p..... 5 mode`,
		`change .d..t...... 4096 time/`,
		`change .L..t...... 9 link's own time`,
		`change .f          5 nothing`,
		`change hf+++++++++ 5 hard link`,
		`change cS+++++++++ 0 special`,
		`change <f+++++++++ many bad size`,
		`change <f+++++++++ 3 `,
		`change `,
		"\r      1,024   5%    1.00MB/s    0:00:00 \r      65536  50%  200.32MB/s    0:00:00 (xfr#1, to-chk=0/2)\r\n",
		`Number of files: 2 (reg: 1, dir: 1)`,
		`Literal data: 4711 bytes`,
		`Matched data: 17 bytes`,
	}, "\n")+"\n")
	want := []Change{
		{"gone", ActionDelete, 0}, {"gone too", ActionDelete, 0}, {".", ActionMkdir, 0}, {"d ir", ActionMkdir, 0}, {"d ir/ -> x", ActionCreate, 12},
		{"new\nline", ActionCreate, 7}, {"changed", ActionUpdate, 3}, {"copied again", ActionUpdate, 4}, {"link", ActionSymlink, 0},
		{"other link", ActionSymlink, 0}, {"mode", ActionAttributes, 0}, {"time", ActionAttributes, 0},
	}
	if got := o.planned(); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if !o.dirs["gone too"] || o.dirs["gone"] {
		t.Errorf("directories %v", o.dirs)
	}
	if len(o.skipped) != 1 || o.skipped[0].Path != "a\npipe" {
		t.Errorf("skipped %v", o.skipped)
	}
	if len(o.refused) != 1 || o.refused[0].Path != "a\nlink" || !strings.Contains(o.refused[0].Err.Error(), "a link to ../x ") {
		t.Errorf("refused %v", o.refused)
	}
	if o.literal != 4711 || !slices.Equal(progress, []int64{65536}) {
		t.Errorf("%d bytes, progress %v", o.literal, progress)
	}
}

// FuzzRsyncOutput feeds the same text whole and cut in two: what is read of it must not depend on that.
func FuzzRsyncOutput(f *testing.F) {
	f.Add("change <f+++++++++ 12 a\\#012b\nchange *deleting   0 d/\nLiteral data: 5 bytes\n", 17)
	f.Add("skipping non-regular file \"x\"\r  5 3%\ncannot delete non-empty directory: x\n", 3)
	f.Fuzz(func(t *testing.T, text string, cut int) {
		whole, parts := &rsyncOutput{}, &rsyncOutput{}
		_, _ = whole.Write([]byte(text))
		cut = min(max(cut, 0), len(text))
		_, _ = parts.Write([]byte(text[:cut]))
		_, _ = parts.Write([]byte(text[cut:]))
		if len(text) <= maxLine && !reflect.DeepEqual(whole, parts) {
			t.Errorf("%+v\n%+v", whole, parts)
		}
		for _, c := range whole.planned() {
			if c.Path == "" || c.Action == "" {
				t.Errorf("%+v", c)
			}
		}
	})
}

func FuzzRsyncProblems(f *testing.F) {
	f.Add(`rsync: [sender] send_files failed to open "/a/b": Permission denied (13)`)
	f.Fuzz(func(t *testing.T, text string) {
		problems, _ := rsyncProblems(text, true, "/a", "b")
		for _, p := range problems {
			if p.Err == nil {
				t.Errorf("%+v", p)
			}
		}
	})
}

func TestRsyncProblems(t *testing.T) {
	for _, tc := range []struct {
		line   string
		upload bool
		path   string
		kind   Kind
		unread bool
	}{
		{`rsync: [sender] send_files failed to open "/here/sub/a b": Permission denied (13)`, true, "sub/a b", Local, true},
		{`rsync: [sender] send_files failed to open "/home/u/there/x": Permission denied (13)`, false, "x", Denied, true},
		{`rsync: [receiver] mkstemp "/srv/there/d/.f\#012g.AbC123" failed: Permission denied (13)`, true, "d/f\ng", Denied, false},
		{`rsync: [generator] failed to set times on "/srv/there/": Operation not permitted (1)`, true, ".", Denied, false},
		{`rsync: [generator] recv_generator: mkdir "/here/d" failed: Read-only file system (30)`, false, "d", Local, false},
		{`file has vanished: "/srv/there/gone"`, false, "gone", NotFound, true},
		{`could not make way for new regular file: a/b`, true, "a/b", Refused, false},
		{`rsync: [sender] opendir "/elsewhere/x" failed: Input/output error (5)`, false, "/elsewhere/x", Failed, true},
	} {
		problems, unread := rsyncProblems("noise\n"+tc.line+"\nrsync error: some files/attrs were not transferred (code 23) at main.c(1)\n", tc.upload, "/here", "there")
		if len(problems) != 1 || problems[0].Path != tc.path || unread != tc.unread {
			t.Errorf("%s: %v, %v", tc.line, problems, unread)
			continue
		}
		wantKind(t, problems[0].Err, tc.kind)
	}
}

// ended makes the result of a local rsync with an exit code.
func ended(t *testing.T, script string) error {
	t.Helper()
	return exec.Command("/bin/sh", "-c", script).Run()
}

func TestRsyncVerdict(t *testing.T) {
	const closed = "rsync: connection unexpectedly closed (0 bytes received so far) [sender]\n"
	for name, tc := range map[string]struct {
		local     string // what the local rsync does
		shell     rsyncShell
		stderr    string
		kind      Kind // -1 is no error
		words     string
		unstarted bool
	}{
		"success":                        {"exit 0", rsyncShell{}, "", -1, "", false},
		"partial":                        {"exit 23", rsyncShell{}, `rsync: [sender] open "/x": Permission denied`, -1, "", false},
		"vanished":                       {"exit 24", rsyncShell{}, "", -1, "", false},
		"the host's code counts":         {"exit 0", rsyncShell{code: 11}, "rsync: [receiver] write failed: No space left on device (28)", Full, "no space left", false},
		"its end lost in time":           {"exit 0", rsyncShell{code: -1, lost: true}, "", -1, "", false},
		"no rsync there":                 {"exit 12", rsyncShell{code: 127}, closed + "sh: 1: rsync: not found\n", Refused, "package rsync there, or use the engine sftp: sh: 1: rsync: not found", true},
		"too old there":                  {"exit 12", rsyncShell{code: 1}, closed + "rsync: -J: unknown option\n", Refused, "3.1 or newer", true},
		"a talkative shell":              {"exit 2", rsyncShell{}, "protocol version mismatch -- is your shell clean?\n", Refused, "login shell may print", true},
		"source missing":                 {"exit 23", rsyncShell{}, `rsync: [sender] change_dir "/x" failed: No such file or directory (2)`, NotFound, "does not exist", true},
		"source is a file":               {"exit 23", rsyncShell{}, `rsync: [sender] change_dir "/x" failed: Not a directory (20)`, Refused, "sftp_transfer", true},
		"destination is a file":          {"exit 12", rsyncShell{code: 3}, `rsync: [Receiver] ERROR: cannot stat destination "/x/": Not a directory (20)`, Refused, "is no directory", true},
		"no parent":                      {"exit 12", rsyncShell{code: 11}, `rsync: [Receiver] mkdir "/x/y" failed: No such file or directory (2)`, NotFound, "no such directory", true},
		"disk full":                      {"exit 11", rsyncShell{}, `rsync: [receiver] write failed on "/x": No space left on device (28)`, Full, "no space left", false},
		"timeout":                        {"exit 30", rsyncShell{}, "io timeout after 5 seconds", Stopped, "io timeout", false},
		"connection broken":              {"exit 12", rsyncShell{code: -1, lost: true}, closed, Broken, "connection broke", false},
		"local one killed":               {"kill -9 $$", rsyncShell{code: 12}, "", Broken, "local rsync was ended by a signal", false},
		"host's one killed":              {"exit 12", rsyncShell{code: -1, signal: "KILL"}, closed, Broken, "host's rsync was ended by SIGKILL", false},
		"one killed, as rsync says it":   {"exit 12", rsyncShell{code: 20}, closed, Broken, "a signal ended rsync", false},
		"one killed, as a shell says it": {"exit 12", rsyncShell{code: 137}, closed, Broken, "a signal ended the host's rsync", false},
		"lost each other":                {"exit 12", rsyncShell{code: 12}, closed, Broken, "connection unexpectedly closed", false},
		"anything else":                  {"exit 22", rsyncShell{}, "out of memory\n", Failed, "out of memory (rsync's exit code 22)", false},
		"not a word":                     {"exit 21", rsyncShell{}, "", Failed, "without a word", false},
	} {
		t.Run(name, func(t *testing.T) {
			v := &rsyncVerdict{shell: &tc.shell, wait: ended(t, tc.local), stderr: tc.stderr}
			err := v.judge(t.Context())
			if tc.kind < 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantKind(t, err, tc.kind)
			if !strings.Contains(fmt.Sprint(err), tc.words) || v.unstarted != tc.unstarted {
				t.Errorf("%v, unstarted %v", err, v.unstarted)
			}
		})
	}
}

func TestRsyncPath(t *testing.T) {
	for dir, want := range map[string]string{
		"/a/b": "/a/b/", "/a/b///": "/a/b/", "/": "/", "x": "./x/", "-x": "./-x/", ":x": "./:x/", "~": "./~/", "~/x": "./~/x/",
		"/a*/b": `/a\*/b/`, "/a?[b]/c\\d": `/a\?\[b]/c\d/`, `/a\*`: `/a\\\*/`, "sp ace'\"\n": "./sp ace'\"\n/",
	} {
		if got := rsyncPath(dir); got != want {
			t.Errorf("%q: %q, want %q", dir, got, want)
		}
	}
}

// TestRsyncArgs checks that nothing of a caller's can become an option.
func TestRsyncArgs(t *testing.T) {
	e := &rsyncEngine{sync: Sync{
		Direction: Upload, Remote: "--rsh=evil", Include: []string{"--in"}, Exclude: []string{"-x", "--delete"},
		Permissions: true, Delete: true, BandwidthKBps: 5, Progress: func(int64, int64) {},
	}}
	args := e.rsyncArgs(&rsyncPlace{name: "-new"}, "shell", rsyncOptions{})
	i := slices.Index(args, "--")
	if !slices.Equal(args[i+1:], []string{"./-new/", "host:./--rsh=evil/"}) {
		t.Errorf("paths %q", args[i+1:])
	}
	for _, arg := range []string{"--include=--in", "--exclude=-x", "--exclude=--delete", "--perms", "--bwlimit=5", "--info=progress2", "--protect-args"} {
		if !slices.Contains(args[:i], arg) {
			t.Errorf("no %s in %q", arg, args)
		}
	}
	for _, arg := range []string{"--delete", "--times", "--dry-run", "--checksum"} {
		if slices.Contains(args, arg) {
			t.Errorf("%s in %q", arg, args)
		}
	}
	e.sync.Direction = Download
	if args = e.rsyncArgs(&rsyncPlace{name: "."}, "shell", rsyncOptions{dryRun: true}); !slices.Equal(args[len(args)-3:], []string{"--", "host:./--rsh=evil/", "./"}) {
		t.Errorf("%q", args)
	}
	if !slices.Contains(args, "--delete") || !slices.Contains(args, "--dry-run") {
		t.Errorf("%q", args)
	}
}

func TestRecentRsync(t *testing.T) {
	for version, ok := range map[string]bool{
		"rsync  version 3.2.7  protocol version 31\nCopyright": true, "rsync  version 3.1.0  protocol version 31": true,
		"rsync  version v4.0dev  protocol version 32": true, "rsync  version 3.0.9  protocol version 30": false,
		"rsync  version 10.0.1  protocol version 40": true, "openrsync: protocol version 29\nrsync version 2.6.9 compatible": false, "": false,
	} {
		if err := recentRsync([]byte(version)); (err == nil) != ok {
			t.Errorf("%q: %v", version, err)
		}
	}
}

// TestRsyncAbsent wants to know which side lacks what.
func TestRsyncAbsent(t *testing.T) {
	found := rsyncFound.Swap(nil)
	defer rsyncFound.Store(found)
	t.Setenv("PATH", t.TempDir())
	_, err := newRsyncEngine(t.Context(), nil, nil, Sync{})
	wantKind(t, err, Refused)
	if !strings.Contains(fmt.Sprint(err), "server's machine has no rsync: install its package rsync") || errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
