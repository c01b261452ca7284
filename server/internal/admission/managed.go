package admission

import "runtime/metrics"

// managed is the memory that the Go runtime has from the system: most of what is resident, where that cannot be read.
func managed() (int64, bool) {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64()), true
}
