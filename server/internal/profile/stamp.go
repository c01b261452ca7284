package profile

import (
	"errors"
	"io/fs"
	"os"
	"time"
)

// statInterval is how long files are taken to be unchanged without a look.
const statInterval = time.Second

// stamp is what tells one state of a file from another without reading it.
type stamp struct {
	info fs.FileInfo
	err  error
}

func stampFile(path string) stamp {
	info, err := os.Stat(path)
	return stamp{info, err}
}

func stampFiles(paths []string) []stamp {
	stamps := make([]stamp, len(paths))
	for i, path := range paths {
		stamps[i] = stampFile(path)
	}
	return stamps
}

func (s stamp) same(t stamp) bool {
	if s.err != nil || t.err != nil {
		return s.err != nil && t.err != nil && reason(s.err) == reason(t.err)
	}
	return os.SameFile(s.info, t.info) && s.info.Size() == t.info.Size() &&
		s.info.Mode() == t.info.Mode() && s.info.ModTime().Equal(t.info.ModTime())
}

// reason is the bare cause of a file system error, without operation and path.
func reason(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err.Error()
	}
	return err.Error()
}
