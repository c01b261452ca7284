package server

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestTape writes at random and compares every page with the whole stream.
func TestTape(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		tp := &tape{limit: int(seed) * r.IntN(tapeBlock/4)}
		var all []byte
		for range 50 {
			piece := make([]byte, r.IntN(tapeBlock))
			for i := range piece {
				piece[i] = byte(r.Uint32())
			}
			tp.Write(piece)
			all = append(all, piece...)
			offset, limit := r.Int64N(int64(len(all))+2), r.IntN(2*tapeBlock)
			data, at, first, end, more := tp.page(offset, limit)
			if end != int64(len(all)) || first != max(0, end-int64(tp.limit)) || more == nil {
				t.Fatalf("seed %d: first %d, end %d of %d, limit %d", seed, first, end, len(all), tp.limit)
			}
			if at != min(max(offset, first), end) || !bytes.Equal(data, all[at:min(at+int64(limit), end)]) {
				t.Fatalf("seed %d: %d bytes at %d for %d at %d", seed, len(data), at, limit, offset)
			}
			kept := 0
			for _, b := range tp.blocks {
				kept += cap(b)
			}
			if kept > tp.limit+2*tapeBlock {
				t.Fatalf("seed %d: %d bytes kept under a limit of %d", seed, kept, tp.limit)
			}
		}
	}
}

// TestTapeCharacters cuts text in pages of four bytes: no character may be cut in two, none may be lost, and bytes that are no text come as base64.
func TestTapeCharacters(t *testing.T) {
	const all = "aé€𝄞z€€é"
	tp := &tape{limit: 100}
	tp.Write([]byte(all))
	tp.finish()
	var got strings.Builder
	for offset := int64(0); ; {
		page := tp.read(offset, 4)
		got.WriteString(page.Text)
		if page.Base64 != "" || page.NextOffset == offset {
			t.Fatalf("page %+v", page)
		}
		if offset = page.NextOffset; page.EOF {
			break
		}
	}
	if got.String() != all {
		t.Errorf("got %q", got.String())
	}
	half := &tape{limit: 100}
	half.Write([]byte("a\xe2\x82"))
	if page := half.read(0, 10); page.Text != "a" || page.NextOffset != 1 || page.EOF {
		t.Errorf("a character under way: %+v", page)
	}
	half.finish()
	if page := half.read(1, 10); page.Base64 != "4oI=" || !page.EOF {
		t.Errorf("a character that never came: %+v", page)
	}
}
