package remote

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"slices"
	"sync"
)

// item is a change with what stands on both sides.
type item struct {
	Change
	src, dst *entry // nil where there is none
}

// worthDelta reports whether a large file has changed in part, as far as one can tell without reading it.
func (it *item) worthDelta() bool {
	return it.Action == ActionUpdate && min(it.src.size, it.dst.size) >= deltaSize
}

// comparison walks two trees side by side, many directories at once. Its results are for whoever has awaited run.
type comparison struct {
	ctx      context.Context
	sync     *Sync
	filter   *filter
	src, dst tree
	queue    queue

	mu       sync.Mutex // guards the rest
	items    []item
	skipped  []Problem
	problems []Problem
	keep     bool             // something at the source could not be read, so that nothing can be called extra
	occupied map[string]bool  // directories of the destination that hold something that stays, or may
	dirs     map[string]*item // directories of the source, and what stands in their place
	fatal    error            // the session broke off
}

// compareWidth is how many directories are listed or files compared at once.
const compareWidth = 32

var errNoDirectory = errors.New("is not a directory; sftp_transfer moves single files")

// run compares the two directories. What it finds is in items, sorted by path.
func (c *comparison) run() error {
	c.occupied, c.dirs = map[string]bool{}, map[string]*item{}
	from, to, err := c.roots()
	if err != nil {
		return err
	}
	c.directory(item{Change{Path: "."}, from, to})
	c.queue.run(c.ctx, compareWidth)
	switch {
	case c.fatal != nil:
		return c.fatal
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	}
	c.settle()
	slices.SortFunc(c.items, func(a, b item) int { return cmp.Compare(a.Path, b.Path) })
	return nil
}

// roots looks at both directories at once; the destination may be missing.
func (c *comparison) roots() (from, to *entry, err error) {
	var source, dest entry
	var destErr error
	var wg sync.WaitGroup
	wg.Go(func() { dest, destErr = c.dst.root() })
	source, err = c.src.root()
	wg.Wait()
	switch {
	case err != nil:
		return nil, nil, c.src.classify(err)
	case !source.isDir():
		return nil, nil, &Error{Kind: Refused, Err: errNoDirectory}
	case errors.Is(destErr, fs.ErrNotExist):
		return &source, nil, nil
	case destErr != nil:
		return nil, nil, c.dst.classify(destErr)
	case !dest.isDir():
		return nil, nil, &Error{Kind: Refused, Err: errors.New("the destination exists and is no directory")}
	}
	return &source, &dest, nil
}

// add notes a difference.
func (c *comparison) add(it item) {
	c.mu.Lock()
	c.items = append(c.items, it)
	c.mu.Unlock()
}

// failed notes that a path could not be read at one side.
func (c *comparison) failed(t tree, path string, err error) {
	if c.ctx.Err() != nil {
		return
	}
	e := t.classify(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.Kind == Broken {
		c.fatal = cmp.Or[error](c.fatal, e)
		c.queue.stop()
		return
	}
	c.problems = append(c.problems, Problem{path, e})
	if t == c.src {
		c.keep = true
	}
}

// directory compares a directory of the source, and queues what is in it.
func (c *comparison) directory(it item) {
	switch {
	case it.dst == nil || !it.dst.isDir():
		it.Action = ActionMkdir
		c.add(it)
	case c.attributesDiffer(&it):
		it.Action = ActionAttributes
		c.add(it)
	}
	c.mu.Lock()
	c.dirs[it.Path] = &it
	c.mu.Unlock()
	c.queue.push(func() { c.children(it) })
}

// children compares the contents of a directory of the source with those of its counterpart.
func (c *comparison) children(it item) {
	var existing []entry
	var dstErr error
	var wg sync.WaitGroup
	if it.dst != nil && it.dst.isDir() {
		wg.Go(func() { existing, dstErr = c.dst.list(c.ctx, it.Path) })
	}
	entries, err := c.src.list(c.ctx, it.Path)
	wg.Wait()
	if err != nil {
		c.failed(c.src, it.Path, err)
		c.occupy(it.Path)
		return
	}
	if dstErr != nil {
		c.failed(c.dst, it.Path, dstErr)
		return
	}
	there := make(map[string]*entry, len(existing))
	for i := range existing {
		there[existing[i].name] = &existing[i]
	}
	for i := range entries {
		e := &entries[i]
		if c.filter.excludes(e.name, e.isDir()) {
			continue
		}
		c.pair(item{Change{Path: e.name}, e, there[e.name]})
		delete(there, e.name)
	}
	c.extras(there)
}

// pair compares one entry of the source with what has its name at the destination. That is replaced even where a pattern excludes it for
// being, or not being, a directory: so does rsync.
func (c *comparison) pair(it item) {
	switch {
	case !it.src.known():
		c.mu.Lock()
		c.skipped = append(c.skipped, Problem{it.Path, errors.New("is " + kindName(it.src.mode) + ", which no sync copies")})
		c.mu.Unlock()
		c.occupy(it.Path)
	case it.src.isDir():
		c.directory(it)
	default:
		c.leaf(it)
	}
}

// leaf compares a file or link.
func (c *comparison) leaf(it item) {
	if it.dst != nil && it.dst.isDir() {
		c.makeWay(it.Path)
	}
	if it.src.isLink() {
		if it.dst == nil || !it.dst.isLink() || it.dst.target != it.src.target {
			it.Action = ActionSymlink
			c.add(it)
		}
		return
	}
	it.Bytes = it.src.size
	switch {
	case it.dst == nil || !it.dst.isFile():
		it.Action = ActionCreate
		c.add(it)
	case it.dst.size != it.src.size || !c.sync.Content && !sameTime(it.src.mtime, it.dst.mtime):
		it.Action = ActionUpdate
		c.add(it)
	case c.sync.Content && it.src.size > 0:
		c.queue.push(func() { c.contents(it) })
	default:
		c.attributes(it)
	}
}

// attributes notes a file whose content is the same but whose mode or time is not.
func (c *comparison) attributes(it item) {
	if c.attributesDiffer(&it) {
		it.Action, it.Bytes = ActionAttributes, 0
		c.add(it)
	}
}

func (c *comparison) attributesDiffer(it *item) bool {
	return c.sync.Permissions && it.src.bits() != it.dst.bits() || c.sync.Times && !sameTime(it.src.mtime, it.dst.mtime)
}

// contents compares two files of one size by their content.
func (c *comparison) contents(it item) {
	var theirs [sha256.Size]byte
	var theirErr error
	var wg sync.WaitGroup
	wg.Go(func() { theirs, theirErr = digest(c.ctx, c.dst, it.Path) })
	ours, err := digest(c.ctx, c.src, it.Path)
	wg.Wait()
	switch {
	case err != nil:
		c.failed(c.src, it.Path, err)
	case theirErr != nil:
		c.failed(c.dst, it.Path, theirErr)
	case ours != theirs:
		it.Action = ActionUpdate
		c.add(it)
	default:
		c.attributes(it)
	}
}

func digest(ctx context.Context, t tree, name string) (sum [sha256.Size]byte, err error) {
	f, err := t.open(name)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := f.WriteTo(&meter{ctx: ctx, w: h}); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
