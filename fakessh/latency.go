package fakessh

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/pkg/sftp"
)

// Delay draws how long one operation waits. It is called with the random source
// of the host, one call at a time; a negative result means no wait.
type Delay func(*rand.Rand) time.Duration

// Fixed waits for d each time.
func Fixed(d time.Duration) Delay {
	return func(*rand.Rand) time.Duration { return d }
}

// Normal waits for a normally distributed time, cut off at zero.
func Normal(mean, stddev time.Duration) Delay {
	return func(r *rand.Rand) time.Duration {
		return mean + time.Duration(r.NormFloat64()*float64(stddev))
	}
}

// Latency says how long operations wait before they are done; nil means not at
// all. The same seed and order of operations give the same waits.
type Latency struct {
	Seed    uint64
	Connect Delay // after accept, before the handshake
	Exec    Delay // before the command starts
	SFTP    Delay // before each SFTP request is carried out; a session carries out up to eight reads and writes at once
}

// delays is Latency at work.
type delays struct {
	connect, exec, sftp Delay

	mu   sync.Mutex
	rand *rand.Rand
}

func newDelays(l Latency) *delays {
	return &delays{connect: l.Connect, exec: l.Exec, sftp: l.SFTP, rand: rand.New(rand.NewPCG(l.Seed, 0))}
}

// wait draws from d and waits, less if the context ends.
func (l *delays) wait(ctx context.Context, d Delay) {
	if d == nil {
		return
	}
	l.mu.Lock()
	t := d(l.rand)
	l.mu.Unlock()
	if t <= 0 {
		return
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// slow makes every request of the handlers wait first.
func (l *delays) slow(ctx context.Context, h sftp.Handlers) sftp.Handlers {
	if l.sftp == nil {
		return h
	}
	s := slowHandlers{h, func() { l.wait(ctx, l.sftp) }}
	return sftp.Handlers{FileGet: s, FilePut: s, FileCmd: s, FileList: s}
}

// slowHandlers wraps the handlers of memfs, which implement all that is asserted
// here.
type slowHandlers struct {
	sftp.Handlers
	wait func()
}

func (s slowHandlers) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	s.wait()
	file, err := s.FileGet.Fileread(r)
	return s.file(file, err)
}

func (s slowHandlers) Filewrite(r *sftp.Request) (io.WriterAt, error) {
	s.wait()
	file, err := s.FilePut.Filewrite(r)
	return s.file(file, err)
}

func (s slowHandlers) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	s.wait()
	file, err := s.FilePut.(sftp.OpenFileWriter).OpenFile(r)
	return s.file(file, err)
}

func (s slowHandlers) file(f any, err error) (sftp.WriterAtReaderAt, error) {
	if err != nil {
		return nil, err
	}
	return slowFile{f.(openFile), s.wait}, nil
}

func (s slowHandlers) Filecmd(r *sftp.Request) error {
	s.wait()
	return s.FileCmd.Filecmd(r)
}

func (s slowHandlers) PosixRename(r *sftp.Request) error {
	s.wait()
	return s.FileCmd.(sftp.PosixRenameFileCmder).PosixRename(r)
}

func (s slowHandlers) StatVFS(r *sftp.Request) (*sftp.StatVFS, error) {
	s.wait()
	return s.FileCmd.(sftp.StatVFSFileCmder).StatVFS(r)
}

func (s slowHandlers) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	s.wait()
	list, err := s.FileList.Filelist(r)
	if err != nil || r.Method != "List" {
		return list, err
	}
	return slowList{list, s.wait}, nil
}

func (s slowHandlers) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	s.wait()
	return s.FileList.(sftp.LstatFileLister).Lstat(r)
}

func (s slowHandlers) Readlink(name string) (string, error) {
	s.wait()
	return s.FileList.(sftp.ReadlinkFileLister).Readlink(name)
}

// openFile is what memfs returns for every open file.
type openFile interface {
	sftp.WriterAtReaderAt
	io.Closer
}

type slowFile struct {
	openFile
	wait func()
}

func (f slowFile) ReadAt(p []byte, off int64) (int, error) {
	f.wait()
	return f.openFile.ReadAt(p, off)
}

func (f slowFile) WriteAt(p []byte, off int64) (int, error) {
	f.wait()
	return f.openFile.WriteAt(p, off)
}

type slowList struct {
	sftp.ListerAt
	wait func()
}

func (l slowList) ListAt(out []os.FileInfo, off int64) (int, error) {
	l.wait()
	return l.ListerAt.ListAt(out, off)
}
