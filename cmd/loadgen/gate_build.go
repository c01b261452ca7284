package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// revisions builds a program of two revisions of the repository in the current folder, both with the same flags.
type revisions struct {
	base, head string // commits
	pkg        string // of the program, such as ./cmd/openaccess-mcp
	dir        string // for work trees and programs
	trees      []string
}

// openRevisions checks both revisions out into work trees of their own below dir. close removes them, also after an error.
func openRevisions(ctx context.Context, base, head, pkg, dir string) (*revisions, error) {
	r := &revisions{pkg: pkg, dir: dir}
	for _, x := range []struct {
		flag, ref string
		to        *string
	}{{"base", base, &r.base}, {"head", head, &r.head}} {
		out, err := command(ctx, "", "git", "rev-parse", "--verify", "--end-of-options", x.ref+"^{commit}")
		if err != nil {
			return r, usage("--%s-ref %s is no commit here: %w; run it in the repository, and fetch what is missing (a shallow clone has one commit)", x.flag, x.ref, err)
		}
		*x.to = strings.TrimSpace(out)
	}
	for _, x := range []struct{ name, commit string }{{"base", r.base}, {"head", r.head}} {
		tree := filepath.Join(dir, "tree-"+x.name)
		if _, err := command(ctx, "", "git", "worktree", "add", "--force", "--detach", tree, x.commit); err != nil {
			return r, harness("cannot check out %s: %w", x.commit, err)
		}
		r.trees = append(r.trees, tree)
	}
	return r, nil
}

// build builds both programs. A layout other than 0 has the linker order functions by that seed instead of its own way, for both alike.
func (r *revisions) build(ctx context.Context, layout uint64) (base, head string, err error) {
	for _, x := range []struct {
		name string
		to   *string
	}{{"base", &base}, {"head", &head}} {
		*x.to = filepath.Join(r.dir, fmt.Sprintf("%s-%d", x.name, layout), filepath.Base(r.pkg))
		if runtime.GOOS == "windows" {
			*x.to += ".exe"
		}
		args := []string{"build", "-trimpath", "-buildvcs=false", "-o", *x.to}
		if layout != 0 {
			args = append(args, fmt.Sprintf("-ldflags=-randlayout=%d", layout))
		}
		if _, err := command(ctx, filepath.Join(r.dir, "tree-"+x.name), "go", append(args, r.pkg)...); err != nil {
			return "", "", harness("cannot build %s of the %s revision: %w", r.pkg, x.name, err)
		}
	}
	return base, head, nil
}

func (r *revisions) close() error {
	var errs []error
	for _, tree := range r.trees {
		if _, err := command(context.Background(), "", "git", "worktree", "remove", "--force", tree); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove the work tree %s: %w", tree, err))
		}
	}
	return errors.Join(errs...)
}

// maxSaid is how much of what a failed program said goes into an error, from its end.
const maxSaid = 2000

// command runs a program in a folder and gives what it printed. Its error says what the program said.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(said.String())
		return "", fmt.Errorf("%s %s: %w: %s", name, args[0], unwrapped(err), text[max(0, len(text)-maxSaid):])
	}
	return out.String(), nil
}
