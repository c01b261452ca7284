package loadgen

import "time"

// levels are what was seen of the server's use of resources by stretch of measured time, by the name of the metric. The zero value is empty.
type levels struct {
	metrics map[string]*levelTimeline
}

// levelTimeline is the mean level by stretch of measured time, at most maxWindows of them; their width doubles as a run goes on.
type levelTimeline struct {
	width time.Duration
	each  []level
}

type level struct {
	sum float64
	n   int64
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
	t.each[i].sum += value
	t.each[i].n++
}

func (t *levelTimeline) double() {
	t.width *= 2
	half := make([]level, (len(t.each)+1)/2, maxWindows)
	for i, l := range t.each {
		half[i/2].sum += l.sum
		half[i/2].n += l.n
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
