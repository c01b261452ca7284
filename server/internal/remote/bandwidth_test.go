package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBandwidthIsHeldWithinFivePercent(t *testing.T) {
	for _, kbps := range []int{1, 100, 5000, 1 << 15} {
		synctest.Test(t, func(t *testing.T) {
			b := NewBandwidth(kbps)
			size := int64(kbps) << 10 * 4 // four seconds
			start := time.Now()
			var wg sync.WaitGroup
			for range 2 { // both share the limit
				wg.Go(func() {
					half := io.LimitReader(zeros{}, size/2)
					if n, err := io.Copy(struct{ io.Writer }{b.Writer(t.Context(), io.Discard)}, half); n != size/2 || err != nil {
						t.Errorf("%d bytes, %v", n, err)
					}
				})
			}
			wg.Wait()
			wantSeconds(t, "writers", time.Since(start), 4)
			start = time.Now()
			if n, err := io.Copy(io.Discard, b.Reader(t.Context(), io.LimitReader(zeros{}, size))); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			wantSeconds(t, "reader", time.Since(start), 4)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func wantSeconds(t *testing.T, what string, got time.Duration, want float64) {
	t.Helper()
	if math.Abs(got.Seconds()-want) > 0.05*want {
		t.Errorf("%s took %v, want %v s", what, got, want)
	}
}

func TestBandwidthEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("no longer wanted")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer cancel()
		start := time.Now()
		b := NewBandwidth(1)
		if _, err := io.Copy(io.Discard, b.Reader(ctx, strings.NewReader(strings.Repeat("x", 64<<10)))); !errors.Is(err, why) {
			t.Errorf("reader: %v", err)
		}
		if n, err := b.Writer(ctx, io.Discard).Write(make([]byte, 64<<10)); n != 0 || !errors.Is(err, why) {
			t.Errorf("writer: %d, %v", n, err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestNoBandwidthLimit(t *testing.T) {
	b := NewBandwidth(0)
	var buf bytes.Buffer
	if b != nil || b.Wait(t.Context(), 1<<40) != nil || b.Writer(t.Context(), &buf) != &buf || b.Reader(t.Context(), &buf) != &buf {
		t.Error("no limit costs something")
	}
}
