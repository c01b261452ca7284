package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/pkg/sftp"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Bounds hold a transfer inside some paths of the host. Links are followed by asking the host about each folder on the way, so that none leads
// out; what the host changes between that and the work is beyond them. A nil Bounds admits everything.
type Bounds struct {
	Roots []string                // absolute, clean folders; empty is the whole host
	Judge func(name string) error // refuses an absolute, clean path by its name; its errors stand behind those of the transfer
	Some  bool                    // Judge may refuse what lies in a folder that it admits
}

// maxLinks bounds the links on the way to one path.
const maxLinks = 40

// resolve gives the path that a name leads to on the host. What is missing there is taken as written. Outside of the bounds is an error.
func (b *Bounds) resolve(client *sftp.Client, name string) (string, error) {
	if b == nil {
		return name, nil
	}
	if !path.IsAbs(name) {
		login, err := client.RealPath(".")
		if err != nil {
			return "", err
		}
		name = login + "/" + name
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", &Error{Kind: Refused, Path: name, Err: errors.New("the path on the host leads up by two dots")}
	}
	real, err := follow(client, name)
	if err != nil {
		return "", err
	}
	return real, b.admit(client, real)
}

// admit refuses what is resolved and lies outside.
func (b *Bounds) admit(client *sftp.Client, real string) error {
	verdict := b.Judge(real)
	if verdict == nil {
		return nil
	}
	// A root may itself be a link, or lie behind one.
	for _, root := range b.Roots {
		there, followErr := follow(client, root)
		if followErr != nil || real != there && !strings.HasPrefix(real, strings.TrimRight(there, "/")+"/") {
			continue
		}
		if b.Judge(path.Clean(root+"/"+strings.TrimPrefix(real, there))) == nil {
			return nil
		}
	}
	return &Error{Kind: Refused, Path: real, Err: verdict}
}

// inside refuses a folder of the host that a link makes lie outside.
func (b *Bounds) inside(client *sftp.Client, name string) error {
	_, err := b.resolve(client, name)
	return err
}

// link refuses a link on the host that would lead out of the roots: made by one transfer, it could lead another out while that works.
func (b *Bounds) link(client *sftp.Client, name, target string) error {
	if b == nil || len(b.Roots) == 0 {
		return nil
	}
	dir, err := b.resolve(client, path.Dir(name))
	if err != nil {
		return err
	}
	var parts []string
	for _, part := range strings.Split(target, "/") {
		if part == "" || part == "." {
			continue
		}
		if part == ".." && (path.IsAbs(target) || len(parts) > 0 && parts[len(parts)-1] != "..") { // back from what may itself be a link
			return &Error{Kind: Refused, Path: name, Err: fmt.Errorf("a link to %s leads down and up again, which may be out of the folders that this profile admits", target)}
		}
		parts = append(parts, part)
	}
	if path.IsAbs(target) {
		dir = "/"
	}
	if err := b.admit(client, path.Join(dir, path.Join(parts...))); err != nil {
		return &Error{Kind: Refused, Path: name, Err: fmt.Errorf("a link to %s is not made: %w", target, errors.Unwrap(err))}
	}
	return nil
}

// denied refuses a path by its name.
func (b *Bounds) denied(name string) error {
	if b == nil || !b.Some {
		return nil
	}
	if err := b.Judge(name); err != nil {
		return &Error{Kind: Refused, Path: name, Err: err}
	}
	return nil
}

// follow gives the path without links that an absolute one leads to.
func follow(client *sftp.Client, name string) (string, error) {
	at, links := "/", 0
	todo := strings.Split(name, "/")
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		info, err := client.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return path.Join(append([]string{next}, withoutUp(todo)...)...), missingUp(next, todo)
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &Error{Kind: Refused, Path: name, Err: fmt.Errorf("more than %d links lead to it", maxLinks)}
		}
		target, err := client.ReadLink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			at = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return at, nil
}

// missingUp refuses a way that goes back up through a folder that is not there: it may be there in a moment, and a link.
func missingUp(at string, todo []string) error {
	if slices.Contains(todo, "..") {
		return &Error{Kind: Refused, Path: at, Err: errors.New("a link on the host leads through a missing folder and back")}
	}
	return nil
}

func withoutUp(todo []string) []string {
	return slices.DeleteFunc(slices.Clone(todo), func(part string) bool { return part == ".." })
}

// resolveOver resolves a name over a session of the pool.
func (b *Bounds) resolveOver(ctx context.Context, p *pool.Pool, t *profile.Target, name string) (string, error) {
	if b == nil {
		return name, nil
	}
	s, err := p.SFTP(ctx, t)
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, s.Interrupt)
	real, err := b.resolve(s.Client, name)
	if err != nil {
		err = sftpError(ctx, name, err)
	}
	if stop() && !broken(err) {
		s.Release()
	} else {
		s.Discard()
	}
	return real, err
}
