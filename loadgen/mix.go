package loadgen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// part is a Part compiled; a plan without a mix has one.
type part struct {
	name        string
	index       int // in the plan
	cell        int // of its first step
	steps       []step
	saved       int // variables that its steps save
	give        int // occupancy: the first step that gives back
	take        int // occupancy: the step whose cell tells how many are held
	weight      float64
	start       time.Duration // on the arm's clock
	maxInFlight int64         // 0 for no limit of its own
}

// workload is an executor with the parts that it draws from.
type workload struct {
	exec  *Executor // the shard's part of it
	own   bool      // it is that of a single part
	parts []*part
	from  time.Duration // on the arm's clock, as the next two are
	begin time.Duration // of its measured time
	end   time.Duration // forever where iterations alone end it
	vu    int           // its first ${vu}
	index uint64        // tells its draws from those of others
	level ramp          // closed: virtual users over time, from from on
}

// mix compiles the parts of a plan and says which executor paces which.
func (c *planCompiler) mix(prog *program) {
	p := c.plan
	switch {
	case len(p.Mix) == 0:
		c.executor("executor", &p.Executor, false)
		prog.parts = []*part{c.part("", &Part{Weight: 1, Steps: p.Steps}, &p.Executor, prog.files)}
	case len(p.Steps) > 0:
		c.add("mix", "the plan has steps of its own too", "move them into a part of the mix")
		return
	default:
		c.parts(prog)
	}
	shared := workload{exec: p.Shard.of(&p.Executor)}
	cell := 0
	for i, pt := range prog.parts {
		pt.index, pt.cell = i, cell
		cell += len(pt.steps)
		if i >= len(p.Mix) || p.Mix[i].Executor == nil {
			shared.parts = append(shared.parts, pt)
		}
	}
	if len(shared.parts) > 0 {
		prog.loads = append(prog.loads, shared)
	}
	for i := range p.Mix {
		if e := p.Mix[i].Executor; e != nil && i < len(prog.parts) {
			prog.loads = append(prog.loads, workload{exec: p.Shard.of(e), own: true, parts: prog.parts[i : i+1]})
		}
	}
	prog.schedule(p)
	prog.holds = holds(p)
}

// holds is the longest time that an iteration pauses in Hold steps.
func holds(p *Plan) time.Duration {
	var longest time.Duration
	for _, m := range append([]Part{{Steps: p.Steps}}, p.Mix...) {
		var d time.Duration
		for i := range m.Steps {
			d += m.Steps[i].Hold
		}
		longest = max(longest, d)
	}
	return longest
}

func (c *planCompiler) parts(prog *program) {
	p := c.plan
	seen := map[string]bool{}
	shared, first := false, false // whether a part shares the plan's executor, and from the start on
	for i := range p.Mix {
		m, path := &p.Mix[i], fmt.Sprintf("mix[%d]", i)
		if m.Name == "" {
			c.add(path+".name", "the part has no name", "name it; its figures are reported under the name")
		} else if seen[m.Name] {
			c.add(path+".name", fmt.Sprintf("part %q occurs twice", m.Name), "give each part its own name")
		}
		seen[m.Name] = true
		e := &p.Executor
		if m.Executor != nil {
			e = m.Executor
			c.executor(path+".executor", e, true)
		} else {
			shared, first = true, first || m.Start == 0
		}
		c.share(path, m, e)
		prog.parts = append(prog.parts, c.part(path+".", m, e, prog.files))
	}
	e := &p.Executor
	switch {
	case shared:
		c.executor("executor", e, false)
		if !first {
			c.add("mix", "all parts that share the executor start later", "let one start at 0s")
		}
	case e.Kind != "" || e.Sessions != 0:
		c.add("executor.kind", "each part of the mix has an executor of its own", "leave all but warmup and duration out")
	default:
		c.strangers("executor", e)
		if e.Warmup < 0 || e.Duration <= 0 {
			c.add("executor.duration", fmt.Sprintf("nothing is measured in %v", e.Duration), "set a duration such as 15s, and a warmup of 0s or more")
		}
	}
	c.within()
}

// share finds what is wrong with a part's place in the mix.
func (c *planCompiler) share(path string, m *Part, e *Executor) {
	switch {
	case m.Executor != nil && m.Weight != 0:
		c.add(path+".weight", "a part with an executor of its own shares no arrivals", "leave weight out, or the executor")
	case m.Executor == nil && !(m.Weight > 0 && m.Weight <= 1e9):
		c.add(path+".weight", fmt.Sprintf("a part cannot have weight %v", m.Weight), "set it above 0; shares are relative to the other parts' weights")
	}
	if m.Start < 0 {
		c.add(path+".start", "the start is negative", "set it to 0s or more")
	}
	if m.Start > 0 && m.Executor == nil && e.Kind == Occupancy {
		c.add(path+".start", "a part that shares an occupancy starts with it", "leave start out, or give the part an executor")
	}
	if m.MaxInFlight < 0 || m.MaxInFlight > maxSlots {
		c.add(path+".max_in_flight", fmt.Sprintf("%d is out of range", m.MaxInFlight), fmt.Sprintf("use 1 to %d, or leave it out", maxSlots))
	} else if m.MaxInFlight > 0 && e.Kind != Open {
		c.add(path+".max_in_flight", "it bounds the arrivals of an open executor", "leave it out")
	}
}

// within makes sure that every part has time to run, and an end.
func (c *planCompiler) within() {
	length := c.plan.Executor.length()
	for i := range c.plan.Mix {
		m := &c.plan.Mix[i]
		if length > 0 && m.Start >= length {
			c.add(fmt.Sprintf("mix[%d].start", i), fmt.Sprintf("the measured %v are over by then", length), "start earlier, or raise the plan's duration")
		}
		if e := m.Executor; e != nil && length <= 0 && e.length() <= 0 && !e.counted() {
			c.add(fmt.Sprintf("mix[%d].executor.duration", i), "neither the part nor the plan ends", "set a duration such as 15s")
		}
	}
}

// part compiles the steps of a part. path goes in front of "steps".
func (c *planCompiler) part(path string, m *Part, e *Executor, files []fileSet) *part {
	pt := &part{name: m.Name, weight: m.Weight}
	if m.MaxInFlight > 0 {
		pt.maxInFlight = max(1, int64(c.plan.Shard.share(m.MaxInFlight)))
	}
	if m.Start > 0 {
		pt.start = c.plan.Executor.Warmup + m.Start
	}
	pt.steps, pt.saved = c.iteration(path+"steps", m.Steps, e, files)
	pt.give = slices.IndexFunc(pt.steps, func(st step) bool { return st.always })
	if pt.give < 0 {
		pt.give = len(pt.steps)
	}
	if e.Kind != Occupancy {
		return pt
	}
	for pt.take < pt.give-1 && pt.steps[pt.take].unmeasured {
		pt.take++
	}
	if pt.give == 0 && len(pt.steps) > 0 {
		c.add(path+"steps[0]", "an occupancy takes something before it gives back, and all steps are marked always", "begin with one that takes")
	}
	for i := pt.give; i < len(pt.steps); i++ {
		if !pt.steps[i].always {
			c.add(fmt.Sprintf("%ssteps[%d]", path, i), "an occupancy gives back from its first step marked always on, and this one is not", "mark it always, or move it before")
		}
	}
	return pt
}

// schedule works out when each executor runs and which virtual users are its own.
func (prog *program) schedule(p *Plan) {
	plan := forever
	if d := p.Executor.length(); d > 0 {
		plan = p.Executor.Warmup + d
	}
	vu := 0
	for i := range prog.loads {
		l := &prog.loads[i]
		l.index, l.vu = uint64(i), vu
		vu += max(0, l.exec.concurrency())
		l.begin, l.end = p.Executor.Warmup, plan
		if l.own {
			l.from = l.parts[0].start
			l.begin = max(l.begin, l.from)
			if d := l.exec.length(); d > 0 {
				l.end = min(plan, l.begin+d)
			}
		}
		if l.exec.Kind == Closed {
			l.level = l.exec.ramp(l.begin - l.from)
		}
	}
}

// PacedBy says what kind of executor paces a part of the plan, "" where there is no mix, and how many of its iterations may be under way at
// once.
func (p *Plan) PacedBy(part string) (kind ExecutorKind, atOnce int) {
	e := &p.Executor
	for i := range p.Mix {
		if m := &p.Mix[i]; m.Name == part && m.Executor != nil {
			e = m.Executor
		}
	}
	return e.Kind, p.Shard.of(e).concurrency()
}

// concurrency is how many iterations of a plan may be under way at once.
func (p *Plan) concurrency() int {
	n, shared := 0, len(p.Mix) == 0
	for i := range p.Mix {
		if e := p.Mix[i].Executor; e != nil {
			n += e.concurrency()
		} else {
			shared = true
		}
	}
	if shared {
		n += p.Executor.concurrency()
	}
	return n
}

// draw picks the part of iteration n, due at a time of the arm's clock. It depends on seed and n alone, so that it is the same however
// iterations overlap.
func (l *workload) draw(seed uint64, n int64, at time.Duration) *part {
	if len(l.parts) == 1 {
		return l.parts[0]
	}
	total := 0.0
	for _, p := range l.parts {
		if p.start <= at {
			total += p.weight
		}
	}
	var chance rand.PCG
	chance.Seed(seed, drawStream+uint64(n))
	x := float64(chance.Uint64()>>11) / (1 << 53) * total
	var last *part
	for _, p := range l.parts {
		if p.start > at {
			continue
		}
		if last = p; x < p.weight {
			break
		}
		x -= p.weight
	}
	return last
}

// Streams keep apart what is drawn from one seed. Those of executors follow each other by 1, iterations by 1 from drawStream on.
const (
	arrivalStream = 1 << 32
	thinkStream   = 1 << 33
	orderStream   = 1 << 34
	drawStream    = 1 << 62
)
