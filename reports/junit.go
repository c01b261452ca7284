package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
}

// JUnit writes the report as a suite for CI systems: a case for each row of the targets table, each threshold, each trend, each cell of a gate, and the
// verdict, so that the suite fails exactly when the verdict does. Rows without data are skipped, and so are cells of a gate of which nothing can
// be said: that none of them is a pass is for the case of the verdict to say.
func JUnit(w io.Writer, d *result.Doc) error {
	s := junitSuite{Name: "loadgen", Time: fmt.Sprintf("%.3f", d.Run.DurationS), Stamp: d.Run.Started.UTC().Format(time.RFC3339)}
	for i := range d.Scenarios {
		s.cell(&d.Scenarios[i])
	}
	s.gate(d.Gate)
	s.capacity(d.Capacity)
	verdict := junitCase{Name: "verdict", Class: "loadgen"}
	if v := newView(d); !v.OK {
		verdict.Failure = &junitMessage{strings.Join(append([]string{v.Verdict}, v.Failed...), "; ")}
	}
	s.add(verdict)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (s *junitSuite) cell(c *result.Scenario) {
	if g := c.Grade; g != nil {
		row := newTarget(c)
		jc := junitCase{Name: "target " + row.Statistic + " " + row.Target, Class: cellName(c)}
		switch g.Band {
		case loadgen.BandNoData:
			jc.Skipped = &junitMessage{"no data: " + row.Why}
		case loadgen.BandPoor:
			jc.Failure = &junitMessage{row.Band + ": " + row.Why}
		}
		s.add(jc)
	}
	for _, t := range c.Thresholds {
		jc := junitCase{Name: "threshold " + clean(t.Expr), Class: cellName(c)}
		if !t.OK {
			jc.Failure = &junitMessage{"measured " + clean(t.Value)}
		}
		s.add(jc)
	}
	for i := range c.Trends {
		row := newTrend(c, &c.Trends[i])
		jc := junitCase{Name: "trend " + row.Expr, Class: row.Cell}
		switch c.Trends[i].Verdict {
		case loadgen.NoLeak:
		case loadgen.Leak:
			jc.Failure = &junitMessage{row.Verdict + ": " + row.Why}
		default:
			jc.Skipped = &junitMessage{row.Verdict + ": " + row.Why}
		}
		s.add(jc)
	}
}

func (s *junitSuite) gate(g *result.Gate) {
	if g == nil {
		return
	}
	for _, c := range gateCells(g) {
		row := newGateRow(c)
		jc := junitCase{Name: "gate " + row.Measure, Class: row.Scenario}
		said := fmt.Sprintf("%s: %s → %s, %s (%s), p %s", row.Verdict, row.Base, row.Head, row.Change, row.Interval, row.P)
		switch c.Verdict {
		case result.GateImproved, result.GateEquivalent:
		case result.GateInconclusive:
			if row.Why != "" {
				said += ": " + row.Why
			}
			jc.Skipped = &junitMessage{said}
		default:
			jc.Failure = &junitMessage{said}
		}
		s.add(jc)
	}
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}
