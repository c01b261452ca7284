package memfs

import "io"

// blockSize is the unit of storage in bytes. Small files use smaller blocks.
const blockSize = 64 << 10

// data is the content of a file: blocks of blockSize, of which any may be
// shorter or absent. What a block does not hold reads as zeros. Beyond the
// length of a block its memory is always zero, up to its capacity.
type data struct {
	size   int64
	blocks [][]byte
}

// span calls fn for each part of [off, off+n) that lies in one block.
func span(off int64, n int, fn func(block, from, to int)) {
	for n > 0 {
		from := int(off % blockSize)
		to := min(from+n, blockSize)
		fn(int(off/blockSize), from, to)
		off += int64(to - from)
		n -= to - from
	}
}

// readAt is io.ReaderAt.
func (d *data) readAt(p []byte, off int64) (int, error) {
	if off >= d.size {
		return 0, io.EOF
	}
	var err error
	if left := d.size - off; int64(len(p)) > left {
		p, err = p[:left], io.EOF
	}
	n := 0
	span(off, len(p), func(block, from, to int) {
		part := p[n : n+to-from]
		var held []byte
		if block < len(d.blocks) && from < len(d.blocks[block]) {
			held = d.blocks[block][from:]
		}
		clear(part[copy(part, held):])
		n += len(part)
	})
	return n, err
}

// cost returns the bytes that writing n bytes at off would add to what is held.
func (d *data) cost(off int64, n int) int64 {
	var sum int64
	span(off, n, func(block, _, to int) {
		held := 0
		if block < len(d.blocks) {
			held = len(d.blocks[block])
		}
		sum += int64(max(0, to-held))
	})
	return sum
}

// writeAt stores p at off, which together lie below maxFileSize.
func (d *data) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	end := off + int64(len(p))
	if need := int((end + blockSize - 1) / blockSize); need > len(d.blocks) {
		d.blocks = append(d.blocks, make([][]byte, need-len(d.blocks))...)
	}
	span(off, len(p), func(block, from, to int) {
		b := reach(d.blocks[block], to)
		p = p[copy(b[from:to], p):]
		d.blocks[block] = b
	})
	d.size = max(d.size, end)
}

// reach returns b with at least n bytes. It copies only where a small block
// grows into the next class, so at most two times in the life of a block.
func reach(b []byte, n int) []byte {
	if n <= len(b) {
		return b
	}
	if n <= cap(b) {
		return b[:n]
	}
	class := blockSize
	for _, small := range []int{1 << 10, 16 << 10} {
		if n <= small {
			class = small
			break
		}
	}
	grown := make([]byte, n, class)
	copy(grown, b)
	return grown
}

// truncate sets the size, shrinking or growing by a hole, and returns how many
// held bytes it freed.
func (d *data) truncate(size int64) int64 {
	var freed int64
	for len(d.blocks) > 0 {
		last := len(d.blocks) - 1
		b := d.blocks[last]
		keep := int(min(max(size-int64(last)*blockSize, 0), int64(len(b))))
		freed += int64(len(b) - keep)
		clear(b[keep:])
		if keep > 0 {
			d.blocks[last] = b[:keep]
			break
		}
		d.blocks[last] = nil
		d.blocks = d.blocks[:last]
	}
	d.size = size
	return freed
}
