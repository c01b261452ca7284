//go:build unix

package profile

import (
	"io/fs"
	"syscall"
)

// fileID tells a file from others.
type fileID struct{ device, inode uint64 }

func idOf(info fs.FileInfo) fileID {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}
	}
	return fileID{uint64(s.Dev), uint64(s.Ino)}
}

func (f fileID) same(g fileID) bool { return f == g }
