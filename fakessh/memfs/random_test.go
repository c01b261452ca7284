package memfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// TestContentAgainstOracle changes a file at random and compares it with a plain
// slice of bytes.
func TestContentAgainstOracle(t *testing.T) {
	for seed := range uint64(5) {
		r := rand.New(rand.NewPCG(seed, 1))
		f, ok := memfs.New(memfs.Options{}), must(t)
		h, err := f.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
		ok(err)
		var oracle []byte
		for step := range 200 {
			off := r.IntN(300_000)
			if r.IntN(2) == 0 {
				off = r.IntN(3_000) // small files have blocks of their own kind
			}
			switch r.IntN(4) {
			case 0, 1:
				p := randomBytes(r, r.IntN(100_000))
				if r.IntN(2) == 0 {
					p = p[:min(len(p), 50)]
				}
				_, err := h.WriteAt(p, int64(off))
				ok(err)
				if end := off + len(p); len(p) > 0 && end > len(oracle) {
					oracle = append(oracle, make([]byte, end-len(oracle))...)
				}
				if len(p) > 0 {
					copy(oracle[off:], p)
				}
			case 2:
				ok(h.Truncate(int64(off)))
				oracle = append(oracle, make([]byte, max(0, off-len(oracle)))...)[:off]
				clear(oracle[off:cap(oracle)])
			case 3:
				checkRead(t, h, oracle, off, r.IntN(100_000))
			}
			if got, err := f.ReadFile("f"); err != nil || !bytes.Equal(got, oracle) {
				t.Fatalf("seed %d, step %d: %d bytes differ from the oracle's %d, %v", seed, step, len(got), len(oracle), err)
			}
			if f.Used() > int64(len(oracle)) {
				t.Fatalf("seed %d, step %d: %d bytes used for %d", seed, step, f.Used(), len(oracle))
			}
		}
		ok(h.Truncate(0))
		if f.Used() != 0 {
			t.Fatalf("seed %d: %d bytes used by nothing", seed, f.Used())
		}
		ok(h.Close())
	}
}

func checkRead(t *testing.T, h *memfs.File, oracle []byte, off, n int) {
	t.Helper()
	got, want := randomBytes(rand.New(rand.NewPCG(0, 0)), n), make([]byte, n)
	gotN, gotErr := h.ReadAt(got, int64(off))
	wantN, wantErr := bytes.NewReader(oracle).ReadAt(want, int64(off))
	if gotN != wantN || gotErr != wantErr && n > 0 || !bytes.Equal(got[:gotN], want[:wantN]) {
		t.Fatalf("read of %d at %d gives %d, %v; want %d, %v", n, off, gotN, gotErr, wantN, wantErr)
	}
}

func randomBytes(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(r.Uint32()), byte(r.Uint32())}).Read(p)
	return p
}

// TestReplaceIsAtomic reads a name that others replace all the time: every read
// sees one whole version.
func TestReplaceIsAtomic(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	version := func(b byte) []byte { return bytes.Repeat([]byte{b}, 100_000) }
	ok(f.WriteFile("f", version('0'), 0o644))
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range 30 {
				temp := fmt.Sprintf("temp%d", w)
				if err := errors.Join(f.WriteFile(temp, version(byte('a'+i%26)), 0o644), f.Rename(temp, "f")); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 60 {
				got, err := f.ReadFile("f")
				if err != nil || len(got) != 100_000 || !bytes.Equal(got, version(got[0])) {
					t.Errorf("a torn version of %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	if f.Used() != 100_000 {
		t.Errorf("%d bytes used", f.Used())
	}
}

// TestParallelWritersOfOneFile fills stripes of one file from several
// goroutines while it is listed and read.
func TestParallelWritersOfOneFile(t *testing.T) {
	f, ok := memfs.New(memfs.Options{}), must(t)
	h, err := f.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o644)
	ok(err)
	defer h.Close()
	const stripe, writers = 1000, 8
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := w; i < 400; i += writers {
				if _, err := h.WriteAt(bytes.Repeat([]byte{byte(i)}, stripe), int64(i*stripe)); err != nil {
					t.Error(err)
				}
				if _, err := f.ReadDir("."); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got, err := io.ReadAll(h)
	ok(err)
	for i := range 400 {
		if !bytes.Equal(got[i*stripe:(i+1)*stripe], bytes.Repeat([]byte{byte(i)}, stripe)) {
			t.Fatalf("stripe %d is torn", i)
		}
	}
}
