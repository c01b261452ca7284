package admission

import (
	"errors"
	"testing"
	"time"
)

func TestMemoryMarks(t *testing.T) {
	var l Limiter
	shrinks := 0
	m := Memory{Limiter: &l, Shrink: func() { shrinks++ }}
	const mb = 1 << 20
	m.SetMark(100 * mb)
	now := time.Unix(1000, 0)
	for i, tc := range []struct {
		mb       int64
		refused  bool
		shrinks  int
		reported string
	}{
		{100, false, 0, ""},
		{101, false, 1, "memory use is above its mark; caches shrink and idle connections go"},
		{125, false, 2, ""},
		{126, true, 3, "memory use is above the hard mark; new work is refused"},
		{120, true, 4, ""}, // not yet half-way back
		{112, false, 5, "memory use is above its mark; caches shrink and idle connections go"},
		{120, false, 6, ""},
		{130, true, 7, "memory use is above the hard mark; new work is refused"},
		{90, false, 7, "memory use is normal again"},
	} {
		reported := ""
		m.Report = func(message string, _ Usage) { reported = message }
		m.step(tc.mb*mb, now)
		leave, err := l.Enter(t.Context(), "p", 10)
		if refused := errors.Is(err, ErrLimit); refused != tc.refused || shrinks != tc.shrinks || reported != tc.reported {
			t.Errorf("step %d, %d MB: refused %v (%v), shrinks %d, reported %q", i, tc.mb, refused, err, shrinks, reported)
		}
		var r *Refusal
		if err == nil {
			leave()
		} else if !errors.As(err, &r) || r.RetryAfter != memoryRetry {
			t.Errorf("refused with %v", err)
		}
		if u := m.Usage(); u.Resident != tc.mb*mb || u.Refusing != tc.refused || u.Hard != 125*mb || u.Shrinks != int64(tc.shrinks) {
			t.Errorf("step %d: usage %+v", i, u)
		}
		now = now.Add(time.Second)
	}
}

func TestMemoryWithoutMark(t *testing.T) {
	m := Memory{Limiter: &Limiter{}, Shrink: func() { t.Error("shrunk") }}
	m.step(1<<40, time.Now())
}

func TestResidentReader(t *testing.T) {
	read, done := residentReader()
	defer done()
	before, ok := read()
	if !ok || before < 1<<20 {
		t.Fatalf("%d bytes resident, %v", before, ok)
	}
	block := make([]byte, 64<<20)
	for i := 0; i < len(block); i += 4096 {
		block[i] = 1
	}
	after, ok := read()
	if grown := after - before; !ok || grown < 48<<20 || grown > 200<<20 {
		t.Errorf("64 MiB more in use show as %d bytes", grown)
	}
	if block[0] != 1 {
		t.Error("unreachable")
	}
	if bytes, ok := managed(); !ok || bytes < 64<<20 {
		t.Errorf("the runtime manages %d bytes", bytes)
	}
}
