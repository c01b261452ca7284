//go:build !unix

package profile

import (
	"io/fs"
	"os"
)

// fileID tells a file from others. The system keeps what it needs for that to itself.
type fileID struct{ info fs.FileInfo }

func idOf(info fs.FileInfo) fileID { return fileID{info} }

func (f fileID) same(g fileID) bool { return os.SameFile(f.info, g.info) }
