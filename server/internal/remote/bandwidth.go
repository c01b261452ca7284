package remote

import (
	"context"
	"io"
	"time"

	"golang.org/x/time/rate"
)

// Bandwidth holds the payload that passes all of its readers and writers together under a rate. It is safe for concurrent use. A nil
// Bandwidth lets everything pass.
type Bandwidth struct {
	tokens *rate.Limiter
	burst  int // bytes
}

// NewBandwidth returns a limit of kbps × 1024 bytes a second, the unit of rsync's --bwlimit; 0 means no limit and gives nil.
func NewBandwidth(kbps int) *Bandwidth {
	if kbps <= 0 {
		return nil
	}
	perSecond := kbps << 10
	burst := perSecond / 50 // 20 ms: late timers catch up, and the sum of one second stays within 2 %
	return &Bandwidth{tokens: rate.NewLimiter(rate.Limit(perSecond), burst), burst: burst}
}

// Wait returns when n bytes may pass. The error is the cause of ctx's end.
func (b *Bandwidth) Wait(ctx context.Context, n int) error {
	for b != nil && n > 0 {
		part := min(n, b.burst)
		r := b.tokens.ReserveN(time.Now(), part)
		if !rest(ctx, r.Delay()) {
			r.Cancel()
			return context.Cause(ctx)
		}
		n -= part
	}
	return nil
}

// rest waits for d and reports false when ctx ended first.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Reader returns r held under the limit until ctx ends; a nil Bandwidth returns r itself.
func (b *Bandwidth) Reader(ctx context.Context, r io.Reader) io.Reader {
	if b == nil {
		return r
	}
	return &limitedReader{ctx, b, r}
}

// Writer returns w held under the limit until ctx ends; a nil Bandwidth returns w itself.
func (b *Bandwidth) Writer(ctx context.Context, w io.Writer) io.Writer {
	if b == nil {
		return w
	}
	return &limitedWriter{ctx, b, w}
}

type limitedReader struct {
	ctx context.Context
	b   *Bandwidth
	r   io.Reader
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if e := l.b.Wait(l.ctx, n); e != nil {
		return 0, e
	}
	return n, err
}

type limitedWriter struct {
	ctx context.Context
	b   *Bandwidth
	w   io.Writer
}

func (l *limitedWriter) Write(p []byte) (int, error) {
	if err := l.b.Wait(l.ctx, len(p)); err != nil {
		return 0, err
	}
	return l.w.Write(p)
}
