//go:build realssh

package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// transfer calls sftp_transfer on the profile "real", with more arguments than every transfer has.
func transfer(t *testing.T, session *mcp.ClientSession, direction, local, remote string, more map[string]any) server.Envelope[server.TransferData] {
	t.Helper()
	args := map[string]any{"profile_id": "real", "direction": direction, "local_path": local, "remote_path": remote}
	for k, v := range more {
		args[k] = v
	}
	return call[server.TransferData](t.Context(), t, session, "sftp_transfer", args)
}

// home is the test user's, made empty below name, and removed in the end.
func home(t *testing.T, name string) string {
	t.Helper()
	u, err := user.Lookup(testUser)
	must(t, err)
	dir := filepath.Join(u.HomeDir, name)
	must(t, os.RemoveAll(dir))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// listing describes a tree: each name with kind, permissions and target, and the files' contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	out := command(t, "sh", "-c", `cd "$1" && find . -mindepth 1 \( -type l -printf '%y %l %P\0' -o -printf '%y %m %P\0' \) | sort -z`, "sh", dir)
	return strings.ReplaceAll(out, "\x00", "\n") + command(t, "sh", "-c", `cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum --`, "sh", dir)
}

func TestRealTree(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	src := filepath.Join(s.dir, "src")
	dirs := []string{src, src + "/two words", src + "/two words/-rf", src + "/ünï 文件", src + "/empty", src + "/line\nbreak"}
	for _, d := range dirs {
		must(t, os.Mkdir(d, 0o755))
	}
	for i, name := range []string{"plain", "it's", `"double"`, "--delete", "$(id)", "*", "a\\b", ".hidden", "empty file"} {
		for j, d := range dirs[:4] {
			write(t, filepath.Join(d, name), strings.Repeat(name, (i+j)*5000), os.FileMode([]int{0o644, 0o600, 0o755, 0o444}[j]))
		}
	}
	write(t, src+"/empty file", "", 0o644)
	for name, target := range map[string]string{"link": "plain", "two words/up": "../plain", "dangling": "/no/where", "dirlink": "two words"} {
		must(t, os.Symlink(target, filepath.Join(src, name)))
	}
	must(t, os.Chmod(src+"/empty", 0o555))
	must(t, os.Chmod(src+"/two words/-rf", 0o500))

	tree := home(t, "tree")
	recursive := map[string]any{"recursive": true, "checksum": true}
	up := transfer(t, session, "upload", src, "tree", recursive)
	if up.Data == nil || up.Data.Status != "completed" || up.Data.Files != 36 || up.Data.Symlinks != 4 || up.Data.Directories != 6 {
		t.Fatalf("%+v %+v", up, up.Data)
	}
	want := listing(t, src)
	if got := listing(t, tree); got != want {
		t.Errorf("the host has\n%s\nwant\n%s", got, want)
	}
	back := filepath.Join(s.dir, "back")
	down := transfer(t, session, "download", back, "tree", recursive)
	if got := listing(t, back); down.Data == nil || got != want || down.Data.BytesTransferred != up.Data.BytesTransferred {
		t.Errorf("%+v %+v\n%s\nwant\n%s", down, down.Data, got, want)
	}
}

// TestRealTransferIsCut kills sshd in the middle of a transfer, wants a clear error, and goes on from what was kept.
func TestRealTransferIsCut(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	data := make([]byte, 24<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	file := filepath.Join(s.dir, "file")
	write(t, file, string(data), 0o444)
	theirs, mine := home(t, "file"), filepath.Join(s.dir, "mine")
	for _, direction := range []string{"upload", "download"} {
		local, dest := file, theirs
		if direction == "download" {
			local, dest = mine, mine
		}
		args := map[string]any{"resume": true, "bandwidth_limit_kbps": 8 << 10} // 3 s
		done := make(chan server.Envelope[server.TransferData], 1)
		go func() { done <- transfer(t, session, direction, local, "file", args) }()
		waitForSize(t, filepath.Dir(dest), 8<<20)
		s.stop()
		select {
		case e := <-done:
			if e.Metadata.ErrorCode != server.CodeConnectionFailed {
				t.Errorf("%s: %+v", direction, e)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: no answer", direction)
		}
		if _, err := os.Stat(dest); err == nil {
			t.Errorf("%s: the destination is there", direction)
		}
		s.run(t)
		e := transfer(t, session, direction, local, "file", map[string]any{"resume": true})
		if got, err := os.ReadFile(dest); e.Data == nil || e.Data.ResumedFrom < 4<<20 || err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %+v %+v, %v", direction, e, e.Data, err)
		}
		if parts, _ := filepath.Glob(filepath.Join(filepath.Dir(dest), ".*.part")); len(parts) > 0 {
			t.Errorf("%s: left behind: %v", direction, parts)
		}
	}
}

// waitForSize waits until a temporary file in dir has size bytes.
func waitForSize(t *testing.T, dir string, size int64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		parts, _ := filepath.Glob(filepath.Join(dir, ".*.part"))
		for _, name := range parts {
			if info, err := os.Stat(name); err == nil && info.Size() >= size {
				return
			}
		}
	}
	t.Fatal("the transfer does not get on")
}

// TestRealDiskFull moves more than either end's file system holds.
func TestRealDiskFull(t *testing.T) {
	s := startSSHD(t)
	session := s.session(t)
	src := filepath.Join(s.dir, "src")
	must(t, os.Mkdir(src, 0o755))
	for _, name := range []string{"a", "b", "c", "d"} {
		write(t, filepath.Join(src, name), strings.Repeat(name, 400<<10), 0o644)
	}
	theirs, mine := home(t, "small"), filepath.Join(s.dir, "small")
	for _, dir := range []string{theirs, mine} {
		must(t, os.Mkdir(dir, 0o777))
		command(t, "mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", dir)
		t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	}
	full := home(t, "full")
	command(t, "cp", "-r", src, full)
	command(t, "chmod", "-R", "a+rX", full)
	for direction, dest := range map[string]string{"upload": theirs, "download": mine} {
		local, remote := src, "small"
		if direction == "download" {
			local, remote = mine, "full"
		}
		e := transfer(t, session, direction, local, remote, map[string]any{"recursive": true})
		if e.Success || e.Data == nil || e.Data.Status != "partial" || e.Data.FailedCount == 0 || e.Data.Files+e.Data.FailedCount != 4 {
			t.Fatalf("%s: %+v %+v", direction, e, e.Data)
		}
		entries, err := os.ReadDir(dest)
		must(t, err)
		if len(entries) != e.Data.Files {
			t.Errorf("%s: %d files were moved, but there are %v", direction, e.Data.Files, entries)
		}
		for _, entry := range entries {
			got, err := os.ReadFile(filepath.Join(dest, entry.Name()))
			if want, _ := os.ReadFile(filepath.Join(src, entry.Name())); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s: %s is not whole: %d bytes, %v", direction, entry.Name(), len(got), err)
			}
		}
	}
}
