package reports

import (
	"encoding/csv"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/perf/benchfmt"

	promlabels "github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// noCommands checks that no line is a command to a CI system whose log shows the report, but for those meant.
func noCommands(t *testing.T, format, report string) {
	t.Helper()
	for line := range strings.Lines(report) {
		if strings.Contains(line, "##") && !(format == "markdown" && strings.HasPrefix(line, "##")) {
			t.Errorf("%q may be a command", line)
		}
		if !strings.HasPrefix(strings.TrimSpace(line), "::") {
			continue
		}
		if format != "github" || !regexp.MustCompile(`^::(error|warning|notice) title=(Load test|Performance gate%2C [^:]*)::`).MatchString(line) {
			t.Errorf("%q is a command", line)
		}
	}
}

func csvHolds(t *testing.T, report string, cells int) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(report)).ReadAll()
	if err != nil || len(rows) != cells+1 {
		t.Fatalf("%d rows for %d cells: %v", len(rows), cells, err)
	}
	for _, row := range rows {
		for i, field := range row {
			if strings.ContainsAny(field, "\n\r\t") || strings.IndexAny(strings.TrimLeft(field, " "), "=+-@|%") == 0 && !strings.HasPrefix(rows[0][i], "change") {
				t.Errorf("column %s: %q", rows[0][i], field)
			}
		}
	}
}

// openMetricsHold reads an exposition as Prometheus does. It wants every sample under a family, and none twice.
func openMetricsHold(t *testing.T, report string) (samples map[string]float64) {
	t.Helper()
	p, err := textparse.New([]byte(report), "application/openmetrics-text; version=1.0.0", "", false, false, false, promlabels.NewSymbolTable())
	if err != nil {
		t.Fatal(err)
	}
	samples = map[string]float64{}
	families := map[string]bool{}
	for {
		entry, err := p.Next()
		if err == io.EOF {
			return samples
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, report)
		}
		switch entry {
		case textparse.EntryType:
			name, _ := p.Type()
			if families[string(name)] {
				t.Errorf("the family %s is there twice", name)
			}
			families[string(name)] = true
		case textparse.EntrySeries:
			series, at, v := p.Series()
			if at == nil {
				t.Errorf("%s has no time", series)
			}
			if _, twice := samples[string(series)]; twice {
				t.Errorf("%s is there twice", series)
			}
			samples[string(series)] = v
		}
	}
}

// benchHolds reads both with benchstat's reader: the same lines, and nothing else.
func benchHolds(t *testing.T, got, want string) {
	t.Helper()
	count := func(s string) (n int) {
		r := benchfmt.NewReader(strings.NewReader(s), "report")
		for r.Scan() {
			switch rec := r.Result().(type) {
			case *benchfmt.SyntaxError:
				t.Errorf("%v in %q", rec, s)
			case *benchfmt.Result:
				if n++; len(rec.Values) == 0 {
					t.Errorf("%s has no values", rec.Name)
				}
				if key := string(rec.Name.Full()); !strings.HasPrefix(key, "Load/scenario=") && !strings.HasPrefix(key, "Gate/scenario=") || !strings.HasSuffix(key, "-2") && !strings.HasSuffix(key, "-1") {
					t.Errorf("the name became %q", key)
				}
			}
		}
		if err := r.Err(); err != nil {
			t.Error(err)
		}
		return n
	}
	if g, w := count(got), count(want); g != w || g == 0 {
		t.Errorf("%d benchmarks, want %d:\n%s", g, w, got)
	}
}

func TestAnnotation(t *testing.T) {
	for want, a := range map[string]Annotation{
		"::notice::all held": {Message: "all held"},
		"::error file=a%2Cb%3Ac%25.yaml,line=3,title=x%2Cy::50%25 of%0Acalls%0A::warning::z": {
			Level: "error", File: "a,b:c%.yaml", Line: 3, Title: "x,y", Message: "50% of\ncalls\n::warning::z"},
		"::warning title=a b::m":          {Level: "warning", Title: "a\nb", Message: "m"},
		"::notice::a level of its own":    {Level: "error::x", Message: "a level of its own"},
		"::notice file=f::no line is one": {File: "f", Line: 0, Message: "no line is one"},
	} {
		if got := a.String(); got != want {
			t.Errorf("%+v gives %q, want %q", a, got, want)
		}
	}
}

func TestAnnotationsAreFew(t *testing.T) {
	d := sample(t, execRun())
	d.Verdict.OK = false
	for range 25 {
		d.Verdict.Failed = append(d.Verdict.Failed, "x: something")
	}
	got := render(t, "github", d)
	if n := strings.Count(got, "\n"); n != maxAnnotations || !strings.Contains(got, "16 more findings") {
		t.Errorf("%d annotations:\n%s", n, got)
	}
}

// FuzzHostile puts any text everywhere a document has one and reads every report as its readers do.
func FuzzHostile(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	plain := map[string]string{}
	for _, format := range Formats() {
		plain[format] = render(f, format, hostileDoc(f, "plain"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		if s := strings.TrimSpace(clean(text)); s == "" || slices.Contains(openBands, loadgen.Band(s)) {
			return // another page, and rightly so
		}
		d := hostileDoc(t, text)
		for _, format := range Formats() {
			noCommands(t, format, render(t, format, d))
		}
		csvHolds(t, render(t, "csv", d), len(d.Scenarios)+len(d.Gate.Cells))
		openMetricsHold(t, render(t, "openmetrics", d))
		benchHolds(t, render(t, "benchfmt", d), plain["benchfmt"])
		sameElements(t, render(t, "junit", d), plain["junit"])
		samePage(t, render(t, "html", d), plain["html"])
	})
}

// samePage compares two pages as a browser reads them: the same elements with the same attributes, and no script.
func samePage(t *testing.T, got, want string) {
	t.Helper()
	shape := func(s string) string {
		var b strings.Builder
		z := html.NewTokenizer(strings.NewReader(s))
		for {
			switch z.Next() {
			case html.ErrorToken:
				return b.String()
			case html.StartTagToken, html.SelfClosingTagToken:
				tok := z.Token()
				b.WriteString("<" + tok.Data)
				for _, a := range tok.Attr {
					b.WriteString(" " + a.Key)
					if tok.Data == "script" || strings.HasPrefix(a.Key, "on") || a.Key == "href" || a.Key == "src" {
						t.Errorf("the page has %s %s=%q", tok.Data, a.Key, a.Val)
					}
				}
				b.WriteString(">")
			case html.EndTagToken:
				b.WriteString("</" + z.Token().Data + ">")
			}
		}
	}
	if g, w := shape(got), shape(want); g != w {
		t.Errorf("another page:\n%s\nwant\n%s", g, w)
	}
}
