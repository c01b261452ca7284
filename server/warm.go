package server

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// warmAtOnce is to how many profiles connections are made at once.
const warmAtOnce = 16

// warmer asks for the profiles of connection_pooling.warm_up to be connected to.
type warmer chan struct{} // holds one element while that is wanted

func newWarmer() warmer {
	w := make(warmer, 1)
	w.again()
	return w
}

// again asks once more.
func (w warmer) again() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// warmUp connects to the named profiles whenever that is wanted, until ctx ends. Connections that nobody uses end like all others.
func (s *Server) warmUp(ctx context.Context) {
	for {
		select {
		case <-s.warmer:
		case <-ctx.Done():
			return
		}
		cfg := s.current().Pooling
		if !cfg.enabled() {
			continue
		}
		var all errgroup.Group
		all.SetLimit(warmAtOnce)
		for _, id := range cfg.WarmUp {
			all.Go(func() error { s.warm(ctx, id); return nil })
		}
		_ = all.Wait()
	}
}

// warm connects to one profile. A failure is logged: the calls that come will say more.
func (s *Server) warm(ctx context.Context, id string) {
	start := time.Now()
	t, err := s.profiles.Resolve(ctx, id)
	if err == nil {
		err = s.pool.Warm(ctx, t)
	}
	switch {
	case err == nil:
		s.cfg.Logger.Info("warmed up", "profile", id, "seconds", time.Since(start).Seconds())
	case ctx.Err() == nil:
		s.cfg.Logger.Warn("a profile could not be warmed up", "profile", id, "error", err)
	}
}
