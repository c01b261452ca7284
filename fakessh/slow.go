package fakessh

import (
	"context"
	"io"
	"os"

	"github.com/pkg/sftp"
)

// slow makes every request of the handlers wait first, until ctx ends, and counts what becomes of files.
func (in *injector) slow(ctx context.Context, h sftp.Handlers, count *stats) sftp.Handlers {
	s := slowHandlers{h, count, func(use diskUse, n int) { in.sftp(ctx, use, n) }}
	return sftp.Handlers{FileGet: s, FilePut: s, FileCmd: s, FileList: s}
}

// slowHandlers wraps the handlers of memfs, which implement all that is asserted
// here.
type slowHandlers struct {
	sftp.Handlers
	count *stats
	wait  func(use diskUse, n int) // n bytes that are read or written
}

// created counts the open of a file that it may have created.
func (s slowHandlers) created(r *sftp.Request, err error) {
	if err == nil && r.Pflags().Creat {
		s.count.filesCreated.Add(1)
	}
}

// renamed counts a rename.
func (s slowHandlers) renamed(err error) error {
	if err == nil {
		s.count.filesRenamed.Add(1)
	}
	return err
}

func (s slowHandlers) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	s.wait(noData, 0)
	file, err := s.FileGet.Fileread(r)
	return slowed(s, file, err)
}

func (s slowHandlers) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	s.wait(noData, 0)
	file, err := s.FilePut.Filewrite(r)
	s.created(r, err)
	return slowed(s, file, err)
}

func (s slowHandlers) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	s.wait(noData, 0)
	file, err := s.FilePut.(sftp.OpenFileWriter).OpenFile(r)
	s.created(r, err)
	return slowed(s, file, err)
}

// slowed makes the reads and writes of an open file wait as well.
func slowed[T any](s slowHandlers, f T, err error) (T, error) {
	if file, ok := any(f).(openFile); ok && err == nil {
		f = any(slowFile{file, s.wait}).(T)
	}
	return f, err
}

func (s slowHandlers) Filecmd(r *sftp.Request) error {
	s.wait(noData, 0)
	if r.Method == "Rename" {
		return s.renamed(s.FileCmd.Filecmd(r))
	}
	return s.FileCmd.Filecmd(r)
}

func (s slowHandlers) PosixRename(r *sftp.Request) error {
	s.wait(noData, 0)
	return s.renamed(s.FileCmd.(sftp.PosixRenameFileCmder).PosixRename(r))
}

func (s slowHandlers) StatVFS(r *sftp.Request) (*sftp.StatVFS, error) {
	s.wait(noData, 0)
	return s.FileCmd.(sftp.StatVFSFileCmder).StatVFS(r)
}

func (s slowHandlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	s.wait(noData, 0)
	list, err := s.FileList.Filelist(r)
	if err != nil || r.Method != "List" {
		return list, err
	}
	return slowList{list, s.wait}, nil
}

func (s slowHandlers) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	s.wait(noData, 0)
	return s.FileList.(sftp.LstatFileLister).Lstat(r)
}

func (s slowHandlers) Readlink(name string) (string, error) {
	s.wait(noData, 0)
	return s.FileList.(sftp.ReadlinkFileLister).Readlink(name)
}

// openFile is what memfs returns for every open file.
type openFile interface {
	sftp.WriterAtReaderAt
	io.Closer
}

type slowFile struct {
	openFile
	wait func(use diskUse, n int)
}

func (f slowFile) ReadAt(p []byte, off int64) (int, error) {
	f.wait(readData, len(p))
	return f.openFile.ReadAt(p, off)
}

func (f slowFile) WriteAt(p []byte, off int64) (int, error) {
	f.wait(writeData, len(p))
	return f.openFile.WriteAt(p, off)
}

type slowList struct {
	sftp.ListerAt
	wait func(use diskUse, n int)
}

func (l slowList) ListAt(out []os.FileInfo, off int64) (int, error) {
	l.wait(noData, 0)
	return l.ListerAt.ListAt(out, off)
}
