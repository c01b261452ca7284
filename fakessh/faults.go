package fakessh

import (
	"fmt"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// Faults say what goes wrong at a host, and how long its work takes. The zero
// value is a host without any. [ParseFaults] reads them from YAML,
// [Host.SetFaults] makes them hold.
type Faults struct {
	// Seed drives everything that is left to chance. The same seed and order of
	// operations give the same faults.
	Seed        uint64
	Connect     ConnectFaults
	Auth        AuthFaults
	Exec        ExecFaults
	SFTP        SFTPFaults
	Network     netem.Shape // stalls count from the start of the host
	Disk        DiskFaults
	MaxSessions int // as in Options, in its place; 0 leaves it alone
	Workers     Workers
	// Schedule replaces these faults by others as time goes by. The changes are
	// in the order of their times and hold no schedule of their own.
	Schedule []Change
}

// Change is a time, counted from when the faults took effect, and what holds
// from then on, in place of all that held before. A zero Seed means that of
// the faults around it.
type Change struct {
	At     time.Duration
	Faults Faults
}

// ConnectFaults meet new connections.
type ConnectFaults struct {
	Refuse float64    // share of connections that are reset at once, 0 to 1
	Mute   float64    // share of connections that are accepted and never told a word
	Delay  netem.Dist // before the handshake
	// MaxStartups bounds the connections that have not logged in yet; further
	// ones are refused as OpenSSH does. 0 means no bound.
	MaxStartups int
}

// AuthFaults meet clients that log in.
type AuthFaults struct {
	Fail  float64    // share of connections on which every key and password is refused, 0 to 1
	Delay netem.Dist // before each answer
}

// ExecFaults meet commands.
type ExecFaults struct {
	Delay  netem.Dist // before the command starts, after its turn with a worker
	Except string     // the command of this name starts without a delay and is not among [Delays]; empty is none
}

// SFTPFaults meet SFTP requests.
type SFTPFaults struct {
	Delay netem.Dist // before each is carried out; a session carries out up to eight reads and writes at once
}

// DiskFaults meet the files behind SFTP.
type DiskFaults struct {
	// Capacity bounds the bytes in files, in place of that of the tree; further
	// ones meet ENOSPC. 0 leaves it alone. Commands meet it too.
	Capacity  int64
	Read      netem.Dist // before each read
	Write     netem.Dist // before each write
	Bandwidth int64      // bytes a second, reads and writes of all sessions together; 0 means no bound
}

// Workers bound how many commands run at once: each takes a worker for a time
// drawn from Service, then starts. Commands that find none free wait in the
// order of their arrival. A worker that ends late has not lost that time, so
// that the host does exactly Count / mean of Service a second. Work that its
// client gives up on is done all the same. The zero value bounds nothing.
type Workers struct {
	Count   int
	Service netem.Dist
}

// Validate finds what has no meaning. The error is a [*netem.FieldError] whose
// Field is spelt as in YAML.
func (f Faults) Validate() error {
	shape := f.Network
	shape.Cut = netem.Cut{}
	for _, part := range []struct {
		field string
		err   error
	}{
		{"connect", f.Connect.validate()}, {"auth", f.Auth.validate()}, {"exec.delay", f.Exec.Delay.Validate()},
		{"sftp.delay", f.SFTP.Delay.Validate()}, {"network", shape.Validate()}, {"cut", f.Network.Cut.Validate()},
		{"disk", f.Disk.validate()}, {"workers", f.Workers.validate()}, {"", notNegative("max_sessions", f.MaxSessions)},
	} {
		if part.err != nil {
			return inField(part.field, part.err)
		}
	}
	var last time.Duration
	for i, c := range f.Schedule {
		field := fmt.Sprintf("schedule[%d]", i)
		switch {
		case c.At < last:
			return &netem.FieldError{Field: field + ".at", Msg: fmt.Sprintf("%v comes before %v", c.At, last), Remedy: "put the changes in order"}
		case len(c.Faults.Schedule) > 0:
			return &netem.FieldError{Field: field + ".faults.schedule", Msg: "a change cannot hold changes", Remedy: "put all of them into one list"}
		}
		if err := c.Faults.Validate(); err != nil {
			return inField(field+".faults", err)
		}
		last = c.At
	}
	return nil
}

// inField says that a field lies inside another.
func inField(outer string, err error) error {
	e, ok := err.(*netem.FieldError)
	if !ok || outer == "" {
		return err
	}
	return &netem.FieldError{Field: outer + "." + e.Field, Msg: e.Msg, Remedy: e.Remedy}
}

func notNegative(field string, n int) error {
	if n < 0 {
		return &netem.FieldError{Field: field, Msg: fmt.Sprintf("%d is negative", n), Remedy: "use 1 or more, or leave it out"}
	}
	return nil
}

func isShare(field string, share float64) error {
	if !(share >= 0 && share <= 1) {
		return &netem.FieldError{Field: field, Msg: fmt.Sprintf("%v is no share", share), Remedy: "use 0% to 100%"}
	}
	return nil
}

func isDelay(field string, d netem.Dist) error { return inField(field, d.Validate()) }

// first returns the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c ConnectFaults) validate() error {
	return first(isShare("refuse", c.Refuse), isShare("mute", c.Mute), isDelay("delay", c.Delay), notNegative("max_startups", c.MaxStartups))
}

func (a AuthFaults) validate() error {
	return first(isShare("fail", a.Fail), isDelay("delay", a.Delay))
}

func (d DiskFaults) validate() error {
	switch {
	case d.Capacity < 0:
		return &netem.FieldError{Field: "capacity", Msg: "is negative", Remedy: "give bytes, such as 10MiB"}
	case d.Bandwidth < 0:
		return &netem.FieldError{Field: "bandwidth", Msg: "is negative", Remedy: "give bytes a second, such as 10MiB/s"}
	}
	return first(isDelay("read", d.Read), isDelay("write", d.Write))
}

func (w Workers) validate() error {
	switch {
	case w == Workers{}:
		return nil
	case w.Count < 1 || w.Count > maxWorkers:
		return &netem.FieldError{Field: "count", Msg: fmt.Sprintf("%d is out of range", w.Count), Remedy: fmt.Sprintf("use 1 to %d", maxWorkers)}
	case w.Service == netem.Dist{}:
		return &netem.FieldError{Field: "service", Msg: "is missing", Remedy: "say how long a command takes a worker, such as 5ms"}
	}
	return isDelay("service", w.Service)
}
