package netem

import (
	"bytes"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"
	"time"
)

var epoch = time.Unix(1_000_000, 0)

func laneOf(s Shape) *lane {
	l := newLane(1, 0)
	l.set(s, epoch)
	return &l
}

func TestStall(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		stall   Stall
		at, out time.Duration
	}{
		{Stall{}, 0, 0},
		{Stall{Every: 10 * s, For: s}, 0, s},
		{Stall{Every: 10 * s, For: s}, s - 1, s},
		{Stall{Every: 10 * s, For: s}, s, s},
		{Stall{Every: 10 * s, For: s}, 10*s - 1, 10*s - 1},
		{Stall{Every: 10 * s, For: s}, 10*s + s/4, 11 * s},
		{Stall{Every: 10 * s, For: s}, 36_000*s + s/2, 36_001 * s},
		{Stall{Every: 10 * s, For: s, At: 3 * s}, 0, 0},
		{Stall{Every: 10 * s, For: s, At: 3 * s}, 3 * s, 4 * s},
		{Stall{Every: 10 * s, For: s, At: 3 * s}, 10 * s, 10 * s},
		{Stall{Every: 10 * s, For: s, At: 3 * s}, 13 * s, 14 * s},
		{Stall{For: s, At: 3 * s}, 3 * s, 4 * s},
		{Stall{For: s, At: 3 * s}, 13 * s, 13 * s},
	} {
		if got := test.stall.release(epoch, epoch.Add(test.at)).Sub(epoch); got != test.out {
			t.Errorf("%+v: what is due at %v arrives at %v, want %v", test.stall, test.at, got, test.out)
		}
	}
}

// TestLaneKeepsOrder draws delays that would have pieces overtake each other.
func TestLaneKeepsOrder(t *testing.T) {
	l := laneOf(Shape{Delay: Exponential(20 * ms), Jitter: 10 * ms, Stall: Stall{Every: time.Second, For: 300 * ms}})
	now, last, spread := epoch, epoch, 0
	for range 10_000 {
		at := l.arrival(now, 100)
		if at.Before(last) || at.Before(now) {
			t.Fatalf("sent at %v it arrives at %v, after one at %v", now.Sub(epoch), at.Sub(epoch), last.Sub(epoch))
		}
		if at.After(last) {
			spread++
		}
		last, now = at, now.Add(ms)
	}
	if spread < 100 {
		t.Errorf("only %d arrivals differ", spread)
	}
}

func TestLaneBandwidthIsExact(t *testing.T) {
	const bandwidth = 1 << 20
	l := laneOf(Shape{Bandwidth: bandwidth, Delay: Fixed(20 * ms)})
	now, sent := epoch, 0
	r := rand.New(rand.NewPCG(2, 0))
	var last time.Time
	for sent < 10*bandwidth {
		if ready := l.ready(); ready.After(now) {
			now = ready.Add(time.Duration(r.IntN(int(5 * ms)))) // woken late
		}
		n := 1 + r.IntN(l.piece())
		sent += n
		last = l.arrival(now, n)
	}
	want := time.Duration(float64(sent) / bandwidth * float64(time.Second))
	if got := last.Add(-20 * ms).Sub(epoch); (got - want).Abs() > ms {
		t.Errorf("%d bytes take %v, want %v", sent, got, want)
	}
	idle := last.Add(time.Minute)
	if got := l.arrival(idle, bandwidth).Sub(idle); (got - time.Second - 20*ms).Abs() > ms {
		t.Errorf("after a pause a second's worth takes %v", got)
	}
}

func TestLaneDamage(t *testing.T) {
	const size, rate = 1 << 20, 1e-3
	l := laneOf(Shape{Corrupt: rate})
	flipped, pairs := 0, 0
	for range 4 {
		p := make([]byte, size)
		for rest := p; len(rest) > 0; { // in pieces, across which the rate holds
			n := min(len(rest), 777)
			l.damage(rest[:n])
			rest = rest[n:]
		}
		for _, b := range p {
			switch bits.OnesCount8(b) {
			case 0:
			case 1:
				flipped++
			default:
				pairs++
			}
		}
	}
	want := 4 * size * rate
	if pairs > 0 || math.Abs(float64(flipped)-want) > 4*math.Sqrt(want) {
		t.Errorf("%d bytes with one bit flipped and %d with more, want %v and none", flipped, pairs, want)
	}
	p := make([]byte, 1000)
	laneOf(Shape{Corrupt: 1}).damage(p)
	if bytes.IndexByte(p, 0) >= 0 {
		t.Error("a byte is whole where none shall be")
	}
	p = make([]byte, 1000)
	laneOf(Shape{}).damage(p)
	if !bytes.Equal(p, make([]byte, 1000)) {
		t.Error("a byte is damaged where none shall be")
	}
}
