package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// maxFileSize bounds a secret or key file; real ones are a few kilobytes.
const maxFileSize = 1 << 20

var extensions = []string{".json", ".yaml", ".yml"}

func (r *Resolver) fromFile(name string) (*Credential, error) {
	doc, path, err := r.documentOf(name)
	if err != nil {
		return nil, err
	}
	return doc.credential(path, filepath.Dir(path))
}

// documentOf reads the secret file of that name.
func (r *Resolver) documentOf(name string) (doc *document, path string, err error) {
	if err := CheckRef(Ref{TypeFile, name}); err != nil {
		return nil, "", err
	}
	if r.Dir == "" {
		return nil, "", &Error{Source: "auth", Field: "type", Message: "file_ref needs a secrets folder", Remedy: "start the server with --secrets DIR"}
	}
	if path, err = r.find(name); err != nil {
		return nil, "", err
	}
	data, err := readPrivate(path)
	if err != nil {
		return nil, "", err
	}
	doc, err = parseDocument(path, data)
	return doc, path, err
}

func (r *Resolver) find(name string) (string, error) {
	var found []string
	for _, ext := range extensions {
		path := filepath.Join(r.Dir, name+ext)
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", &Error{Source: path, Message: reason(err), Remedy: "make the secrets folder accessible to this user", Err: err}
		}
	}
	switch len(found) {
	case 0:
		path := filepath.Join(r.Dir, name+".json")
		return "", &Error{Source: path, Message: "no such secret file", Remedy: "create it with mode 600, or as .yaml or .yml", Err: fs.ErrNotExist}
	case 1:
		return found[0], nil
	}
	return "", &Error{Source: found[0], Message: "the same secret is also in " + strings.Join(found[1:], " and "), Remedy: "keep one of them"}
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) { return read(path, true) }

func read(path string, private bool) ([]byte, error) {
	fail := func(err error, message, remedy string) ([]byte, error) {
		return nil, &Error{Source: path, Message: message, Remedy: remedy, Err: err}
	}
	info, err := os.Stat(path)
	if err != nil {
		return fail(err, reason(err), "create it, or correct the name")
	}
	if !info.Mode().IsRegular() { // asked before opening, which would hang on a pipe
		return fail(nil, "not a regular file", "put the secret in a plain file")
	}
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			return fail(err, reason(err), "raise the limit of open files (ulimit -n, LimitNOFILE= in the unit) of the server")
		}
		return fail(err, reason(err), "make it readable to this user and nobody else: chmod 600 "+path)
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return fail(err, reason(err), "check the file system")
	}
	if mode := info.Mode().Perm(); private && mode&0o077 != 0 && runtime.GOOS != "windows" {
		return fail(nil, fmt.Sprintf("mode %04o lets others than the owner in", mode), "chmod 600 "+path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return fail(err, reason(err), "check the file system")
	}
	if len(data) > maxFileSize {
		return fail(nil, "larger than 1 MiB", "check that this is the right file")
	}
	return data, nil
}

// reason is the bare cause of a file system error, without operation and path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
