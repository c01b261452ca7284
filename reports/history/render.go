package history

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Text writes what was found for a terminal.
func Text(w io.Writer, groups []Group) error {
	out := bufio.NewWriter(w)
	for i := range groups {
		g := &groups[i]
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out, g.Title())
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "CELL\tLOAD\tMETRIC\tRUNS\tBASELINE\tOF\tLATEST\tCHANGES")
		for j := range g.Series {
			fmt.Fprintln(table, strings.Join(g.Series[j].row(), "\t"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		for _, f := range g.All() {
			fmt.Fprintf(out, "- %s\n", f)
		}
	}
	return out.Flush()
}

// Markdown writes what was found as GitHub's Markdown.
func Markdown(w io.Writer, groups []Group) error {
	out := bufio.NewWriter(w)
	for i := range groups {
		g := &groups[i]
		fmt.Fprintf(out, "## %s\n\n", markdown(g.Title()))
		for _, f := range g.All() {
			fmt.Fprintf(out, "- %s\n", markdown(f.String()))
		}
		if len(g.All()) > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprint(out, "| Cell | Load | Metric | Runs | Baseline | Of | Latest | Changes |\n|---|---|---|--:|--:|--:|--:|---|\n")
		for j := range g.Series {
			row := g.Series[j].row()
			for k := range row {
				row[k] = markdown(row[k])
			}
			fmt.Fprintf(out, "| %s |\n", strings.Join(row, " | "))
		}
		fmt.Fprintln(out)
	}
	return out.Flush()
}

// Title says what is looked at.
func (g *Group) Title() string {
	branch := g.Branch
	if g.Base != g.Branch {
		branch += " after " + g.Base
	}
	return clean(fmt.Sprintf("History of %s on %s: %s", branch, g.Machine, count(g.Runs, "run")))
}

// row is a series in a table.
func (s *Series) row() []string {
	latest := s.Points[len(s.Points)-1].Value
	note := "–"
	switch {
	case s.Gone:
		note = "no longer measured"
	case s.Short():
		note = fmt.Sprintf("too few runs, needs %d", s.Needed)
	case len(s.Changes) > 0:
		note = count(len(s.Changes), "change")
	}
	return []string{clean(s.Cell), clean(s.Load), s.Metric.Name, fmt.Sprint(len(s.Points)), s.Metric.format(s.Baseline.Median), count(s.Baseline.N, "run"),
		s.Metric.format(latest), note}
}

// String says what changed, since when, and which commits it came with.
func (f Finding) String() string {
	c, m := f.Change, f.Series.Metric
	return clean(fmt.Sprintf("%s: %s (%s → %s, p %.2g) since run %d of %d, %s: %s", f.Series.Name, f.effect(), m.format(c.Before.Median), m.format(c.After.Median), c.P,
		c.Index+1, len(f.Series.Points), c.FirstBad.Started.Format("2006-01-02 15:04"), c.commits()))
}

func (f Finding) effect() string {
	c := f.Change
	verdict := "changed by"
	switch {
	case c.Worse:
		verdict = "worse by"
	case c.Effect != 0 && (c.Effect < 0) == f.Series.Metric.MoreIsBad:
		verdict = "better by"
	}
	if f.Series.Metric.Unit == "" {
		return fmt.Sprintf("%s %.3g points", verdict, 100*c.Effect)
	}
	return fmt.Sprintf("%s %+.1f %%", verdict, 100*c.Effect)
}

func (c *Change) commits() string {
	if commits := c.Range(); commits != "" {
		return "came with commits " + commits
	}
	return fmt.Sprintf("both sides are revision %s, so look at the machine and the settings", c.FirstBad.Revision)
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// format writes a value with its unit.
func (m Metric) format(v float64) string {
	switch m.Unit {
	case "ns":
		return duration(v)
	case "s":
		return duration(v * 1e9)
	case "bytes":
		return fmt.Sprintf("%.4g MiB", v/(1<<20))
	case "":
		return fmt.Sprintf("%.3g %%", 100*v)
	}
	return fmt.Sprintf("%.4g%s", v, m.Unit)
}

func duration(ns float64) string {
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"s", time.Second}, {"ms", time.Millisecond}, {"µs", time.Microsecond}} {
		if ns >= float64(u.size) {
			return fmt.Sprintf("%.4g %s", ns/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%.4g ns", ns)
}

// clean takes out what a terminal or a line could not bear.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
}

var markdownEscapes = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "\\", "\\\\", "|", "\\|", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]",
	"~", "\\~", "#", "\\#", "!", "\\!", "@", "@\u2060", "://", ":\u2060//")

// markdown makes a text that means itself, without markup, mentions and links.
func markdown(s string) string { return markdownEscapes.Replace(s) }

// Title names the series in one line.
func (s *Series) Title() string { return clean(s.Name.String()) }
