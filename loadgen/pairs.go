package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// Pairs measures two servers against each other, slice by slice. Each pair has fresh processes of both, and one slice of every workload for
// either side. The two slices of a workload are measured in short turns, one side after the other, so that what the machine does in the meantime
// meets both alike; only one server is loaded at a time. Which of the two comes first is drawn for each pair by a coin of its own; from
// one turn to the next the order is reversed, so that a steady drift meets both alike too.
type Pairs struct {
	Base, Head Opener // start a server afresh; called once a pair for each configuration that the workloads ask for
	Workloads  []Workload

	// Control, unless nil, is measured against itself within each pair: one process of it stands for the base and one for the head. Where
	// those differ, so does the machine between two slices. ControlLoad is what it gets.
	Control     Opener
	ControlLoad Workload

	Seed    uint64                      // of the coin, and of payloads and arrivals
	Options func(*Plan) Options         // for each run of a plan; nil gives none
	Before  func(*Plan) error           // called before each run of a plan, nil for nothing
	Note    func(pair int, what string) // told what is measured now, pair -1 for the probe; nil for nobody
}

// Workload is what a server gets in a slice.
type Workload struct {
	Plan   *Plan         // SlicePlan makes it
	Rate   float64       // arrivals per second
	Slice  time.Duration // measured time
	Warmup time.Duration // before it, not measured
	Burst  time.Duration // after it: as fast as the server goes, in turns of 100 ms, for Slice.Saturation; 0 leaves that out
	VUs    int           // of the burst
}

// Slice is what one side did in one slice of a workload.
type Slice struct {
	Steps      []StepSlice // those that are judged
	Requests   int64       // of all steps
	Errors     int64       // of them, how many failed or were dropped
	ErrorCodes map[string]int64
	CPUPerOp   float64 // seconds of the server's CPU per call; 0 when not known
	RSS        int64   // bytes, most that was resident; 0 when not known
	Saturation float64 // iterations per second in the burst; 0 when there was none
	Late       string  // why the generator is not to be believed, "" when it is
}

// StepSlice is the latency of one step from the intended start, successes alone.
type StepSlice struct {
	Step    string
	Latency *stats.Histogram
	Turns   []*stats.Histogram // the same by turns
}

// Pair is one slice of each workload for either side.
type Pair struct {
	Index         int // from 0
	HeadFirst     bool
	Base, Head    []Slice // by workload
	Control       [2]Slice
	Started       time.Time
	Elapsed       time.Duration
	Seed          uint64 // of payloads and arrivals, the same for both sides
	HasControlArm bool
}

// The streams of random numbers that pairs draw from.
const (
	coinStream = 0x70a1_c01e
	seedStream = 0x70a1_5eed
)

// Run measures up to most pairs, and hands each to the callback, which says whether they are enough. It returns the error of the callback, of
// a server that did not start, or of ctx; a pair that is cut off is not handed out.
func (p *Pairs) Run(ctx context.Context, most int, each func(Pair) (enough bool, err error)) error {
	coin := rand.New(rand.NewPCG(p.Seed, coinStream))
	seeds := rand.New(rand.NewPCG(p.Seed, seedStream))
	for i := range most {
		pair, err := p.measure(ctx, Pair{Index: i, HeadFirst: coin.Uint64()&1 == 1, Seed: seeds.Uint64(), Started: time.Now()})
		if err != nil {
			return err
		}
		if enough, err := each(pair); enough || err != nil {
			return err
		}
	}
	return nil
}

// measure measures one pair with fresh processes.
func (p *Pairs) measure(ctx context.Context, pair Pair) (_ Pair, err error) {
	base, head := &side{open: p.Base, name: "base"}, &side{open: p.Head, name: "head"}
	defer func() { err = errors.Join(err, base.close(), head.close()) }()
	pair.Base, pair.Head = make([]Slice, len(p.Workloads)), make([]Slice, len(p.Workloads))
	for i := range p.Workloads {
		p.note(pair.Index, p.Workloads[i].Plan.Name)
		if err := p.both(ctx, &pair, &p.Workloads[i], base, head, &pair.Base[i], &pair.Head[i]); err != nil {
			return pair, err
		}
	}
	if p.Control != nil {
		p.note(pair.Index, "control")
		a, b := &side{open: p.Control, name: "base"}, &side{open: p.Control, name: "head"}
		defer func() { err = errors.Join(err, a.close(), b.close()) }()
		pair.HasControlArm = true
		if err := p.both(ctx, &pair, &p.ControlLoad, a, b, &pair.Control[0], &pair.Control[1]); err != nil {
			return pair, err
		}
	}
	pair.Elapsed = time.Since(pair.Started)
	return pair, nil
}

func (p *Pairs) note(pair int, what string) {
	if p.Note != nil {
		p.Note(pair, what)
	}
}

// both measures a workload on both sides, in turns, beginning with the one that the coin says.
func (p *Pairs) both(ctx context.Context, pair *Pair, w *Workload, base, head *side, toBase, toHead *Slice) error {
	sides := []*side{base, head}
	if pair.HeadFirst {
		sides = []*side{head, base}
	}
	plan := w.open()
	r, err := p.run(ctx, plan.between(sides, w.turn(), pair.Seed), sides)
	if err != nil {
		return err
	}
	*toBase, *toHead = newSlice(r, base.name), newSlice(r, head.name)
	if w.Burst == 0 {
		return nil
	}
	plan = w.closed(w.Burst)
	if r, err = p.run(ctx, plan.between(sides, turnTime, pair.Seed), sides); err != nil {
		return err
	}
	toBase.Saturation, toHead.Saturation = throughput(r, base.name), throughput(r, head.name)
	return nil
}

// between is the plan with an arm for each side, which take turns.
func (p Plan) between(sides []*side, turn time.Duration, seed uint64) *Plan {
	arm := p.firstArm()
	p.Arms = nil
	for _, s := range sides {
		arm.Name = s.name
		p.Arms = append(p.Arms, arm)
	}
	p.Slice, p.Seed, p.mirrored = max(minSlice, turn), seed, true
	return &p
}

// run runs a plan on servers, which go on running.
func (p *Pairs) run(ctx context.Context, plan *Plan, sides []*side) (*Result, error) {
	if p.Before != nil {
		if err := p.Before(plan); err != nil {
			return nil, err
		}
	}
	var opts Options
	if p.Options != nil {
		opts = p.Options(plan)
	}
	r, err := Run(ctx, plan, func(ctx context.Context, arm Arm) (Driver, error) {
		for _, s := range sides {
			if s.name == arm.Name {
				d, err := s.driver(ctx, arm)
				return lent{d}, err
			}
		}
		return nil, fmt.Errorf("no side is called %q", arm.Name)
	}, opts)
	switch {
	case err != nil:
		return nil, fmt.Errorf("scenario %s: %w", plan.Name, err)
	case r.Interrupted:
		return nil, context.Cause(ctx)
	}
	return r, nil
}

// side is the processes of one server within a pair, one for each configuration.
type side struct {
	name    string
	open    Opener
	arms    []Arm
	drivers []Driver
}

// driver gives the process of a configuration, and starts it where there is none.
func (s *side) driver(ctx context.Context, arm Arm) (Driver, error) {
	for i := range s.arms {
		if sameServer(s.arms[i], arm) {
			return s.drivers[i], nil
		}
	}
	d, err := s.open(ctx, arm)
	if err != nil {
		return nil, err
	}
	s.arms, s.drivers = append(s.arms, arm), append(s.drivers, d)
	return d, nil
}

func (s *side) close() error {
	var errs []error
	for _, d := range s.drivers {
		if err := d.Close(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// lent is a driver that outlives the run it is lent to.
type lent struct{ Driver }

func (lent) Close() error { return nil }

// Measuring passes on what a Watcher wants to hear.
func (l lent) Measuring(on bool) {
	if w, ok := l.Driver.(Watcher); ok {
		w.Measuring(on)
	}
}
