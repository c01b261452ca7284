package server

import (
	"slices"
	"sync"
)

// tapeBlock is the size of the pieces that a tape is kept in.
const tapeBlock = 32 << 10

// tape keeps the newest bytes of a stream, up to a limit and one block, under the offsets that they have in the whole stream. It is safe for
// concurrent use.
type tape struct {
	limit int

	mu     sync.Mutex
	blocks [][]byte
	first  int64 // offset of the oldest byte that is kept
	end    int64 // bytes written so far
	ended  bool
	news   chan struct{} // closed when there is more, or the end; nil where nobody waits
}

// Write appends p. It keeps no hold of p, and never fails.
func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	t.end += int64(n)
	for len(p) > 0 {
		last := len(t.blocks) - 1
		if last < 0 || len(t.blocks[last]) == tapeBlock {
			t.blocks = append(t.blocks, nil)
			last++
		}
		take := min(len(p), tapeBlock-len(t.blocks[last]))
		t.blocks[last] = append(roomier(t.blocks[last], take), p[:take]...)
		p = p[take:]
		t.trim()
	}
	t.tell()
	return n, nil
}

// roomier is b with room for n more bytes: twice what it had, at most a block.
func roomier(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b
	}
	return append(make([]byte, 0, min(tapeBlock, max(2*cap(b), len(b)+n))), b...)
}

// trim gives up the oldest blocks; t.mu is held.
func (t *tape) trim() {
	kept := 0
	for _, b := range t.blocks {
		kept += len(b)
	}
	drop := 0
	for drop < len(t.blocks) && kept-len(t.blocks[drop]) >= t.limit {
		kept -= len(t.blocks[drop])
		t.first += int64(len(t.blocks[drop]))
		drop++
	}
	if drop > 0 {
		t.blocks = slices.Delete(t.blocks, 0, drop)
	}
}

// finish says that nothing more will be written.
func (t *tape) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.tell()
}

func (t *tape) tell() {
	if t.news != nil {
		close(t.news)
		t.news = nil
	}
}

// page copies up to limit bytes from offset on, or from the oldest that are kept where those are gone. first and end are the offsets of the
// oldest byte that can be had and of the next to come; more is closed when there is news after them, and nil when there will be none.
func (t *tape) page(offset int64, limit int) (data []byte, at, first, end int64, more <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first = max(t.first, t.end-int64(t.limit))
	at = min(max(offset, first), t.end)
	from := t.first
	for _, b := range t.blocks {
		skip := min(max(at+int64(len(data))-from, 0), int64(len(b)))
		data = append(data, b[skip:skip+min(int64(len(b))-skip, int64(limit-len(data)))]...)
		from += int64(len(b))
	}
	if !t.ended && t.news == nil {
		t.news = make(chan struct{})
	}
	return data, at, first, t.end, t.news
}

// size is how many bytes came so far.
func (t *tape) size() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.end
}
