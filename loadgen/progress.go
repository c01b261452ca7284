package loadgen

import (
	"slices"
	"sync"
	"time"
)

// progressInterval is the time between two calls of Options.Progress.
const progressInterval = 250 * time.Millisecond

// Phase is a part of an arm.
type Phase string

// The phases of an arm, in order.
const (
	PhaseSetup    Phase = "setup" // also starting the server and opening sessions
	PhaseWarmup   Phase = "warmup"
	PhaseMeasure  Phase = "measure"
	PhaseDrain    Phase = "drain" // no call starts, those under way finish
	PhaseTeardown Phase = "teardown"
)

// Progress is how far a Run is.
type Progress struct {
	Plan     string
	Arm      string // that has its turn
	ArmIndex int    // from 0
	Arms     int
	Phase    Phase
	Elapsed  time.Duration // since the arm's first call
	Total    time.Duration // warm-up and measured time; 0 where iterations alone end the arm
	Done     float64       // the share of the arm that is over, 0 to 1: of Total, or of the iterations that end it
	Live                   // of the arm, all parts together
	Groups   []Group       // each part of each arm that has begun, in the plan's order

	ServerCPU   float64 // percent of one CPU over about the last second; 0 where the server's process is not known
	ServerRSS   int64   // bytes resident now; 0 where the server's process is not known
	ServerKnown bool    // ServerCPU and ServerRSS are measured
}

// Group is the calls of one part of a mix under one arm.
type Group struct {
	Arm, Part string // empty where the plan has none
	Live             // when the arm has ended, of its last seconds
}

// progress reports from a goroutine of its own. The zero value reports to nobody.
type progress struct {
	mu  sync.Mutex
	now Progress
	x   *execution // nil outside of the measurement

	report func(Progress)
	quit   chan struct{}
	done   chan struct{}
}

func (p *progress) start(plan string, arms int, report func(Progress)) {
	if report == nil {
		return
	}
	p.now = Progress{Plan: plan, Arms: arms, Phase: PhaseSetup}
	p.report, p.quit, p.done = report, make(chan struct{}), make(chan struct{})
	go p.loop()
}

// stop reports once more and waits for the goroutine.
func (p *progress) stop() {
	if p.report != nil {
		close(p.quit)
		<-p.done
	}
}

func (p *progress) loop() {
	defer close(p.done)
	ticker := time.NewTicker(progressInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			p.report(p.tick())
		case <-p.quit:
			p.report(p.tick())
			return
		}
	}
}

// arm begins an arm.
func (p *progress) arm(i int, name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = Progress{Plan: p.now.Plan, Arms: p.now.Arms, Arm: name, ArmIndex: i, Phase: PhaseSetup, Groups: p.now.Groups}
	p.x = nil
}

func (p *progress) phase(ph Phase) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Phase = ph
	if p.x != nil {
		p.now.Elapsed = p.x.now()
		p.count(p.x)
	}
	p.x = nil
}

func (p *progress) measuring(x *execution) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.x = x
}

// tick returns the progress of now.
func (p *progress) tick() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.x
	if x == nil {
		return p.now
	}
	now := x.now()
	p.now.Elapsed = now
	switch {
	case now < x.begin:
		p.now.Phase = PhaseWarmup
	case now < x.end:
		p.now.Phase = PhaseMeasure
	default:
		p.now.Phase = PhaseDrain
	}
	if x.end != forever {
		p.now.Total = x.end
	}
	p.count(x)
	return p.now
}

func (p *progress) count(x *execution) {
	now := x.now()
	var parts []Live
	p.now.Live, parts = x.coll.live(now)
	p.now.ServerCPU, p.now.ServerRSS, p.now.ServerKnown = x.observer.live()
	if p.now.Total > 0 {
		p.now.Done = min(1, now.Seconds()/p.now.Total.Seconds())
	} else {
		p.now.Done = x.iterated()
	}
	groups := slices.Clone(p.now.Groups) // those handed out stay as they are
	p.now.Offered = 0
	for i, live := range parts {
		g := Group{Arm: p.now.Arm, Live: live}
		kind := x.r.plan.Executor.Kind
		if i < len(x.r.plan.Mix) {
			part := &x.r.plan.Mix[i]
			if g.Part = part.Name; part.Executor != nil {
				kind = part.Executor.Kind
			}
		}
		if kind != Open {
			g.Offered = 0
		}
		p.now.Offered += g.Offered
		at := slices.IndexFunc(groups, func(o Group) bool { return o.Arm == g.Arm && o.Part == g.Part })
		if at < 0 {
			at, groups = len(groups), append(groups, g)
		}
		groups[at] = g
	}
	p.now.Groups = groups
}
