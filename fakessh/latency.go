package fakessh

import (
	"math/rand/v2"
	"sync"
	"time"
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
// all. The same seed and order of operations give the same waits. [Faults] can
// do the same, and change while the host runs; they wait in addition.
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

func (l *delays) init(of Latency) {
	l.connect, l.exec, l.sftp = of.Connect, of.Exec, of.SFTP
	l.rand = rand.New(rand.NewPCG(of.Seed, 0))
}

// draw gives a wait of d, 0 if that is nil.
func (l *delays) draw(d Delay) time.Duration {
	if d == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(d(l.rand), 0)
}
