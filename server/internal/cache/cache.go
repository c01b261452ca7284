// Package cache remembers results: a cache bounded by entries, bytes and age, that makes each missing result once for all who ask for it at
// the same time.
//
// Start with Cache.Do. Results belong to groups, and Invalidate forgets those of one group, also those being made. The order of use is
// kept by hashicorp/golang-lru's plain list: its bounds are exact and it starts nothing, where caches that admit and evict in the
// background may drop a result that was just stored, or bound either entries or bytes.
package cache

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Config bounds a cache. All fields must be positive.
type Config struct {
	MaxEntries int
	MaxBytes   int64
	TTL        time.Duration // how long a result may be given out
}

// Cache holds results of type V by keys of type K. It is safe for concurrent use, starts nothing and need not be closed.
type Cache[K comparable, V any] struct {
	now func() time.Time

	mu     sync.Mutex
	cfg    Config
	lru    *simplelru.LRU[K, *entry[V]]
	bytes  int64
	groups map[string]*group[K, V]
	stats  Stats
}

type entry[V any] struct {
	value  V
	size   int64
	stored time.Time
	group  string
}

// group is what belongs together; those without content are forgotten.
type group[K comparable, V any] struct {
	keys    map[K]struct{} // of its entries
	flights map[K]*flight[V]
}

// Stats counts what became of the calls of Do, and why entries have gone.
type Stats struct {
	Hits, Misses int64
	Shared       int64 // calls that waited for another's result
	Evicted      int64 // entries that gave way to the bounds or to Shrink
	Expired      int64 // entries that grew too old
	Invalidated  int64
	Entries      int   // now
	Bytes        int64 // now
}

// New returns an empty cache.
func New[K comparable, V any](cfg Config) *Cache[K, V] {
	c := &Cache[K, V]{now: time.Now, cfg: cfg, groups: map[string]*group[K, V]{}}
	lru, err := simplelru.NewLRU(cfg.MaxEntries, c.removed)
	if err != nil {
		panic("cache: " + err.Error()) // MaxEntries is not positive
	}
	c.lru = lru
	return c
}

// Configure changes the bounds; what is beyond them goes.
func (c *Cache[K, V]) Configure(cfg Config) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg = cfg
	c.stats.Evicted += int64(c.lru.Resize(cfg.MaxEntries))
	c.evict(cfg.MaxBytes)
}

// Invalidate forgets the results of a group. Calls of Do that come after it get none that was begun before it.
func (c *Cache[K, V]) Invalidate(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[name]
	if g == nil {
		return
	}
	for key, f := range g.flights {
		f.stale = true
		delete(g.flights, key)
	}
	for key := range g.keys {
		c.lru.Remove(key)
		c.stats.Invalidated++
	}
	c.tidy(name, g)
}

// Forget does to the result of one key what Invalidate does to those of a group.
func (c *Cache[K, V]) Forget(name string, key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.groups[name]
	if g == nil {
		return
	}
	if f := g.flights[key]; f != nil {
		f.stale = true
		delete(g.flights, key)
	}
	if c.lru.Remove(key) {
		c.stats.Invalidated++
	}
	c.tidy(name, g)
}

// Shrink gives up the half of the bytes that was not used for the longest.
func (c *Cache[K, V]) Shrink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict(c.bytes / 2)
}

// Purge gives up what is too old.
func (c *Cache[K, V]) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	for _, key := range c.lru.Keys() {
		if e, _ := c.lru.Peek(key); c.old(e, now) {
			c.lru.Remove(key)
			c.stats.Expired++
		}
	}
}

// Stats returns the counts since New.
func (c *Cache[K, V]) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Entries, s.Bytes = c.lru.Len(), c.bytes
	return s
}

// get finds a result that may be given out; c.mu is held.
func (c *Cache[K, V]) get(key K, now time.Time) *entry[V] {
	e, ok := c.lru.Get(key)
	switch {
	case !ok:
		return nil
	case c.old(e, now):
		c.lru.Remove(key)
		c.stats.Expired++
		return nil
	}
	return e
}

func (c *Cache[K, V]) old(e *entry[V], now time.Time) bool { return now.Sub(e.stored) >= c.cfg.TTL }

// put stores a result, unless it alone is beyond the bounds; c.mu is held.
func (c *Cache[K, V]) put(key K, e *entry[V]) {
	c.lru.Remove(key) // made again after it went stale: the newer one counts
	if e.size > c.cfg.MaxBytes {
		return
	}
	c.evict(c.cfg.MaxBytes - e.size)
	if c.lru.Add(key, e) {
		c.stats.Evicted++
	}
	c.bytes += e.size
	g := c.group(e.group)
	if g.keys == nil {
		g.keys = map[K]struct{}{}
	}
	g.keys[key] = struct{}{}
}

// evict takes out the least recently used until at most limit bytes are left; c.mu is held.
func (c *Cache[K, V]) evict(limit int64) {
	for c.bytes > limit {
		if _, _, ok := c.lru.RemoveOldest(); !ok {
			return
		}
		c.stats.Evicted++
	}
}

// removed keeps the books when the list drops an entry, for whatever reason; c.mu is held.
func (c *Cache[K, V]) removed(key K, e *entry[V]) {
	c.bytes -= e.size
	if g := c.groups[e.group]; g != nil {
		delete(g.keys, key)
		c.tidy(e.group, g)
	}
}

// group finds or makes a group; c.mu is held.
func (c *Cache[K, V]) group(name string) *group[K, V] {
	g := c.groups[name]
	if g == nil {
		g = &group[K, V]{flights: map[K]*flight[V]{}}
		c.groups[name] = g
	}
	return g
}

func (c *Cache[K, V]) tidy(name string, g *group[K, V]) {
	if len(g.keys) == 0 && len(g.flights) == 0 {
		delete(c.groups, name)
	}
}
