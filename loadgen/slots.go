package loadgen

import (
	"math/bits"
	"sync"
)

// maxSlots bounds Executor.MaxInFlight: each slot in use has a goroutine.
const maxSlots = 100_000

// slots hands out the numbers 0 to n−1, the lowest free one first. It is safe for concurrent use.
type slots struct {
	mu    sync.Mutex
	n     int
	taken []uint64 // a bit for each number
}

func newSlots(n int) *slots {
	return &slots{n: n, taken: make([]uint64, (n+63)/64)}
}

// take returns the lowest free number; ok is false when all are taken.
func (s *slots) take() (slot int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, word := range s.taken {
		if free := bits.TrailingZeros64(^word); free < 64 {
			if slot = i*64 + free; slot >= s.n {
				return 0, false
			}
			s.taken[i] |= 1 << free
			return slot, true
		}
	}
	return 0, false
}

// release frees a number that take gave.
func (s *slots) release(slot int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken[slot/64] &^= 1 << (slot % 64)
}
