package loadgen

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// Demand is what servers are planned for.
type Demand struct {
	Rate     float64 // calls per second, of all servers together
	Headroom float64 // share of it that the servers have to spare
	Survive  int     // servers that may be lost without breaking the objective, headroom included
	Profiles int     // over which calls are spread evenly, at least 1
	InEffect PoolSettings
}

// PoolSettings are those of a server that bound what it does at once.
type PoolSettings struct {
	MaxPerProfile     int
	MaxOperations     int
	MaxSSHConnections int // to each host
	MaxMemoryMB       int
}

// ServerPlan is how many servers carry a demand, and how each is set.
type ServerPlan struct {
	Demand
	Servers                 int // by the low end of the capacity's interval, those that may be lost included
	ServersLow, ServersHigh int // by the ends of the interval
	Whole, Reduced          Predicted
	Use                     PoolSettings
	AtOnce                  int   // calls that a server has at the host at once, once servers are lost, at most
	RSS                     int64 // bytes resident that one server took in the measurements
}

// Predicted is what a server does of a demand, and the latency that is to be expected.
type Predicted struct {
	Rate     float64 // of each server
	Share    float64 // of the rate that it holds
	P50, P95 Latencies
}

// Latencies is a latency with the interval that comes of the capacity's.
type Latencies struct{ At, Low, High time.Duration }

// What settings are planned by.
const (
	// CallsPerConnection is how many calls a connection is taken to carry at once: OpenSSH's default MaxSessions.
	CallsPerConnection = 10
	// spareDeviations is how many standard deviations of the number of calls at once a bound on it lies above the mean: the number of a Poisson stream
	// without waiting has the mean for its variance, so that three leave out one moment in a thousand.
	spareDeviations = 3
	memoryFactor    = 2 // of the resident memory measured
	memoryStep      = 64
)

// ErrNoPlan is wrapped by PlanServers' error when no number of servers can be said.
var ErrNoPlan = errors.New("no plan can be made")

// PlanServers says how many servers as the one measured carry a demand. Each is taken to hold the same rate, whatever the others do: hosts that they
// share must have room for all.
func PlanServers(c *Capacity, d Demand) (*ServerPlan, error) {
	switch {
	case c.Generator || !(c.Low > 0) || len(c.Profile) == 0:
		return nil, fmt.Errorf("%w: the capacity of one server is not known", ErrNoPlan)
	case !(d.Rate > 0) || d.Headroom < 0 || d.Survive < 0:
		return nil, fmt.Errorf("%w: a demand of %v/s with %v to spare and %d servers to lose means nothing", ErrNoPlan, d.Rate, d.Headroom, d.Survive)
	}
	d.Profiles = max(d.Profiles, 1)
	need := func(one float64) int { return int(math.Ceil(d.Rate*(1+d.Headroom)/one-1e-9)) + d.Survive }
	high := cmp.Or(c.High, c.Rate)
	p := &ServerPlan{Demand: d, Servers: need(c.Low), ServersLow: need(high), ServersHigh: need(c.Low)}
	p.Whole, p.Reduced = c.predict(d.Rate/float64(p.Servers)), c.predict(d.Rate/float64(p.Servers-d.Survive))
	p.RSS = c.rss()
	p.settings(c.at(p.Reduced.Share).Resources.Remote)
	return p, nil
}

// settings bound what a server does at once by what the demand asks of it while others are lost.
func (p *ServerPlan) settings(remote time.Duration) {
	atOnce := func(rate float64) int {
		mean := rate * remote.Seconds()
		return int(math.Ceil(mean + spareDeviations*math.Sqrt(mean)))
	}
	rate := p.Reduced.Rate * (1 + p.Headroom)
	each := atOnce(rate / float64(p.Profiles))
	p.AtOnce = atOnce(rate)
	memory := int(math.Ceil(memoryFactor*float64(p.RSS)/(memoryStep<<20))) * memoryStep
	p.Use = PoolSettings{
		MaxPerProfile: max(p.InEffect.MaxPerProfile, each), MaxOperations: max(p.InEffect.MaxOperations, p.AtOnce),
		MaxSSHConnections: max(p.InEffect.MaxSSHConnections, (each+CallsPerConnection-1)/CallsPerConnection),
		MaxMemoryMB:       max(p.InEffect.MaxMemoryMB, memory),
	}
}

// rss is the most resident memory of any measurement.
func (c *Capacity) rss() (most int64) {
	for _, list := range [][]Trial{c.Trials, c.Profile} {
		for i := range list {
			most = max(most, list[i].Resources.RSS)
		}
	}
	return most
}

// predict is what a server with this capacity is expected to do at a rate.
func (c *Capacity) predict(rate float64) Predicted {
	p := Predicted{Rate: rate, Share: rate / c.Rate}
	mid, most, least := c.at(p.Share), c.at(rate/c.Low), c.at(rate/cmp.Or(c.High, c.Rate))
	span := func(at, a, b time.Duration) Latencies { return Latencies{at, min(at, a, b), max(at, a, b)} } // latency as measured need not rise all the way
	p.P50, p.P95 = span(mid.P50, least.P50, most.P50), span(mid.P95, least.P95, most.P95)
	return p
}

// at reads the latency at a share of capacity from those that were measured: in between on a straight line, outside of them as at the nearest.
func (c *Capacity) at(share float64) Trial {
	list := c.Profile
	of := func(t *Trial) float64 { return t.Plan.Rate / c.Rate }
	for i := 1; i < len(list); i++ {
		a, b := &list[i-1], &list[i]
		if share > of(b) {
			continue
		}
		into := min(max((share-of(a))/(of(b)-of(a)), 0), 1)
		between := func(x, y time.Duration) time.Duration { return x + time.Duration(into*float64(y-x)) }
		out := *a
		if into > 0.5 {
			out = *b
		}
		out.P50, out.P95, out.P99, out.Mean = between(a.P50, b.P50), between(a.P95, b.P95), between(a.P99, b.P99), between(a.Mean, b.Mean)
		out.Resources.Remote = between(a.Resources.Remote, b.Resources.Remote)
		return out
	}
	return list[len(list)-1]
}

// CPUs is how many CPUs a rate takes here, by what the trial at 70 % of capacity took: of the servers, and of the load generator.
func (c *Capacity) CPUs(rate float64) (servers, generator float64) {
	t := c.at(0.7)
	if t.Achieved <= 0 {
		return 0, 0
	}
	r := t.Resources
	return rate * r.ServerCPU / 100 / t.Achieved, rate * r.GeneratorCPU / 100 / t.Achieved
}
