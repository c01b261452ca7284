package memfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// TestTreeAgainstSystem does the same random operations here and in a real
// directory, and wants the same outcomes and the same tree.
func TestTreeAgainstSystem(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		f, dir := memfs.New(memfs.Options{}), t.TempDir()
		for step := range 150 {
			what, mine, theirs := randomStep(r, f, dir)
			if class(mine) != class(theirs) {
				t.Fatalf("seed %d, step %d, %s: %v here, %v in the system", seed, step, what, mine, theirs)
			}
		}
		here, there := outline(t, f), outline(t, os.DirFS(dir))
		if here != there {
			t.Fatalf("seed %d: the trees differ\nhere\n%s\nin the system\n%s", seed, here, there)
		}
	}
}

// randomStep does one operation on both sides.
func randomStep(r *rand.Rand, f *memfs.FS, dir string) (what string, mine, theirs error) {
	a, b := randomPath(r), randomPath(r)
	at := func(name string) string { return filepath.Join(dir, name) }
	switch r.IntN(7) {
	case 0:
		return "mkdir " + a, f.Mkdir(a, 0o755), os.Mkdir(at(a), 0o755)
	case 1:
		// Package os words a loop of links in its own way here.
		return "mkdir -p " + a, opaque(f.MkdirAll(a, 0o755)), opaque(os.MkdirAll(at(a), 0o755))
	case 2:
		return "write " + a, f.WriteFile(a, []byte(b), 0o644), os.WriteFile(at(a), []byte(b), 0o644)
	case 3:
		return "remove " + a, f.Remove(a), os.Remove(at(a))
	case 4:
		// os.Rename refuses every directory as a target.
		return "rename " + a + " " + b, f.Rename(a, b), syscall.Rename(at(a), at(b))
	case 5:
		target := filepath.Base(b)
		return "symlink " + target + " " + a, f.Symlink(target, a), os.Symlink(target, at(a))
	default:
		return "link " + a + " " + b, f.Link(a, b), os.Link(at(a), at(b))
	}
}

// randomPath has few names, so that operations meet.
func randomPath(r *rand.Rand) string {
	elems := make([]string, 1+r.IntN(3))
	for i := range elems {
		elems[i] = string(rune('a' + r.IntN(3)))
	}
	return strings.Join(elems, "/")
}

// opaque leaves of an error only that there is one.
func opaque(err error) error {
	if err != nil {
		return errors.New(err.Error())
	}
	return nil
}

// class is what a caller can tell of an error.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not exist"
	case errors.Is(err, fs.ErrExist):
		return "exist"
	}
	return "refused"
}

// outline describes a tree: names, types, content and link targets.
func outline(t *testing.T, fsys fs.FS) string {
	var b strings.Builder
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", name, d.Type())
		switch d.Type() {
		case 0:
			content, err := fs.ReadFile(fsys, name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s", content)
		case fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %s", target)
		}
		b.WriteByte('\n')
		return nil
	})
	must(t)(err)
	return b.String()
}
