package loadgen

import (
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

// Progress is how far a Run is. Counts start afresh with each arm and hold its warm-up.
type Progress struct {
	Plan     string
	Arm      string
	ArmIndex int // from 0
	Arms     int
	Phase    Phase
	Elapsed  time.Duration // since the arm's first call
	Total    time.Duration // warm-up and measured time; 0 where iterations alone end the arm
	Requests int64
	Errors   int64
	Dropped  int64
	InFlight int           // iterations under way
	Rate     float64       // calls finished per second, over about the last second
	P95      time.Duration // of the latency so far, roughly; 0 before the first success

	Recent      Recent
	ServerCPU   float64 // percent of one CPU over about the last second; 0 where the server's process is not known
	ServerRSS   int64   // bytes resident now; 0 where the server's process is not known
	ServerKnown bool    // ServerCPU and ServerRSS are measured
}

// Recent sums up the calls of the last few seconds, roughly. All zero when none succeeded.
type Recent struct {
	P50, P95, P99 time.Duration
}

// progress reports from a goroutine of its own. The zero value reports to nobody.
type progress struct {
	mu      sync.Mutex
	now     Progress
	x       *execution // nil outside of the measurement
	history [4]int64   // requests at the last ticks, a ring
	ticks   int

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
	p.now = Progress{Plan: p.now.Plan, Arms: p.now.Arms, Arm: name, ArmIndex: i, Phase: PhaseSetup}
	p.x, p.history, p.ticks = nil, [4]int64{}, 0
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
	slot := p.ticks % len(p.history)
	over := time.Duration(min(p.ticks, len(p.history))) * progressInterval
	if over > 0 {
		p.now.Rate = float64(p.now.Requests-p.history[slot]) / over.Seconds()
	}
	p.history[slot] = p.now.Requests
	p.ticks++
	return p.now
}

func (p *progress) count(x *execution) {
	live := x.coll.snapshot()
	p.now.Requests, p.now.Errors, p.now.Dropped = live.requests, live.errors, live.dropped
	p.now.P95, p.now.InFlight = live.latency.Percentile(0.95), int(x.inFlight.Load())
}
