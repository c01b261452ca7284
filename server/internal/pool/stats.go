package pool

import (
	"maps"
	"slices"
	"time"
)

// Stats is a snapshot of a pool.
type Stats struct {
	Targets        int   // keys with a group
	Open           int   // connections open now
	Leased         int   // slots in use now, SFTP sessions included
	Held           int   // forwarded connections and listeners open now
	Waiting        int   // callers waiting for a slot or an SFTP session now
	SFTPSessions   int   // SFTP sessions open now
	Dials          int64 // connections ever dialled with success
	DialFailures   int64
	Leases         int64         // slots ever granted
	Reused         int64         // of Leases, those whose connection was open already
	Refused        int64         // channels that a server refused
	Limited        int64         // callers refused because too many waited
	Evicted        int64         // connections closed because nobody used them
	Expired        int64         // connections closed at the end of their lifetime
	Silent         int64         // connections closed because their host did not answer
	BreakersOpen   int           // hosts that are not tried now
	DialTimeMean   time.Duration // over successful dials
	ReusedFraction float64       // Reused / Leases, 0 when there was none
}

// Stats returns the pool's figures now.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	groups, hosts := p.snapshot(), slices.Collect(maps.Values(p.hosts))
	p.mu.Unlock()
	s := Stats{
		Targets: len(groups), Dials: p.count.dials.Load(), DialFailures: p.count.dialFailures.Load(),
		Leases: p.count.leases.Load(), Reused: p.count.reused.Load(), Refused: p.count.refused.Load(),
		Limited: p.count.limited.Load(), Evicted: p.count.evicted.Load(), Expired: p.count.expired.Load(), Silent: p.count.silent.Load(),
	}
	for _, h := range hosts {
		if h.open() {
			s.BreakersOpen++
		}
	}
	for _, g := range groups {
		g.addTo(&s)
	}
	if s.Dials > 0 {
		s.DialTimeMean = time.Duration(p.count.dialNanos.Load() / s.Dials)
	}
	if s.Leases > 0 {
		s.ReusedFraction = float64(s.Reused) / float64(s.Leases)
	}
	return s
}
