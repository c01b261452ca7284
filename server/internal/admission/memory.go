package admission

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	memoryInterval = time.Second
	memoryRetry    = 5 * time.Second  // what refused callers are told
	freeInterval   = 10 * time.Second // between two returns of free memory to the system
)

// Memory watches the resident memory of the process. Above its mark it asks for memory to be given up; above the hard mark, a quarter
// beyond, it has the limiter refuse new work until half of that quarter is free again. Fields may be set before Run; the methods are safe
// for concurrent use.
type Memory struct {
	Limiter *Limiter
	Shrink  func()                          // gives up what can be made anew; called at most once a second
	Report  func(message string, now Usage) // hears when a mark is passed, either way; nil is nobody

	mark     atomic.Int64
	resident atomic.Int64
	level    atomic.Int64
	shrinks  atomic.Int64

	stepping sync.Mutex
	freed    time.Time
}

// Usage is the state of a Memory. Sizes are bytes.
type Usage struct {
	Resident int64 // 0 before the first reading
	Mark     int64 // max_memory_mb
	Hard     int64 // above it, work is refused
	Refusing bool
	Shrinks  int64 // times that memory was given up
}

// The levels of use.
const (
	normal = iota
	high   // above the mark
	full   // above the hard mark
)

// SetMark sets the mark in bytes; 0 is none.
func (m *Memory) SetMark(bytes int64) { m.mark.Store(bytes) }

// Limit is what to give to the garbage collector as its limit for a mark: a tenth below, so that it works harder before anything else
// has to.
func Limit(mark int64) int64 { return mark / 10 * 9 }

func hard(mark int64) int64 { return mark / 4 * 5 }

// Usage returns the last reading.
func (m *Memory) Usage() Usage {
	mark := m.mark.Load()
	return Usage{m.resident.Load(), mark, hard(mark), m.level.Load() == full, m.shrinks.Load()}
}

// Run reads the memory in use each second until ctx ends. It may run more than once at a time.
func (m *Memory) Run(ctx context.Context) {
	read, done := residentReader()
	defer done()
	tick := time.NewTicker(memoryInterval)
	defer tick.Stop()
	for {
		if bytes, ok := read(); ok {
			m.step(bytes, time.Now())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// step takes one reading.
func (m *Memory) step(resident int64, now time.Time) {
	m.stepping.Lock()
	defer m.stepping.Unlock()
	m.resident.Store(resident)
	mark, before := m.mark.Load(), m.level.Load()
	level := levelOf(resident, mark, before)
	m.level.Store(level)
	if level != before {
		m.change(before, level)
	}
	if level == normal {
		return
	}
	m.shrinks.Add(1)
	m.Shrink()
	if now.Sub(m.freed) >= freeInterval {
		m.freed = now
		debug.FreeOSMemory()
	}
}

func levelOf(resident, mark, before int64) int64 {
	release := hard(mark)
	if before == full {
		release -= (hard(mark) - mark) / 2
	}
	switch {
	case mark == 0 || resident <= mark:
		return normal
	case resident <= release:
		return high
	}
	return full
}

func (m *Memory) change(before, level int64) {
	now := m.Usage()
	switch {
	case level == full:
		m.Limiter.Refuse(&Refusal{
			fmt.Sprintf("the server uses %d MB of memory, more than the %d MB at which it stops taking work", now.Resident>>20, now.Hard>>20), memoryRetry})
	case before == full:
		m.Limiter.Refuse(nil)
	}
	if m.Report != nil {
		m.Report([...]string{"memory use is normal again", "memory use is above its mark; caches shrink and idle connections go",
			"memory use is above the hard mark; new work is refused"}[level], now)
	}
}
