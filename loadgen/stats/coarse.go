package stats

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"time"
)

const (
	coarseSub     = 8  // buckets per doubling: a bucket is at most an eighth wider than its start
	coarseOctaves = 33 // 1 µs doubled 32 times exceeds an hour
	coarseBuckets = coarseSub * coarseOctaves
)

// Coarse is a histogram of about a kibibyte for charts: durations from a microsecond to an hour in buckets an eighth of a doubling wide,
// with the exact longest one. The zero value is empty and ready for use. It is not safe for concurrent use.
type Coarse struct {
	counts [coarseBuckets]uint32
	n      int64
	max    time.Duration
}

// Record adds one duration.
func (c *Coarse) Record(d time.Duration) {
	c.counts[coarseBucket(d)]++
	c.n++
	c.max = max(c.max, d)
}

// Merge adds all that other holds.
func (c *Coarse) Merge(other *Coarse) {
	for i, n := range other.counts {
		c.counts[i] += n
	}
	c.n += other.n
	c.max = max(c.max, other.max)
}

// Count is the number of durations recorded.
func (c *Coarse) Count() int64 { return c.n }

// Max is the longest duration recorded, 0 when there is none.
func (c *Coarse) Max() time.Duration { return c.max }

// Percentile returns the duration at the fraction q, interpolated inside its bucket, or 0 when nothing was recorded. Unlike
// Histogram.Percentile it answers for any number of samples: a chart shows its window whatever it holds.
func (c *Coarse) Percentile(q float64) time.Duration {
	if c.n == 0 {
		return 0
	}
	rank := min(max(q, 0), 1) * float64(c.n)
	var below float64
	for i, n := range c.counts {
		if n > 0 && below+float64(n) >= rank {
			low, high := coarseStart(i), coarseStart(i+1)
			into := (rank - below) / float64(n)
			return min(low+time.Duration(into*float64(high-low)), c.max)
		}
		below += float64(n)
	}
	return c.max
}

// coarseBucket is the index of the bucket that holds d.
func coarseBucket(d time.Duration) int {
	eighths := uint64(max(d, 0)) * coarseSub / uint64(time.Microsecond)
	if eighths < coarseSub {
		return 0
	}
	octave := bits.Len64(eighths/coarseSub) - 1
	return min(octave*coarseSub+int(eighths>>octave)-coarseSub, coarseBuckets-1)
}

// coarseStart is the shortest duration of bucket i, the inverse of coarseBucket.
func coarseStart(i int) time.Duration {
	if i <= 0 {
		return 0
	}
	octave, sub := i/coarseSub, i%coarseSub
	return time.Microsecond * time.Duration(coarseSub+sub) << octave / coarseSub
}

// Sparse encodes the counts as a short text for DecodeSparse, in at most buckets buckets: where more are in use, neighbours are taken together,
// two, four or more at a time, for the whole histogram. The longest duration is not part of it. buckets must be above 0.
func (c *Coarse) Sparse(buckets int) string {
	shift := 0
	for c.used(shift) > buckets {
		shift++
	}
	b := []byte{byte(shift)}
	next := 0
	for i := 0; i < coarseBuckets; i += 1 << shift {
		n := c.sum(i, shift)
		if n == 0 {
			continue
		}
		at := i >> shift
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(at-next)), n)
		next = at + 1
	}
	return base64.RawStdEncoding.EncodeToString(b)
}

func (c *Coarse) used(shift int) (n int) {
	for i := 0; i < coarseBuckets; i += 1 << shift {
		if c.sum(i, shift) > 0 {
			n++
		}
	}
	return n
}

// sum counts what the buckets hold that stand together from i on.
func (c *Coarse) sum(i, shift int) (n uint64) {
	for j := i; j < min(i+1<<shift, coarseBuckets); j++ {
		n += uint64(c.counts[j])
	}
	return n
}

// DecodeSparse reads what Sparse wrote. Buckets that were taken together stand in the middle one, and Max is the end of the last.
func DecodeSparse(s string) (*Coarse, error) {
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("decode sparse histogram: %v", err)
	}
	if len(b) == 0 || b[0] > maxShift {
		return nil, errors.New("decode sparse histogram: it does not begin with the width of its buckets")
	}
	shift, rest, c := b[0], b[1:], &Coarse{}
	for at := uint64(0); len(rest) > 0; at++ {
		gap, n := binary.Uvarint(rest)
		count, m := binary.Uvarint(rest[max(n, 0):])
		if n <= 0 || m <= 0 || gap >= coarseBuckets || count == 0 || count > math.MaxUint32 {
			return nil, errors.New("decode sparse histogram: it is cut off or damaged")
		}
		rest = rest[n+m:]
		at += gap
		i := at << shift
		if i >= coarseBuckets {
			return nil, errors.New("decode sparse histogram: it has a bucket beyond the last")
		}
		last := min(i+1<<shift, coarseBuckets) - 1
		c.counts[(i+last)/2] += uint32(count)
		c.n += int64(count)
		c.max = coarseStart(int(last) + 1)
	}
	return c, nil
}

// maxShift takes all buckets together.
const maxShift = 9

// Bucket is a stretch of durations and how many lie in it.
type Bucket struct {
	Start, End time.Duration
	N          int64
}

// Buckets goes over the buckets that hold anything, from short to long.
func (c *Coarse) Buckets() iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for i, n := range c.counts {
			if n > 0 && !yield(Bucket{coarseStart(i), coarseStart(i + 1), int64(n)}) {
				return
			}
		}
	}
}
