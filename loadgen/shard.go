package loadgen

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Shard is the part of a plan's load that one of several generators takes. The zero value takes all of it.
//
// Of an open executor's schedule shard i of n takes every nth arrival from the ith on, so that the shards' schedules together are the plan's. Of
// virtual users, holders, iterations and what may be in flight it takes its share of the number. What iterations draw from the seed is what they
// would draw in one generator. Nothing is judged on a shard: that is left to the whole, see Plan.Judge.
type Shard struct {
	Index int // from 1
	Count int
}

// ErrLateStart is wrapped by Run's error when Options.StartAt had passed before everything was ready.
var ErrLateStart = errors.New("the start was missed")

// ParseShard reads i/n, such as 2/8.
func ParseShard(s string) (Shard, error) {
	index, count, ok := strings.Cut(s, "/")
	i, errI := strconv.Atoi(index)
	n, errN := strconv.Atoi(count)
	if !ok || errI != nil || errN != nil || i < 1 || n < i {
		return Shard{}, fmt.Errorf("%q is no shard: write i/n with i from 1 to n, such as 2/8", s)
	}
	return Shard{i, n}, nil
}

// String writes the shard as ParseShard reads it; the zero value is empty.
func (s Shard) String() string {
	if s.Count == 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d", s.Index, s.Count)
}

// share is how many of n things, numbered from 0, are the shard's: those whose number is Index−1 modulo Count.
func (s Shard) share(n int) int {
	if s.Count == 0 {
		return n
	}
	return max(0, (n-s.Index+s.Count)/s.Count)
}

// whole is the number in the whole plan of what has a number in the shard.
func (s Shard) whole(n int64) int64 {
	if s.Count == 0 {
		return n
	}
	return n*int64(s.Count) + int64(s.Index-1)
}

// of is the shard's part of an executor.
func (s Shard) of(e *Executor) *Executor {
	out := *e
	if s.Count == 0 {
		return &out
	}
	out.shard = s
	out.VUs, out.Holders, out.Iterations = s.share(e.VUs), s.share(e.Holders), int64(s.share(int(e.Iterations)))
	if e.Kind == Open {
		out.MaxInFlight = s.share(e.maxInFlight())
	}
	if e.Sessions > 0 {
		out.Sessions = max(1, s.share(e.Sessions))
	}
	return &out
}

// thin leaves the shard's arrivals of a schedule.
func (s Shard) thin(all schedule) schedule {
	if s.Count == 0 {
		return all
	}
	return &thinned{all: all, skip: s.Index - 1, every: s.Count}
}

// thinned is every nth arrival of a schedule.
type thinned struct {
	all         schedule
	skip, every int
}

func (t *thinned) next() (at time.Duration, ok bool) {
	for ; t.skip > 0; t.skip-- {
		if at, ok = t.all.next(); !ok {
			return at, false
		}
	}
	t.skip = t.every - 1
	return t.all.next()
}

// shard finds what keeps a plan from being split.
func (c *planCompiler) shard(p *Plan) {
	s := p.Shard
	if s == (Shard{}) {
		return
	}
	if s.Count < 1 || s.Index < 1 || s.Index > s.Count {
		c.add("shard", fmt.Sprintf("there is no shard %d of %d", s.Index, s.Count), "count from 1")
		return
	}
	if len(p.Arms) > 1 {
		c.add("arms", "several arms take turns, which generators that know nothing of each other cannot keep", "measure one of them (--arm NAME) when the load is split")
	}
	if len(p.Compare) > 0 {
		c.add("compare", "a comparison needs several arms, and a load that is split has one", "leave it out")
	}
	for i, t := range p.Thresholds {
		if t.Window > 0 || t.Abort {
			c.add(fmt.Sprintf("thresholds[%d]", i), "no shard alone can judge a window or end the run", "judge the whole measured time when the load is split: leave over and abort out")
		}
	}
	c.split("executor", &p.Executor)
	for i := range p.Mix {
		if e := p.Mix[i].Executor; e != nil {
			c.split(fmt.Sprintf("mix[%d].executor", i), e)
		}
	}
}

// split makes sure that each shard has something of an executor.
func (c *planCompiler) split(path string, e *Executor) {
	n := c.plan.Shard.Count
	if e.Kind == "" {
		return
	}
	if k := e.concurrency(); k < n {
		c.add(path, fmt.Sprintf("%d at once cannot be split over %d shards", k, n), "use fewer shards, or raise what may run at once")
	}
	if k := e.Iterations; k > 0 && k < int64(n) {
		c.add(path+".iterations", fmt.Sprintf("%d iterations cannot be split over %d shards", k, n), "use fewer shards, or more iterations")
	}
}

// Judge judges the plan's thresholds and target on the cells of its first arm, such as those that its shards have measured together. generatorCPU
// is in percent of one CPU, negative where it is not known. Thresholds with a window are left out.
func (p *Plan) Judge(cells []Cell, generatorCPU float64) ([]ThresholdResult, *Grade) {
	return judgeThresholds(p.Thresholds, cells, generatorCPU, nil), gradeTarget(p.Target, cells)
}

// Digest tells plans apart: those of the shards of one run have the same. The rows of its feeds are part of it once the plan was validated.
func (p *Plan) Digest() (string, error) {
	whole := *p
	whole.Shard = Shard{}
	h := sha256.New()
	enc := json.NewEncoder(h)
	if err := enc.Encode(&whole); err != nil {
		return "", fmt.Errorf("digest of plan %s: %v", p.Name, err)
	}
	for i := range p.Feeds {
		if t := p.Feeds[i].table; t != nil {
			if err := enc.Encode([]any{t.columns, t.rows}); err != nil {
				return "", fmt.Errorf("digest of feed %s: %v", p.Feeds[i].Name, err)
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
