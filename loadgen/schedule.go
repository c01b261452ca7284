package loadgen

import (
	"math"
	"time"
)

// maxRate bounds Executor.Rate, well above what one generator can send.
const maxRate = 1_000_000

// intended is when arrival i of a constant rate a second is due. It depends on nothing that happens during the run: an arrival that is sent
// late or dropped shifts none of those after it.
func intended(rate float64, i int64) time.Duration {
	return time.Duration(float64(i) / rate * float64(time.Second))
}

// arrivals is how many arrivals are due before d.
func arrivals(rate float64, d time.Duration) int64 {
	n := int64(math.Ceil(rate * d.Seconds()))
	for n > 0 && intended(rate, n-1) >= d {
		n--
	}
	for d > 0 && intended(rate, n) < d {
		n++
	}
	return n
}
