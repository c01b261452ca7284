package cache

import (
	"context"
	"errors"
	"time"
)

// Result is what Do found or made.
type Result[V any] struct {
	Value V
	Hit   bool          // it was remembered
	Age   time.Duration // of a hit
}

// Loaded is what a load has made.
type Loaded[V any] struct {
	Value V
	Size  int64 // bytes that it takes
	Keep  bool  // it may be given to later callers; an error never is
}

// flight is one load under way. The cache's mutex guards what is not said to be fixed before done is closed.
type flight[V any] struct {
	done    chan struct{}
	cancel  context.CancelCauseFunc
	waiters int
	stale   bool // its result is not to be kept

	value V
	err   error
}

var errPanicked = errors.New("the call that made the result for this one panicked")

// Do returns the result for key: a remembered one, that which another caller is making at this moment, or one that it makes with load.
//
// The context of load has the values of the first caller's and ends when all callers that wait for the result have gone, so a
// caller that leaves takes nothing from the others; the first one stays until load returns. A follower whose ctx ends gets its cause. A
// result, or an error, is given to all who wait for it.
func (c *Cache[K, V]) Do(ctx context.Context, groupName string, key K, load func(context.Context) (Loaded[V], error)) (Result[V], error) {
	c.mu.Lock()
	now := c.now()
	if e := c.get(key, now); e != nil {
		c.stats.Hits++
		c.mu.Unlock()
		return Result[V]{e.value, true, now.Sub(e.stored)}, nil
	}
	g := c.group(groupName)
	if f := g.flights[key]; f != nil {
		c.stats.Shared++
		f.waiters++
		c.mu.Unlock()
		return c.follow(ctx, groupName, key, f)
	}
	c.stats.Misses++
	f := &flight[V]{done: make(chan struct{}), waiters: 1}
	g.flights[key] = f
	loading, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f.cancel = cancel
	c.mu.Unlock()
	return c.lead(ctx, loading, groupName, key, f, load)
}

func (c *Cache[K, V]) follow(ctx context.Context, groupName string, key K, f *flight[V]) (Result[V], error) {
	select {
	case <-f.done:
		return Result[V]{Value: f.value}, f.err
	case <-ctx.Done():
		c.quit(ctx, groupName, key, f)
		return Result[V]{}, context.Cause(ctx)
	}
}

// lead makes the result. It tells the followers even when load panics.
func (c *Cache[K, V]) lead(ctx, loading context.Context, groupName string, key K, f *flight[V], load func(context.Context) (Loaded[V], error)) (Result[V], error) {
	stop := context.AfterFunc(ctx, func() { c.quit(ctx, groupName, key, f) })
	var made Loaded[V]
	f.err = errPanicked
	defer func() {
		stop()
		f.cancel(nil)
		c.land(groupName, key, f, made)
	}()
	made, f.err = load(loading)
	f.value = made.Value
	return Result[V]{Value: f.value}, f.err
}

// quit takes one caller from f; the last one ends the load, which nobody may join any more.
func (c *Cache[K, V]) quit(ctx context.Context, groupName string, key K, f *flight[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiters--; f.waiters > 0 {
		return
	}
	f.cancel(context.Cause(ctx))
	f.stale = true // once nobody can join it, Invalidate no longer finds it
	c.forget(groupName, key, f)
}

func (c *Cache[K, V]) forget(groupName string, key K, f *flight[V]) {
	if g := c.groups[groupName]; g != nil && g.flights[key] == f {
		delete(g.flights, key)
		c.tidy(groupName, g)
	}
}

// land ends f, and remembers its result where that is sound.
func (c *Cache[K, V]) land(groupName string, key K, f *flight[V], made Loaded[V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if made.Keep && f.err == nil && !f.stale {
		c.put(key, &entry[V]{made.Value, made.Size, c.now(), groupName})
	}
	c.forget(groupName, key, f)
	close(f.done)
}
