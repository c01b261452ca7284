package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// view is what every report shows, as text that is not yet escaped for any format.
type view struct {
	Title    string // what the verdict is of
	Verdict  string
	OK       bool
	Failed   []string
	About    []string // facts of the run, a line each
	Command  string
	Targets  []targetRow
	Remarks  []string // why rows of Targets are acceptable or without data
	Cells    []cellRow
	Arms     []armRow
	Servers  []serverRow
	Health   string // of the generator; empty where none is known
	Errors   []errorRow
	Checks   []thresholdRow
	Trends   []trendRow
	Missed   int    // of Checks
	Held     string // how many of Checks held, in words
	Warnings []string
}

type targetRow struct {
	Operation, Scenario, Step, Statistic, Value, Band, Target, Acceptable, Why string
}

type cellRow struct {
	Scenario, Step, Arm, Load, Rate, P50, P95, P99, Max, Errors, Dropped string
}

type armRow struct {
	Scenario, Step, Base, Arm, BaseP50, ArmP50, P50, BaseP95, ArmP95, P95, Rate string
}

type errorRow struct {
	Cell, Code, Count, Message string
}

type thresholdRow struct {
	Cell, Expr, Value, Result string
}

type trendRow struct {
	Cell, Expr, Verdict, Growth, Interval, Over, Why string
}

// none stands where there is no figure.
const none = "–"

func newView(d *result.Doc) view {
	v := view{Title: "Load test", OK: d.Verdict.OK, Verdict: "all held", About: about(d), Command: again(d)}
	if !v.OK {
		v.Verdict = "failed, " + count(len(d.Verdict.Failed), "finding")
	}
	if d.Gate != nil {
		v.Title, v.Verdict = "Performance gate", clean(string(d.Gate.Verdict))
	}
	for _, f := range d.Verdict.Failed {
		v.Failed = append(v.Failed, clean(f))
	}
	for i := range d.Scenarios {
		s := &d.Scenarios[i]
		if s.Grade != nil {
			v.Targets = append(v.Targets, newTarget(s))
		}
		if s.Ran() {
			v.Cells = append(v.Cells, newCell(s))
			v.Errors = append(v.Errors, newErrors(s)...)
		}
		for _, t := range s.Thresholds {
			v.Checks = append(v.Checks, newThreshold(s, t))
			if !t.OK {
				v.Missed++
			}
		}
		for i := range s.Trends {
			v.Trends = append(v.Trends, newTrend(s, &s.Trends[i]))
		}
		if base := baseOf(d, s); base != nil {
			v.Arms = append(v.Arms, newArm(base, s))
		}
	}
	v.sayOnce()
	v.Remarks = remarks(v.Targets)
	if v.Servers = serverRows(d); generated(d) {
		v.Health = generator(d)
	}
	if v.Held = fmt.Sprintf("all %d held", len(v.Checks)); v.Missed > 0 {
		v.Held = fmt.Sprintf("%d of %d failed", v.Missed, len(v.Checks))
	}
	if !d.Generator.Valid {
		v.Warnings = append(v.Warnings, "The load generator was too late or too busy: do not believe these figures.")
	}
	return v
}

// generated reports whether a load generator's own health is known: a gate has many, and says itself when one was late.
func generated(d *result.Doc) bool {
	return d.Gate == nil || !d.Generator.Valid || len(d.Scenarios) > 0
}

// sayOnce takes messages out of the table of errors that the verdict has already.
func (v *view) sayOnce() {
	verdict := strings.Join(v.Failed, "\n")
	for i, e := range v.Errors {
		if strings.Contains(verdict, e.Code+": "+e.Message) {
			v.Errors[i].Message = ""
		}
	}
}

func about(d *result.Doc) []string {
	r := &d.Run
	server := words("server", r.Server.Version, "over", r.Server.Transport)
	switch r.Server.Transport {
	case "inprocess":
		server = words("server", r.Server.Version, "in process, not graded")
	case "":
		server = "server not started"
	}
	if r.Server.Path != "" {
		server += " at " + r.Server.Path
	}
	if r.Server.Config != "" {
		server += ", configuration " + r.Server.Config
	}
	target := words("target", r.Target.Kind)
	if r.Target.Faults != "" {
		target += ", faults " + r.Target.Faults
	}
	lines := []string{
		server,
		target,
		"host " + hostLine(r.Host),
		fmt.Sprintf("run %s, %s, %.1f s, seed %d", r.ID, r.Started.UTC().Format(time.RFC3339), r.DurationS, r.Seed),
	}
	if r.Git != "" {
		lines[3] += ", revision " + r.Git
	}
	if c := d.Calibration; c != nil {
		lines = append(lines, fmt.Sprintf("calibrated %s: percentiles within %.2f %% of delays injected", c.Made.UTC().Format(time.DateOnly), 100*c.Worst()))
	}
	for i := range lines {
		lines[i] = clean(lines[i])
	}
	return lines
}

func newTarget(s *result.Scenario) targetRow {
	g := s.Grade
	return targetRow{
		Operation: clean(s.Operation), Scenario: clean(s.Name), Step: orNone(s.Step), Statistic: clean(g.Statistic),
		Value: nanos(g.ValueNS), Band: clean(string(g.Band)),
		Target: "< " + bound(g.TargetNS), Acceptable: "≤ " + bound(g.AcceptableNS), Why: clean(g.Why),
	}
}

// remarks says why rows are acceptable or without data, those with one reason together.
func remarks(rows []targetRow) []string {
	var reasons []string
	of := map[string][]string{}
	for _, r := range rows {
		if r.Band != string(loadgen.BandAcceptable) && r.Band != string(loadgen.BandNoData) {
			continue
		}
		if of[r.Why] == nil {
			reasons = append(reasons, r.Why)
		}
		of[r.Why] = append(of[r.Why], r.Scenario)
	}
	for i, why := range reasons {
		reasons[i] = strings.Join(of[why], ", ") + ": " + why
	}
	return reasons
}

func newCell(s *result.Scenario) cellRow {
	c := cellRow{
		Scenario: clean(s.Name), Step: orNone(words(s.Part, s.Step)), Arm: orNone(s.Arm), Rate: rate(s.AchievedRate),
		P50: none, P95: none, P99: none, Max: none,
		Errors: strconv.FormatInt(s.ErrorCount(), 10), Dropped: strconv.FormatInt(s.Dropped, 10),
	}
	c.Load = fmt.Sprintf("%d at once", s.InFlight)
	if s.Held != nil {
		c.Load = fmt.Sprintf("%d of %d held", *s.Held, s.InFlight)
	}
	if s.OfferedRate > 0 {
		c.Load = rate(s.OfferedRate) + "/s"
	}
	if l := s.Latency; l != nil {
		c.P50, c.P95, c.P99, c.Max = nanos(l.P50), nanos(l.P95), nanos(l.P99), nanos(l.Max)
	}
	return c
}

func newErrors(s *result.Scenario) []errorRow {
	var rows []errorRow
	for _, code := range slices.Sorted(maps.Keys(s.Errors)) {
		rows = append(rows, errorRow{cellName(s), clean(code), strconv.FormatInt(s.Errors[code], 10), clean(s.ErrorSamples[code])})
	}
	return rows
}

func newThreshold(s *result.Scenario, t result.Threshold) thresholdRow {
	row := thresholdRow{cellName(s), clean(t.Expr), clean(t.Value), "held"}
	if !t.OK {
		row.Result = "failed"
	}
	var more []string
	if t.StartNS > 0 {
		more = append(more, "from "+Duration(time.Duration(t.StartNS)))
	}
	if t.Aborted {
		more = append(more, "ended the run")
	}
	if len(more) > 0 {
		row.Value += " (" + strings.Join(more, ", ") + ")"
	}
	return row
}

// baseOf finds the same step under the scenario's first arm, nil when s itself is of that arm.
func baseOf(d *result.Doc, s *result.Scenario) *result.Scenario {
	i := slices.IndexFunc(d.Scenarios, func(o result.Scenario) bool {
		return o.Name == s.Name && o.Part == s.Part && o.Step == s.Step && o.Ran()
	})
	if i < 0 || !s.Ran() || d.Scenarios[i].Arm == s.Arm {
		return nil
	}
	return &d.Scenarios[i]
}

func newArm(base, s *result.Scenario) armRow {
	a, b := latency(base), latency(s)
	return armRow{
		Scenario: clean(s.Name), Step: orNone(words(s.Part, s.Step)), Base: clean(base.Arm), Arm: clean(s.Arm),
		BaseP50: nanos(a.P50), ArmP50: nanos(b.P50), P50: ratio(a.P50, b.P50),
		BaseP95: nanos(a.P95), ArmP95: nanos(b.P95), P95: ratio(a.P95, b.P95),
		Rate: times(base.AchievedRate, s.AchievedRate),
	}
}

func latency(s *result.Scenario) *result.Distribution {
	return cmp.Or(s.Latency, &result.Distribution{})
}

func cellName(s *result.Scenario) string {
	name := words(s.Name, s.Part, s.Step)
	if s.Arm != "" {
		name += " (" + s.Arm + ")"
	}
	return clean(name)
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func words(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

func orNone(s string) string { return cmp.Or(clean(s), none) }

func ratio(a, b *int64) string {
	if a == nil || b == nil {
		return none
	}
	return times(float64(*a), float64(*b))
}

func times(a, b float64) string {
	if a <= 0 {
		return none
	}
	return "×" + strconv.FormatFloat(b/a, 'f', 2, 64)
}

func nanos(v *int64) string {
	if v == nil {
		return none
	}
	return Duration(time.Duration(*v))
}

// Duration writes d with three significant digits and one unit, such as "4.32 ms".
func Duration(d time.Duration) string {
	unit, name := time.Nanosecond, "ns"
	switch {
	case d >= time.Second:
		unit, name = time.Second, "s"
	case d >= time.Millisecond:
		unit, name = time.Millisecond, "ms"
	case d >= time.Microsecond:
		unit, name = time.Microsecond, "µs"
	}
	return significant(float64(d)/float64(unit)) + " " + name
}

// bound writes a band's limit, which is a round figure, without trailing zeros.
func bound(v int64) string {
	number, unit, _ := strings.Cut(Duration(time.Duration(v)), " ")
	if strings.Contains(number, ".") {
		number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
	}
	return number + " " + unit
}

func rate(v float64) string { return significant(v) }

// significant writes v with three digits, and all those before the point.
func significant(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// maxText bounds one text of a Doc in a report, in characters.
const maxText = 400

// clean makes any text one line without control, formatting or bidirectional characters, and bounds it.
func clean(s string) string { return cleanTo(s, maxText) }

// cleanTo is clean with another bound. It parts what CI systems would take for a command wherever it stands in a line of their log, such as
// ##[group] and ##vso[…].
func cleanTo(s string, most int) string {
	var b strings.Builder
	n := 0
	last := ' '
	for _, r := range s {
		if n++; n > most {
			b.WriteRune('…')
			break
		}
		if r == '#' && last == '#' {
			b.WriteByte('\\')
		}
		switch {
		case unicode.IsSpace(r):
			b.WriteRune(' ')
		case !unicode.IsPrint(r):
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
		last = r
	}
	return b.String()
}

// commandMark begins a command to GitHub Actions at the start of a line of its log.
const commandMark = "::"

// maxCommand bounds the command in a report, in characters.
const maxCommand = 8000

// again is the command that runs the same again. Were it to begin like a command to the CI system, a backslash, which a shell drops, parts it.
func again(d *result.Doc) string {
	command := strings.TrimSpace(cleanTo(d.Run.Command, maxCommand))
	if strings.HasPrefix(command, commandMark) {
		return `\` + command
	}
	return command
}
