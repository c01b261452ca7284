package fakessh

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Delays say how long operations were in the host before it began to answer,
// whatever the reason: what faults and latency asked for, the wait for a
// worker, and being woken late. Operations that their client gave up before are
// left out. The zero value holds nothing.
type Delays struct {
	Connect Histogram `json:"connect"` // from the accept to the handshake
	Exec    Histogram `json:"exec"`    // from the request to the start of the command
	SFTP    Histogram `json:"sftp"`    // from when the session takes a request up to when it is carried out
}

// Merge adds what other holds.
func (d *Delays) Merge(other Delays) {
	d.Connect.Merge(other.Connect)
	d.Exec.Merge(other.Exec)
	d.SFTP.Merge(other.SFTP)
}

// Range and precision of a Histogram.
const (
	leastDelay        = time.Nanosecond
	longestDelay      = time.Hour // longer ones count as this
	significantDigits = 3
)

// Histogram counts durations from 1 ns to 1 h, to three significant digits. The
// zero value is empty. Copies share what they hold; one that [Host.Delays]
// returned changes no more, except by Merge. It is not safe for concurrent use.
type Histogram struct{ h *hdr.Histogram }

func (h *Histogram) record(d time.Duration) {
	if h.h == nil {
		h.h = hdr.New(int64(leastDelay), int64(longestDelay), significantDigits)
	}
	_ = h.h.RecordValue(int64(min(max(d, 0), longestDelay))) // fails beyond the range alone
}

// Count is the number of durations.
func (h Histogram) Count() int64 {
	if h.h == nil {
		return 0
	}
	return h.h.TotalCount()
}

// Quantile returns the duration that the fraction q of all does not exceed, 0
// where there is none.
func (h Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.h.ValueAtQuantile(q * 100))
}

// Mean is the arithmetic mean, 0 where there is none.
func (h Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(math.Round(h.h.Mean()))
}

// Merge adds what other holds, exactly.
func (h *Histogram) Merge(other Histogram) {
	if other.Count() == 0 {
		return
	}
	if h.h == nil {
		h.h = hdr.New(int64(leastDelay), int64(longestDelay), significantDigits)
	}
	h.h.Merge(other.h)
}

// Encode returns HdrHistogram's V2 compressed encoding in base64; values are
// nanoseconds.
func (h Histogram) Encode() (string, error) {
	src := h.h
	if src == nil {
		src = hdr.New(int64(leastDelay), int64(longestDelay), significantDigits)
	}
	text, err := src.Encode(hdr.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("fakessh: encode histogram: %v", err)
	}
	return string(text), nil
}

// MarshalJSON gives what Encode does, as a string.
func (h Histogram) MarshalJSON() ([]byte, error) {
	text, err := h.Encode()
	if err != nil {
		return nil, err
	}
	return json.Marshal(text)
}

// UnmarshalJSON reads what MarshalJSON gives.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	read, err := hdr.Decode([]byte(text))
	if err != nil {
		return fmt.Errorf("fakessh: decode histogram: %v", err)
	}
	h.h = read
	return nil
}

// recorder is a Histogram that many write.
type recorder struct {
	mu sync.Mutex
	h  Histogram
}

func (r *recorder) record(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h.record(d)
}

// snapshot returns a copy.
func (r *recorder) snapshot() Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out Histogram
	out.Merge(r.h)
	return out
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.h = Histogram{}
}

// recorders are those of a host.
type recorders struct{ connect, exec, sftp recorder }

// Delays returns how long operations were held up since the host started, or
// since the last ResetDelays.
func (h *Host) Delays() Delays {
	w := &h.inject.waited
	return Delays{Connect: w.connect.snapshot(), Exec: w.exec.snapshot(), SFTP: w.sftp.snapshot()}
}

// ResetDelays begins to record anew.
func (h *Host) ResetDelays() {
	w := &h.inject.waited
	for _, r := range []*recorder{&w.connect, &w.exec, &w.sftp} {
		r.reset()
	}
}
