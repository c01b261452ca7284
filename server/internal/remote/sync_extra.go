package remote

import (
	"errors"
	"slices"
)

// extras deals with what the source does not have.
func (c *comparison) extras(there map[string]*entry) {
	for name, e := range there {
		if c.filter.excludes(name, e.isDir()) {
			c.occupy(name)
			continue
		}
		if !c.sync.Delete {
			continue
		}
		c.add(item{Change{Path: name, Action: ActionDelete}, nil, e})
		if e.isDir() {
			c.queue.push(func() { c.empty(name) })
		}
	}
}

// empty plans the deletion of all that a directory of the destination holds.
func (c *comparison) empty(dir string) {
	entries, err := c.dst.list(c.ctx, dir)
	if err != nil {
		c.failed(c.dst, dir, err)
		c.occupy(dir + "/")
		return
	}
	there := make(map[string]*entry, len(entries))
	for i := range entries {
		there[entries[i].name] = &entries[i]
	}
	c.extras(there)
}

// makeWay looks into a directory of the destination whose place something else will take. It must become empty for that.
func (c *comparison) makeWay(dir string) {
	if c.sync.Delete {
		c.queue.push(func() { c.empty(dir) })
		return
	}
	c.queue.push(func() {
		entries, err := c.dst.list(c.ctx, dir)
		if err != nil {
			c.failed(c.dst, dir, err)
		}
		if err != nil || len(entries) > 0 {
			c.occupy(dir + "/")
		}
	})
}

// occupy notes that something of this name stays at the destination, so that no directory above it can go.
func (c *comparison) occupy(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for dir := parent(name); dir != "."; dir = parent(dir) {
		c.occupied[dir] = true
	}
}

// settle drops the deletions that must not or cannot be, and what needs them.
func (c *comparison) settle() {
	c.items = slices.DeleteFunc(c.items, func(it item) bool {
		switch {
		case it.Action == ActionDelete:
			return c.keep || it.dst.isDir() && c.occupied[it.Path]
		case it.dst == nil || !it.dst.isDir() || it.src.isDir():
			return false
		}
		if c.occupied[it.Path] || c.keep && c.sync.Delete {
			c.problems = append(c.problems, Problem{it.Path, &Error{Kind: Refused, Err: c.inTheWay()}})
			return true
		}
		return false
	})
}

func (c *comparison) inTheWay() error {
	switch {
	case c.keep:
		return errors.New("a directory stands in its place, and nothing is deleted while the source cannot be read in full")
	case c.sync.Delete:
		return errors.New("a directory stands in its place and holds what is excluded or cannot be read")
	}
	return errors.New("a directory that is not empty stands in its place; delete_extras removes it")
}
