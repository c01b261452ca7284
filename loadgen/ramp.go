package loadgen

import (
	"math"
	"sort"
	"time"
)

// ramp is a level that changes evenly, leg by leg, over time: arrivals per second, or virtual users. It holds its last level for ever. Times
// are seconds from its start.
type ramp []leg

// leg is a stretch of a ramp. Its end is the next one's start.
type leg struct {
	from  float64
	level float64 // at from
	slope float64 // per second
	area  float64 // under the legs before it
}

// newRamp holds start for lead, then goes through the stages.
func newRamp(start float64, lead time.Duration, stages []Stage) ramp {
	r := ramp{{level: start}}
	at, level, area := 0.0, start, 0.0
	add := func(target float64, d time.Duration) {
		if seconds := d.Seconds(); seconds > 0 {
			r[len(r)-1].slope = (target - level) / seconds
			at, area = at+seconds, area+seconds*(level+target)/2
		}
		level = target
		r = append(r, leg{from: at, level: level, area: area})
	}
	add(start, lead)
	for _, s := range stages {
		add(s.Target, s.Duration)
	}
	return r
}

// leg finds the leg that t falls in: of several that begin at t, the last.
func (r ramp) leg(t float64) leg {
	return r[max(0, sort.Search(len(r), func(i int) bool { return r[i].from > t })-1)]
}

// at is the level at time t.
func (r ramp) at(t float64) float64 {
	l := r.leg(t)
	return l.level + l.slope*(t-l.from)
}

// area is the level's integral from the start to t: how many arrivals are due before it.
func (r ramp) area(t float64) float64 {
	l := r.leg(t)
	d := t - l.from
	return l.area + d*(l.level+l.slope*d/2)
}

// when is the inverse of area: the latest time at which no more than a has come together, infinite when more never does.
func (r ramp) when(a float64) float64 {
	l := r[max(0, sort.Search(len(r), func(i int) bool { return r[i].area > a })-1)]
	a -= l.area
	switch {
	case a == 0 && l.level == 0 && l.slope == 0:
		return math.Inf(1)
	case a == 0:
		return l.from
	}
	// The root of slope/2·d² + level·d = a in the form that loses no digits where the slope is next to nothing.
	return l.from + 2*a/(l.level+math.Sqrt(max(0, l.level*l.level+2*l.slope*a)))
}

// reaches is the first time from t on at which the level is at least level; infinite when it never is.
func (r ramp) reaches(level, t float64) float64 {
	for i, l := range r {
		end := math.Inf(1)
		if i+1 < len(r) {
			end = r[i+1].from
		}
		begin := max(t, l.from)
		if begin >= end {
			continue
		}
		switch d := level - (l.level + l.slope*(begin-l.from)); {
		case d <= 0:
			return begin
		case l.slope > 0 && begin+d/l.slope < end:
			return begin + d/l.slope
		}
	}
	return math.Inf(1)
}

// highest is the highest level that the ramp reaches.
func (r ramp) highest() float64 {
	most := 0.0
	for _, l := range r {
		most = max(most, l.level)
	}
	return most
}

// seconds turns seconds into a duration, the longest one where they are too many.
func seconds(s float64) time.Duration {
	if ns := s * float64(time.Second); ns < float64(forever) {
		return time.Duration(ns)
	}
	return forever
}
