package result

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// CalibrationSchema names the version of a certificate's layout.
const CalibrationSchema = "openaccess.loadgen/calibration/v1"

// Calibration is a certificate of the load generator on one machine: how late its calls leave, and how far its percentiles are from delays that
// the fake host injected and recorded itself. Durations are nanoseconds unless a name ends in _s.
type Calibration struct {
	Schema    string             `json:"schema"`
	Made      time.Time          `json:"made"`
	Version   string             `json:"version"`       // of the load generator
	Git       string             `json:"git,omitempty"` // revision that it was built from
	Host      Host               `json:"host"`
	Rate      float64            `json:"rate"`       // calls per second of each comparison
	DurationS float64            `json:"duration_s"` // of each comparison
	Within    float64            `json:"within"`     // deviation allowed, as a share
	Pacer     []PacerCheck       `json:"pacer"`
	Floors    []CalibrationFloor `json:"floors"`
	Checks    []CalibrationCheck `json:"checks"`
	OK        bool               `json:"ok"`
	Why       []string           `json:"why"` // what did not hold
}

// PacerCheck is how late calls to nowhere left at a rate.
type PacerCheck struct {
	Rate          float64 `json:"rate"`
	LatenessP50NS int64   `json:"lateness_p50_ns"`
	LatenessP99NS int64   `json:"lateness_p99_ns"`
	CPUPercent    float64 `json:"cpu_percent"` // of one core
}

// CalibrationFloor is the latency through a driver when the host adds nothing.
type CalibrationFloor struct {
	Driver string `json:"driver"`
	P50NS  int64  `json:"p50_ns"`
	P95NS  int64  `json:"p95_ns"`
	P99NS  int64  `json:"p99_ns"`
}

// CalibrationCheck compares one percentile. Expected is that of the sum of two independent durations: the delay that the host recorded, and
// the floor.
type CalibrationCheck struct {
	Driver     string  `json:"driver"`
	Delay      string  `json:"delay"`     // the distribution injected, in words
	Statistic  string  `json:"statistic"` // such as "p99"
	N          int64   `json:"n"`         // calls
	ReportedNS int64   `json:"reported_ns"`
	RecordedNS int64   `json:"recorded_ns"` // by the host
	ExpectedNS int64   `json:"expected_ns"`
	Deviation  float64 `json:"deviation"` // reported / expected − 1
}

// Judge settles OK and Why by the checks.
func (c *Calibration) Judge() {
	c.Why = []string{}
	for _, k := range c.Checks {
		if !(math.Abs(k.Deviation) <= c.Within) {
			c.Why = append(c.Why, fmt.Sprintf("%s, %s: %s is %+.1f %% off, more than %g %%", k.Driver, k.Delay, k.Statistic, 100*k.Deviation, 100*c.Within))
		}
	}
	if len(c.Checks) == 0 {
		c.Why = append(c.Why, "nothing was compared")
	}
	c.OK = len(c.Why) == 0
}

// Worst is the largest deviation, without its sign.
func (c *Calibration) Worst() float64 {
	worst := 0.0
	for _, k := range c.Checks {
		worst = max(worst, math.Abs(k.Deviation))
	}
	return worst
}

// WriteCalibration writes a certificate as indented JSON.
func WriteCalibration(w io.Writer, c *Calibration) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(c)
}

// maxCalibration bounds the size of a certificate's file, in bytes.
const maxCalibration = 1 << 20

// ReadCalibration reads what WriteCalibration wrote. It refuses another schema, and a verdict that is not what the figures say.
func ReadCalibration(r io.Reader) (*Calibration, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxCalibration+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxCalibration:
		return nil, fmt.Errorf("it has more than %d bytes: name a certificate that loadgen calibrate wrote", maxCalibration)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("it is no JSON: %v", err)
	}
	if head.Schema != CalibrationSchema {
		return nil, fmt.Errorf("its schema is %q, not %q: name a certificate that loadgen calibrate wrote", head.Schema, CalibrationSchema)
	}
	var c Calibration
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	if c.Made.IsZero() || c.Rate <= 0 || c.DurationS <= 0 {
		return nil, errors.New("it lacks made, rate or duration_s: make it anew with loadgen calibrate")
	}
	claimed := c.OK
	if c.Judge(); claimed != c.OK {
		return nil, errors.New("its verdict is not what its figures say: make it anew with loadgen calibrate")
	}
	return &c, nil
}
