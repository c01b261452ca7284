package reports

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/chart"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// pageView is what the page shows beside the view of all reports. Whatever is template.HTML here was made by this package or by chart, which
// escapes every text of the document.
type pageView struct {
	view
	Style    template.CSS
	Counted  string
	Sections []section
	Graded   []pageTarget
	Spent    []pageSpent
	Stages   []string
	Facts    []fact // of the generator
	Why      []string
	Valid    bool
	LeftOut  string

	Capacity  []capacityPart
	Gate      *pageGate // nil without one
	Open      bool      // the verdict is neither: it cannot be told
	Passed    []string  // why a gate passed
	Generated bool      // the load generator's health is known
}

// section is what belongs to one scenario.
type section struct {
	ID, Name, Operation string
	Figures             []figure
}

// figure is a chart with its key, and its figures as a table.
type figure struct {
	ID      string // of the chart
	Caption string
	Chart   template.HTML
	Keys    []key
	Head    []string
	Rows    [][]string
}

// key says what a line or a colour means.
type key struct {
	Mark template.HTML
	Name string
}

type pageTarget struct {
	targetRow
	Gauge template.HTML
}

type pageSpent struct {
	Cell, Mean string
	Bar        template.HTML
	Parts      []string
}

type fact struct{ Name, Value string }

func newPage(d *result.Doc) pageView {
	v := newView(d)
	p := pageView{view: v, Style: template.CSS(pageStyle), Counted: counted(&v, d), Facts: health(&d.Generator), Valid: d.Generator.Valid, Stages: partNames()}
	for _, why := range d.Generator.Why {
		p.Why = append(p.Why, clean(why))
	}
	for i := range d.Scenarios {
		if s := &d.Scenarios[i]; s.Grade != nil {
			p.Graded = append(p.Graded, pageTarget{newTarget(s), gauge(s.Grade)})
		}
	}
	for _, r := range spentTimes(d) {
		p.Spent = append(p.Spent, newSpent(&r))
	}
	p.Sections, p.LeftOut = sections(d)
	p.Capacity = capacityParts(d.Capacity)
	p.Gate, p.Passed, p.Generated = newPageGate(d.Gate), passed(d), generated(d)
	p.Open = d.Gate != nil && d.Gate.Verdict == result.GateInconclusive
	return p
}

func newSpent(r *spent) pageSpent {
	parts := r.all()
	row := pageSpent{Cell: cellName(r.cell), Mean: nanos(&r.latency), Parts: r.parts()}
	var sum, at float64
	for i, v := range parts {
		parts[i] = max(v, 0)
		sum += float64(parts[i])
	}
	var bar strings.Builder
	bar.WriteString(`<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">`)
	for i, v := range parts {
		if v > 0 {
			part := 100 * float64(v) / sum
			fmt.Fprintf(&bar, `<rect class="p%d" x="%.2f" width="%.2f" height="10"/>`, i+1, at, part)
			at += part
		}
	}
	bar.WriteString(`</svg>`)
	row.Bar = template.HTML(bar.String())
	return row
}

// gauge shows where a value lies among its bands, by its logarithm: the target is in the middle, the end of what is acceptable at three
// quarters.
func gauge(g *result.Grade) template.HTML {
	if g.ValueNS == nil || *g.ValueNS <= 0 || g.TargetNS <= 0 || g.AcceptableNS <= g.TargetNS {
		return ""
	}
	at := 50 + 25*math.Log(float64(*g.ValueNS)/float64(g.TargetNS))/math.Log(float64(g.AcceptableNS)/float64(g.TargetNS))
	return template.HTML(fmt.Sprintf(`<svg class="gauge" viewBox="0 0 100 12" preserveAspectRatio="none" aria-hidden="true">`+
		`<rect class="g-t" y="3" width="50" height="6"/><rect class="g-a" x="50" y="3" width="25" height="6"/><rect class="g-p" x="75" y="3" width="25" height="6"/>`+
		`<rect class="g-m" x="%.1f" width="2" height="12"/></svg>`, min(max(at, 0), 98)))
}

// health lists what speaks for or against the load generator.
func health(g *result.Generator) []fact {
	facts := []fact{
		{"Lateness p99", Duration(time.Duration(g.LatenessP99NS))},
		{"Waited for a CPU", fmt.Sprintf("%.1f %%", 100*g.CPUWait)},
		{"CPU", significant(g.CPUS) + " s"},
	}
	if g.CPUSPerCall > 0 {
		facts = append(facts, fact{"CPU a call", Duration(time.Duration(g.CPUSPerCall * float64(time.Second)))})
	}
	for _, f := range []struct {
		name string
		ns   int64
	}{{"GC pause p99", g.GCPauseP99NS}, {"Longest stall", g.MaxStallNS}, {"Held back by a quota", g.ThrottledNS}} {
		if f.ns > 0 {
			facts = append(facts, fact{f.name, Duration(time.Duration(f.ns))})
		}
	}
	return facts
}

// seriesKey is the key of a line of a chart.
func seriesKey(i int, name string) key { return key{template.HTML(chart.Key(i)), name} }

// Number counts from one, for the template.
func (pageView) Number(i int) int { return i + 1 }
