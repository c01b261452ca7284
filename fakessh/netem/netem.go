// Package netem is a bad network inside one process: connections whose bytes arrive late, slowly, in bursts, damaged, or not at all.
//
// Start with [Network]: it wraps the connections of a listener ([Network.Listen]) or single ones ([Network.Conn]) and does to their bytes
// what a [Shape] says, which may be replaced while they are open. [Dist] is a distribution of delays, drawn from a seed. [Listen] and [Pipe]
// give connections in memory, for tests that want no ports: buffered, with deadlines, and at home in a testing/synctest bubble. [Timer] is
// what all waiting is done with: Go's own timers may fire a millisecond late, it is late by about a tenth of that.
//
// What happens to one direction of a connection is reckoned by a lane (lane.go), which never waits; a queue (queue.go) holds the bytes until
// they are due; conn.go joins two of each to a connection.
package netem

import (
	"fmt"
	"time"
)

// Shape says what happens to the bytes of each connection, in each direction by itself. The zero value leaves them alone.
type Shape struct {
	Delay     Dist          // on the way from one end to the other, drawn for each piece; pieces never overtake each other
	Jitter    time.Duration // up to this more or less than Delay, evenly distributed
	Bandwidth int64         // bytes a second; 0 means no bound
	Stall     Stall
	Corrupt   float64 // the chance of each byte to arrive with one bit flipped, 0 to 1
	Cut       Cut
}

// Stall stops all bytes at the same times on every connection. They arrive when it is over. The zero value never does.
type Stall struct {
	Every time.Duration // from the beginning of one stall to that of the next; 0 means that there is only one
	For   time.Duration // how long each lasts
	At    time.Duration // when the first begins, counted from the network's Epoch
}

// Cut ends connections. The zero value ends none; otherwise After or AfterBytes says when, whichever comes first.
type Cut struct {
	Share      float64 // of the connections that meet this end; 0 means all
	After      Dist    // counted from the start of the connection, or of the shape where that came later
	AfterBytes int64   // so many pass, both directions together
	// Silent leaves the connection open and lets nothing through any more, as where a machine has lost its power. Otherwise it is reset.
	Silent bool
}

// Validate finds what has no meaning. The error is one of [FieldError].
func (s Shape) Validate() error {
	switch {
	case s.Jitter < 0:
		return &FieldError{"jitter", "is negative", "give a time such as 2ms"}
	case s.Bandwidth < 0:
		return &FieldError{"bandwidth", "is negative", "give bytes a second, or 0 for no bound"}
	case !(s.Corrupt >= 0 && s.Corrupt <= 1):
		return &FieldError{"corrupt", fmt.Sprintf("%v is no chance", s.Corrupt), "give the chance of a byte, 0 to 1"}
	}
	if err := within("delay", s.Delay.Validate()); err != nil {
		return err
	}
	if err := within("stall", s.Stall.validate()); err != nil {
		return err
	}
	return within("cut", s.Cut.Validate())
}

func (s Stall) validate() error {
	switch {
	case s == Stall{}:
		return nil
	case s.For <= 0:
		return &FieldError{"for", "is missing", "say how long a stall lasts, such as 1s"}
	case s.At < 0:
		return &FieldError{"at", "is negative", "count from the start of the host"}
	case s.Every != 0 && s.Every <= s.For:
		return &FieldError{"every", fmt.Sprintf("%v is no longer than the stall of %v", s.Every, s.For), "let time pass between stalls"}
	}
	return nil
}

// Validate finds what has no meaning. The error is one of [FieldError].
func (c Cut) Validate() error {
	switch {
	case c == Cut{}:
		return nil
	case !(c.Share >= 0 && c.Share <= 1):
		return &FieldError{"share", fmt.Sprintf("%v is no share", c.Share), "give the share of connections, 0 to 1"}
	case c.AfterBytes < 0:
		return &FieldError{"after_bytes", "is negative", "give a number of bytes"}
	case c.After == Dist{} && c.AfterBytes == 0:
		return &FieldError{"after", "is missing", "say when connections are cut: after or after_bytes"}
	}
	return within("after", c.After.Validate())
}

// FieldError says which field of a description has no meaning, and what to write instead.
type FieldError struct {
	Field  string // as YAML spells it, dotted
	Msg    string
	Remedy string
}

// Error gives field, mistake and remedy.
func (e *FieldError) Error() string { return e.Field + ": " + e.Msg + "; " + e.Remedy }

// within says that a field lies inside another.
func within(field string, err error) error {
	if e, ok := err.(*FieldError); ok {
		return &FieldError{field + "." + e.Field, e.Msg, e.Remedy}
	}
	return err
}

// release gives when bytes that come due at t arrive: at t, or at the end of the stall that t lies in.
func (s Stall) release(epoch, t time.Time) time.Time {
	if s.For <= 0 {
		return t
	}
	since := t.Sub(epoch.Add(s.At))
	if since < 0 {
		return t
	}
	var begun time.Duration // of the latest stall, after the first
	if s.Every > 0 {
		begun = since / s.Every * s.Every
	}
	if since-begun >= s.For {
		return t
	}
	return t.Add(begun + s.For - since)
}
