// Package stats holds the algorithms that turn measured durations into figures, without any input or output.
//
// Start with [Histogram]: it keeps every duration of a run in bounded memory, to three significant digits, and merges with others exactly.
// [Coarse] is its small sibling for the many short windows of a chart.
package stats

import (
	"fmt"
	"math"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// The range and precision of every Histogram. Histograms share them so that any two merge exactly.
const (
	// MinValue is the smallest duration told apart from zero.
	MinValue = time.Nanosecond
	// MaxValue is the longest duration kept; longer ones are recorded as this.
	MaxValue = time.Hour

	significantDigits = 3
)

// Histogram counts durations from 1 ns to 1 h with a relative error below one in a thousand.
//
// The zero value is empty and ready for use; it takes its quarter of a mebibyte when the first value is recorded. A nil Histogram reads as
// empty. It is not safe for concurrent use.
type Histogram struct {
	h *hdr.Histogram
}

// Record adds one duration. A negative one counts as zero and one beyond MaxValue as MaxValue.
func (h *Histogram) Record(d time.Duration) {
	if h.h == nil {
		h.h = hdr.New(int64(MinValue), int64(MaxValue), significantDigits)
	}
	// The clamped value is inside the histogram's range, the only thing that RecordValue checks.
	_ = h.h.RecordValue(int64(min(max(d, 0), MaxValue)))
}

// Merge adds all that other holds and leaves other as it is. A nil other adds nothing.
func (h *Histogram) Merge(other *Histogram) {
	if other.Count() == 0 {
		return
	}
	if h.h == nil {
		h.h = hdr.New(int64(MinValue), int64(MaxValue), significantDigits)
	}
	h.h.Merge(other.h)
}

// Count is the number of durations recorded.
func (h *Histogram) Count() int64 {
	if h == nil || h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Percentile returns the duration that the fraction q of the recorded ones does not exceed; 0.95 asks for p95. ok is false, and the value
// 0, when fewer than MinSamples(q) were recorded: such a percentile would be a guess.
func (h *Histogram) Percentile(q float64) (value time.Duration, ok bool) {
	if need := MinSamples(q); need == 0 || h.Count() < need {
		return 0, false
	}
	return time.Duration(h.h.ValueAtQuantile(q * 100)), true
}

// MinSamples is the number of samples that a percentile needs to mean anything, 1/(1−q): 20 for 0.95, 1000 for 0.999. It is 0 for a q
// outside [0, 1), which no number of samples can answer.
func MinSamples(q float64) int64 {
	if !(q >= 0 && q < 1) {
		return 0
	}
	need := 1 / (1 - q)
	if need > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return int64(math.Ceil(need * (1 - 1e-9))) // 1/(1−0.999) is a hair above 1000 in floating point
}

// Above is the number of durations longer than d, to the histogram's precision.
func (h *Histogram) Above(d time.Duration) (n int64) {
	if h.Count() == 0 {
		return 0
	}
	for _, bar := range h.h.Distribution() {
		if bar.From > int64(d) {
			n += bar.Count
		}
	}
	return n
}

// Min is the shortest duration recorded, 0 when there is none.
func (h *Histogram) Min() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Min())
}

// Max is the longest duration recorded, to three significant digits, 0 when there is none.
func (h *Histogram) Max() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.Max())
}

// Mean is the arithmetic mean of the durations, to three significant digits, 0 when there is none.
func (h *Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(math.Round(h.h.Mean()))
}

// Encode returns HdrHistogram's V2 compressed encoding in base64, which other HdrHistogram tools read. Values are nanoseconds.
func (h *Histogram) Encode() (string, error) {
	src := hdr.New(int64(MinValue), int64(MaxValue), significantDigits)
	if h.Count() > 0 {
		src = h.h
	}
	b, err := src.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode histogram: %v", err)
	}
	return string(b), nil
}

// Decode reads what Encode wrote. A histogram of another range or precision is refused, since it would not merge exactly.
func Decode(s string) (*Histogram, error) {
	d, err := hdr.Decode([]byte(s))
	if err != nil {
		return nil, fmt.Errorf("decode histogram: %v", err)
	}
	if d.LowestTrackableValue() != int64(MinValue) || d.HighestTrackableValue() != int64(MaxValue) || d.SignificantFigures() != significantDigits {
		return nil, fmt.Errorf("decode histogram: it covers %d to %d ns with %d significant digits, want %d to %d ns with %d",
			d.LowestTrackableValue(), d.HighestTrackableValue(), d.SignificantFigures(), int64(MinValue), int64(MaxValue), significantDigits)
	}
	return &Histogram{h: d}, nil
}
