package metrics

import "math"

// Process is what this process uses, as the kernel has it. What is not known is -1. Sizes are bytes.
type Process struct {
	Virtual, Resident           int64
	CPU                         float64 // seconds of user and system time so far
	Threads                     int64
	Descriptors, MaxDescriptors int64
	Sockets                     int64
	Received, Sent              int64 // over IP by all processes of the network namespace, which in a container may be this one alone
}

var unknown = Process{-1, -1, -1, -1, -1, -1, -1, -1, -1}

// watchProcess adds what the process collector of the Prometheus library does not have.
func (r *Registry) watchProcess() {
	known := func(of func(Process) int64) func(Process) float64 {
		return func(p Process) float64 {
			if n := of(p); n >= 0 {
				return float64(n)
			}
			return math.NaN()
		}
	}
	Watch(r, ReadProcess,
		Gauge("process_threads", "Threads of the process.", known(func(p Process) int64 { return p.Threads })),
		Gauge("process_sockets", "Sockets that the process has open.", known(func(p Process) int64 { return p.Sockets })))
}
