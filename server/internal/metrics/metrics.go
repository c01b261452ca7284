// Package metrics counts what the server did: calls, errors by code and durations for each operation.
package metrics

import (
	"sync"
	"time"
)

// Registry holds the counts. The zero value is ready; it is safe for concurrent use.
type Registry struct {
	mu  sync.Mutex
	ops map[string]*operation
}

type operation struct {
	calls    int64
	errors   map[string]int64
	total    time.Duration
	min, max time.Duration
	bytes    int64
}

// Call is one finished call.
type Call struct {
	Operation string // dotted, such as "ssh.exec"
	Code      string // error code, "" for success
	Duration  time.Duration
	Bytes     int64 // payload moved
}

// Record counts c.
func (r *Registry) Record(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	op := r.ops[c.Operation]
	if op == nil {
		op = &operation{errors: map[string]int64{}, min: c.Duration}
		if r.ops == nil {
			r.ops = map[string]*operation{}
		}
		r.ops[c.Operation] = op
	}
	op.calls++
	op.bytes += c.Bytes
	op.total += c.Duration
	op.min = min(op.min, c.Duration)
	op.max = max(op.max, c.Duration)
	if c.Code != "" {
		op.errors[c.Code]++
	}
}

// Operation is a snapshot of one operation's counts. Times are seconds.
type Operation struct {
	Calls  int64            `json:"calls"`
	Errors map[string]int64 `json:"errors,omitempty" jsonschema:"number of failed calls by error code"`
	Bytes  int64            `json:"bytes"`
	Min    float64          `json:"min_s"`
	Mean   float64          `json:"mean_s"`
	Max    float64          `json:"max_s"`
}

// Snapshot returns the counts of every operation called so far, by name.
func (r *Registry) Snapshot() map[string]Operation {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Operation, len(r.ops))
	for name, op := range r.ops {
		o := Operation{
			Calls: op.calls, Bytes: op.bytes, Min: op.min.Seconds(), Max: op.max.Seconds(),
			Mean: (op.total / time.Duration(op.calls)).Seconds(), Errors: map[string]int64{},
		}
		for code, n := range op.errors {
			o.Errors[code] = n
		}
		all[name] = o
	}
	return all
}
