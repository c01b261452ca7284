package netem

import (
	"math"
	"math/rand/v2"
	"time"
)

// lane reckons what happens to the bytes of one direction. It waits for nothing; its times are absolute, so that being woken late adds up
// to nothing.
type lane struct {
	shape Shape
	epoch time.Time
	rand  *rand.Rand

	busy time.Time // until then the bandwidth is taken by earlier bytes
	last time.Time // when the latest bytes arrive
	flip int64     // bytes before the next that is damaged; negative means that it is not drawn
}

func newLane(seed, stream uint64) lane {
	return lane{rand: rand.New(rand.NewPCG(seed, stream)), flip: -1}
}

func (l *lane) set(s Shape, epoch time.Time) { l.shape, l.epoch, l.flip = s, epoch, -1 }

// ahead is how far a sender may be ahead of the bandwidth, as the buffer of a network card has it.
const ahead = 50 * time.Millisecond

// ready gives when the lane takes more bytes, which may have passed.
func (l *lane) ready() time.Time { return l.busy.Add(-ahead) }

// Sizes of the pieces that bytes travel in.
const (
	maxPiece  = 64 << 10
	minPiece  = 512
	pieceTime = 10 * time.Millisecond // of the bandwidth
)

// piece is the most bytes that travel as one.
func (l *lane) piece() int {
	if l.shape.Bandwidth == 0 {
		return maxPiece
	}
	return int(min(max(l.shape.Bandwidth/int64(time.Second/pieceTime), minPiece), maxPiece))
}

// arrival gives when n bytes sent now arrive.
func (l *lane) arrival(now time.Time, n int) time.Time {
	t := now
	if bw := l.shape.Bandwidth; bw > 0 {
		if t.Before(l.busy) {
			t = l.busy
		}
		t = t.Add(time.Duration(float64(n) / float64(bw) * float64(time.Second)))
		l.busy = t
	}
	delay := l.shape.Delay.Draw(l.rand)
	if j := l.shape.Jitter; j > 0 {
		delay += time.Duration((2*l.rand.Float64() - 1) * float64(j))
	}
	t = l.shape.Stall.release(l.epoch, t.Add(max(delay, 0)))
	if t.Before(l.last) {
		t = l.last
	}
	l.last = t
	return t
}

// damage flips a bit of some bytes.
func (l *lane) damage(p []byte) {
	if l.shape.Corrupt <= 0 {
		return
	}
	for {
		if l.flip < 0 {
			l.flip = l.untilFlip()
		}
		if l.flip >= int64(len(p)) {
			l.flip -= int64(len(p))
			return
		}
		p = p[l.flip:]
		p[0] ^= 1 << l.rand.IntN(8)
		p, l.flip = p[1:], -1
	}
}

// untilFlip draws how many bytes stay whole before the next that does not.
func (l *lane) untilFlip() int64 {
	if l.shape.Corrupt >= 1 {
		return 0
	}
	n := math.Log(1-l.rand.Float64()) / math.Log1p(-l.shape.Corrupt)
	return int64(min(n, math.MaxInt64/2))
}
