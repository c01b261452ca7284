//go:build unix

package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
)

// rsyncPlace is where the local rsync runs and what it calls the two directories.
type rsyncPlace struct {
	path   *LocalPath
	folder *os.File // the local directory or, where that is missing, the nearest one above it, opened through the local root
	name   string   // the local directory from there: "." or the missing path
	made   []string // directories that are missing, the deepest first; makeDestination makes them
}

func (p *rsyncPlace) close() { p.folder.Close() }

var errDestination = errors.New("the destination exists and is no directory")

// place opens the local directory. Only as the destination may it be missing.
func (e *rsyncEngine) place() (*rsyncPlace, error) {
	p := &rsyncPlace{path: e.sync.Local, name: "."}
	for dir := p.path.name; ; dir = filepath.Dir(dir) {
		info, err := p.path.root.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			if p.folder, err = p.path.root.Open(dir); err == nil {
				return p, nil
			}
		case err == nil && e.sync.Direction == Upload:
			return nil, &Error{Kind: Refused, Err: errNoDirectory}
		case err == nil:
			return nil, &Error{Kind: Refused, Err: errDestination}
		}
		if e.sync.Direction == Upload || !errors.Is(err, fs.ErrNotExist) || dir == "." {
			return nil, (&localTree{}).classify(err)
		}
		p.name = path.Join(filepath.Base(dir), p.name)
		p.made = append(p.made, dir)
	}
}

// makeDestination makes a missing local directory, and a missing remote one that rsync would misread the name of.
func (e *rsyncEngine) makeDestination(ctx context.Context, p *rsyncPlace) (made bool, err error) {
	if e.sync.Direction == Download {
		return len(p.made) > 0, p.make()
	}
	if !isPattern(e.sync.Remote) {
		return false, nil
	}
	err = e.overSFTP(ctx, func(t *remoteTree) error {
		_, err := t.root()
		if made = errors.Is(err, fs.ErrNotExist); made {
			return t.makeRoot()
		}
		return err
	})
	return made, err
}

// make makes the local directory and goes there.
func (p *rsyncPlace) make() error {
	if len(p.made) == 0 {
		return nil
	}
	var folder *os.File
	err := p.path.root.MkdirAll(p.path.name, 0o755)
	if err == nil {
		folder, err = p.path.root.Open(p.path.name)
	}
	if err != nil {
		return (&localTree{}).classify(err)
	}
	p.folder.Close()
	p.folder, p.name = folder, "."
	return nil
}

// unmake removes what make made for nothing.
func (p *rsyncPlace) unmake() {
	if p.name != "." {
		return
	}
	for _, dir := range p.made {
		_ = p.path.root.Remove(dir) // fails where it is not empty
	}
}

// directory is a path of the open folder for a child process to start in. Where the system can say it, that is the very folder that was
// opened inside the local root, whatever has become of the names that led there.
func (p *rsyncPlace) directory() (string, error) {
	if runtime.GOOS == "linux" {
		return fmt.Sprintf("/proc/self/fd/%d", p.folder.Fd()), nil
	}
	real, err := filepath.EvalSymlinks(p.folder.Name())
	if err != nil {
		return "", err
	}
	if _, ok := within(p.path.root.Name(), real); !ok {
		return "", ErrOutsideRoots
	}
	return real, nil
}
