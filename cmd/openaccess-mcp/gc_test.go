package main

import (
	"runtime"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 800, 1 << 20: 800, 4 << 20: 700, 8 << 20: 300, 11 << 20: 150, 16 << 20: 100, 24 << 20: 100, 32 << 20: 100, 1 << 30: 100,
	} {
		p := gcPacer{peak: live}
		if got := p.percent(live); got != want {
			t.Errorf("with %d MiB alive: %d %%, want %d", live>>20, got, want)
		}
	}
}

func TestGCRunsOftenWhileTheHeapGrows(t *testing.T) {
	var p gcPacer
	for _, step := range []struct {
		live uint64
		want int
	}{{0, 800}, {4 << 20, 700}, {8 << 20, 300}, {9 << 20, growing}, {20 << 20, growing}, {20<<20 + 1, 100}, {16 << 20, 100}, {20 << 20, 100}, {21 << 20, growing}} {
		if got := p.percent(step.live); got != step.want {
			t.Errorf("with %d bytes alive: %d %%, want %d", step.live, got, step.want)
		}
	}
}

func TestAfterEachCollection(t *testing.T) {
	begin, calls := time.Now(), make(chan struct{}, 1)
	afterEachCollection(func() {
		select {
		case calls <- struct{}{}:
		default:
		}
	})
	for range 3 {
		// What the next call hangs on may come to be while a collection runs, which then leaves it.
		for called := false; !called; {
			runtime.GC()
			select {
			case <-calls:
				called = true
			case <-time.After(10 * time.Millisecond):
				if time.Since(begin) > time.Minute {
					t.Fatal("nothing is called after collections")
				}
			}
		}
	}
}
