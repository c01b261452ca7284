package loadgen

import (
	"context"
	"time"
)

// pacer waits until t, or until ctx ends and returns its error. It returns at once when t has passed.
type pacer func(ctx context.Context, t time.Time) error

// sleepTimer waits on a timer, which may fire up to a millisecond late.
func sleepTimer(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
