package main

import (
	"os"
	"runtime"
	"runtime/debug"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// gcPercent lets the heap grow to five times what lives on it before the next collection, Go's own setting to twice that. A generator has little
// that lives, so this costs some tens of megabytes, and saves most of the collections, during which calls are sent late.
const gcPercent = 400

// tuneGC is for the whole program, unless GOGC says otherwise.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// tuneThreads lets more threads than there are CPUs run Go code, one more for each open executor of a plan, unless GOMAXPROCS says otherwise.
// One thread of such an executor always sleeps in the kernel until the next arrival. Go takes that for a short call, and holds its place
// free; answers would wait for it, and it, when it wakes, for another's.
func tuneThreads(plans ...*loadgen.Plan) {
	spare := 0
	for _, p := range plans {
		spare = max(spare, openExecutors(p))
	}
	if os.Getenv("GOMAXPROCS") == "" && spare > 0 {
		runtime.GOMAXPROCS(runtime.NumCPU() + spare)
	}
}

// openExecutors counts the executors of a plan that pace arrivals at the same time.
func openExecutors(p *loadgen.Plan) (n int) {
	shared := len(p.Mix) == 0
	for i := range p.Mix {
		e := p.Mix[i].Executor
		shared = shared || e == nil
		if e != nil && e.Kind == loadgen.Open {
			n++
		}
	}
	if shared && p.Executor.Kind == loadgen.Open {
		n++
	}
	return n
}
