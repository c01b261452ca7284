package loadgen

import "time"

// levels are what was seen of the server's use of resources by stretch of measured time, by the name of the metric. The zero value is empty.
type levels struct {
	metrics map[string]*levelTimeline
}

// levelTimeline is the lowest level by stretch of measured time, at most maxWindows of them; their width doubles as a run goes on. The lowest, since
// what calls under way take comes and goes, and so does garbage: what leaks raises the floor.
type levelTimeline struct {
	width time.Duration
	each  []level
}

type level struct {
	low  float64
	seen bool
}

func (l *level) take(other level) {
	if other.seen && (!l.seen || other.low < l.low) {
		*l = other
	}
}

// add notes what a metric was at a time.
func (l *levels) add(metric string, at time.Duration, value float64) {
	if l.metrics == nil {
		l.metrics = map[string]*levelTimeline{}
	}
	t := l.metrics[metric]
	if t == nil {
		t = &levelTimeline{width: readInterval}
		l.metrics[metric] = t
	}
	for max(at, 0)/t.width >= maxWindows {
		t.double()
	}
	i := int(max(at, 0) / t.width)
	if i >= len(t.each) {
		t.each = append(t.each, make([]level, i+1-len(t.each))...)
	}
	t.each[i].take(level{value, true})
}

func (t *levelTimeline) double() {
	t.width *= 2
	half := make([]level, (len(t.each)+1)/2, maxWindows)
	for i, l := range t.each {
		half[i/2].take(l)
	}
	t.each = half
}

// merge adds the metrics of others, which are different ones.
func (l *levels) merge(others levels) {
	for name, t := range others.metrics {
		if l.metrics == nil {
			l.metrics = map[string]*levelTimeline{}
		}
		l.metrics[name] = t
	}
}
