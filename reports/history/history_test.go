package history

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var began = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

var testMachine = Machine{"Example CPU", 2, "linux/amd64"}

// madeRuns are n runs of a branch with the figures of as many cells; value gives each.
func madeRuns(branch string, n, cells int, value func(run, cell int) float64) []*Run {
	runs := make([]*Run, n)
	for i := range runs {
		r := &Run{Schema: Schema, ID: fmt.Sprintf("%s-%03d", branch, i), Started: began.Add(time.Duration(i) * time.Hour), Branch: branch,
			Revision: fmt.Sprintf("c%03d", i), Machine: testMachine}
		for c := range cells {
			r.Figures = append(r.Figures, Figure{Name{fmt.Sprintf("cell-%02d", c), "stdio, open 200/s, fake", "p50"}, value(i, c)})
		}
		runs[i] = r
	}
	return runs
}

// noisy is 4 ms with noise of 3 %, and slower by a factor from a run on.
func noisy(seed uint64, from int, factor float64) func(run, cell int) float64 {
	rnd := rand.New(rand.NewPCG(seed, 5))
	return func(run, _ int) float64 {
		v := 4e6 * math.Exp(0.03*rnd.NormFloat64())
		if run >= from {
			v *= factor
		}
		return v
	}
}

func openFile(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t testing.TB, s *Store, runs ...*Run) int {
	t.Helper()
	n, err := s.Add(t.Context(), runs...)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func all(t testing.TB, s *Store) []*Run {
	t.Helper()
	runs, err := s.Runs(t.Context(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// storeSuite holds for every kind of database. Place gives the same empty one each time.
func storeSuite(t *testing.T, where string) {
	s := openFile(t, where)
	runs := madeRuns("main", 5, 3, noisy(1, 99, 1))
	if n := add(t, s, runs[3], runs[1]); n != 2 {
		t.Errorf("added %d", n)
	}
	if n := add(t, s, runs...); n != 3 {
		t.Errorf("added %d of which two were there", n)
	}
	got := all(t, s)
	if len(got) != 5 {
		t.Fatalf("%d runs", len(got))
	}
	for i := range got {
		if !got[i].same(runs[i]) {
			t.Errorf("got  %+v\nwant %+v", got[i], runs[i])
		}
	}
	other := *runs[2]
	other.Revision = "else"
	if n, err := s.Add(t.Context(), madeRuns("new", 1, 1, noisy(1, 9, 1))[0], &other); n != 0 || !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), `run "main-002"`) {
		t.Errorf("another content: %d, %v", n, err)
	}
	if len(all(t, s)) != 5 {
		t.Error("a part of what failed was kept")
	}
	bad := *runs[2]
	bad.ID, bad.Figures = "bad", []Figure{{Name{"c", "l", "p42"}, 1}}
	if _, err := s.Add(t.Context(), &bad); err == nil || !strings.Contains(err.Error(), `figures[0] has the cell "c" and the metric "p42"`) {
		t.Errorf("a bad figure: %v", err)
	}
	concurrent(t, where)
	newer(t, s, where)
}

// concurrent has stores open and add at the same time.
func concurrent(t *testing.T, where string) {
	runs := madeRuns("many", 8, 20, noisy(2, 99, 1))
	var wg sync.WaitGroup
	errs := make([]error, len(runs))
	for i, r := range runs {
		wg.Go(func() {
			s, err := Open(t.Context(), where)
			if err == nil {
				_, err = s.Add(t.Context(), r)
				err = errors.Join(err, s.Close())
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	s := openFile(t, where)
	if got, err := s.Runs(t.Context(), Filter{Branch: "many"}); err != nil || len(got) != len(runs) || len(got[7].Figures) != 20 {
		t.Errorf("%d runs, %v", len(got), err)
	}
}

// newer leaves a database of a version to come.
func newer(t *testing.T, s *Store, where string) {
	if _, err := s.db.Exec("UPDATE history_version SET version = 99"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), where); err == nil || !strings.Contains(err.Error(), "its schema has version 99") {
		t.Errorf("a newer schema: %v", err)
	}
}

func TestSQLite(t *testing.T) { storeSuite(t, filepath.Join(t.TempDir(), "a b%20?.db")) }

// TestFreshConcurrent has programs make one file at the same time.
func TestFreshConcurrent(t *testing.T) {
	for range 5 {
		concurrent(t, filepath.Join(t.TempDir(), "new.db"))
	}
}

// TestMigration brings a file of version 1 to a version with one more table and keeps what is in it.
func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h.db")
	add(t, openFile(t, path), madeRuns("main", 3, 1, noisy(1, 9, 1))...)
	old := migrations
	defer func() { migrations = old }()
	migrations = append(slices.Clone(old), "CREATE TABLE extra (a TEXT); ALTER TABLE runs ADD COLUMN note TEXT")
	for range 2 {
		s := openFile(t, path)
		if got := all(t, s); len(got) != 3 {
			t.Errorf("%d runs", len(got))
		}
		if _, err := s.db.Exec("INSERT INTO extra VALUES ('x')"); err != nil {
			t.Error(err)
		}
	}
	migrations = append(migrations, "CREATE TABLE half (a TEXT); NONSENSE")
	if _, err := Open(t.Context(), path); err == nil {
		t.Fatal("a migration that fails goes unnoticed")
	}
	migrations = migrations[:2]
	s := openFile(t, path)
	if _, err := s.db.Exec("SELECT * FROM half"); err == nil {
		t.Error("half of a migration is left")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for where, want := range map[string]string{
		"":                                     "no history is named",
		filepath.Join(dir, "no", "h.db"):       "does not exist; make it first",
		garbage:                                "garbage.db: ",
		"mysql://u:hunter2@h/d":                "only postgres:// URLs and files are known",
		"postgres://u:hunter2@127.0.0.1:1/d":   "history postgres://u:xxxxx@127.0.0.1:1/d: ",
		"postgres://u:hunter2@127.0.0.1:bad/d": "its URL is not valid",
		"postgres://127.0.0.1:1/d?password=hunter2": "history postgres://127.0.0.1:1/d?…: ",
	} {
		_, err := Open(t.Context(), where)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", where, err)
		}
	}
}

func TestLines(t *testing.T) {
	runs := madeRuns("main", 4, 2, noisy(3, 99, 1))
	var b bytes.Buffer
	if err := WriteLines(&b, runs); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLines(strings.NewReader(strings.ReplaceAll(b.String(), "\n", "\n\n")))
	if err != nil || len(got) != 4 || !got[3].same(runs[3]) {
		t.Errorf("%d runs, %v", len(got), err)
	}
	first, _, _ := strings.Cut(b.String(), "\n")
	for text, want := range map[string]string{
		"\n" + first[:50]: "line 2: unexpected EOF",
		"{}":              `line 1: schema is "", not "openaccess.loadgen/history/v1"`,
		first + "{}":      "more than one value",
		strings.Replace(first, `"id"`, `"idd"`, 1):                  `unknown field "idd"`,
		strings.Replace(first, `"p50"`, `"p51"`, 1):                 "figures[0] has the cell",
		strings.Replace(first, `"value":`, `"value":-`, 1):          "figures[0].value is -",
		strings.Replace(first, `"cores":2`, `"cores":0`, 1):         "machine lacks cpu, cores or os",
		strings.Replace(first, `"cell-01"`, `"cell-00"`, 1):         "is there twice",
		strings.Replace(first, `"branch":"main"`, `"branch":""`, 1): "id, branch or revision is empty",
	} {
		if _, err := ReadLines(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

func FuzzReadLines(f *testing.F) {
	var b bytes.Buffer
	if err := WriteLines(&b, madeRuns("main", 2, 2, noisy(3, 99, 1))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		runs, err := ReadLines(bytes.NewReader(data))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := WriteLines(&out, runs); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLines(&out)
		if err != nil || len(again) != len(runs) {
			t.Fatalf("%d runs became %d, %v", len(runs), len(again), err)
		}
	})
}

func heldDoc(t *testing.T) *result.Doc {
	t.Helper()
	f, err := os.Open("../testdata/held.json")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := result.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFromDoc(t *testing.T) {
	r, err := FromDoc(heldDoc(t), "main", "")
	if err != nil {
		t.Fatal(err)
	}
	if r.Revision != "0123abcd" || r.Machine != testMachine || r.Branch != "main" {
		t.Errorf("%+v", r)
	}
	found := map[string]float64{}
	for _, f := range r.Figures {
		found[f.Name.String()] = f.Value
	}
	for name, want := range map[string]float64{
		"ssh-exec/exec/pooled (stdio, open 200/s, fake) p50": 3500031, "ssh-exec/exec/pooled (stdio, open 200/s, fake) p99": 5951487,
		"ssh-exec/exec/pooled (stdio, open 200/s, fake) errors": 0,
	} {
		if got, ok := found[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v; there are %v", name, got, want, found)
		}
	}
	if _, ok := found["ssh-exec/exec/pooled (stdio, open 200/s, fake) throughput"]; ok {
		t.Error("the rate of an open executor is kept")
	}
	if r, err := FromDoc(heldDoc(t), "main", "beef"); err != nil || r.Revision != "beef" {
		t.Errorf("%v, %v", r, err)
	}
}

func TestUnfit(t *testing.T) {
	for want, change := range map[string]func(*result.Doc){
		"run.id":             func(d *result.Doc) { d.Run.ID = "" },
		"use --rev":          func(d *result.Doc) { d.Run.Git = "" },
		"run.shard":          func(d *result.Doc) { d.Run.Shard = "1/2" },
		"generator.valid":    func(d *result.Doc) { d.Generator.Valid, d.Generator.Why = false, []string{"late"} },
		"run.host":           func(d *result.Doc) { d.Run.Host.CPU = "" },
		"scenarios holds no": func(d *result.Doc) { d.Scenarios = nil },
		"is there twice":     func(d *result.Doc) { d.Scenarios = append(d.Scenarios, d.Scenarios[0]) },
	} {
		d := heldDoc(t)
		change(d)
		if _, err := FromDoc(d, "main", ""); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := FromDoc(heldDoc(t), "", ""); !errors.Is(err, ErrUnfit) || !strings.Contains(err.Error(), "--branch") {
		t.Error(err)
	}
}

func analyze(t testing.TB, runs []*Run, o Options) []Group {
	t.Helper()
	groups, err := Analyze(runs, o)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func TestAnalyzeNamesTheCommits(t *testing.T) {
	g := analyze(t, madeRuns("main", 40, 1, noisy(4, 33, 1.2)), Options{Branch: "main", Seed: 1})
	found := g[0].New()
	if len(g) != 1 || len(found) != 1 {
		t.Fatalf("%d groups, %v", len(g), found)
	}
	c := found[0].Change
	if c.Range() != "c032..c033" || c.Effect < 0.15 || c.Effect > 0.25 || c.Before.N != 33 || c.After.N != 7 {
		t.Errorf("%s: %+v", c.Range(), c)
	}
	if g[0].Series[0].Baseline != c.After {
		t.Error("the baseline is not that since the change")
	}
}

func TestAnalyzeVerdicts(t *testing.T) {
	for _, test := range []struct {
		name            string
		runs            []*Run
		o               Options
		worse, all, few int
	}{
		{"steady", madeRuns("main", 60, 3, noisy(5, 99, 1)), Options{}, 0, 0, 0},
		{"slower", madeRuns("main", 60, 3, noisy(5, 54, 1.2)), Options{}, 3, 3, 0},
		{"slower long ago", madeRuns("main", 60, 3, noisy(5, 30, 1.2)), Options{}, 0, 3, 0},
		{"faster", madeRuns("main", 60, 3, noisy(5, 54, 0.8)), Options{}, 0, 3, 0},
		{"slower by too little", madeRuns("main", 60, 3, noisy(5, 54, 1.2)), Options{MinEffect: 0.5}, 0, 3, 0},
		{"too few", madeRuns("main", 13, 3, noisy(5, 6, 2)), Options{}, 0, 0, 3},
		{"another branch", madeRuns("side", 60, 3, noisy(5, 54, 1.2)), Options{}, -1, 0, 0},
		{"after a base", append(madeRuns("main", 30, 3, noisy(5, 99, 1)), madeRuns("side", 5, 3, noisy(6, 0, 1.2))...), Options{Branch: "side", Base: "main"}, 3, 3, 0},
		{"base alone", madeRuns("main", 30, 3, noisy(5, 99, 1)), Options{Branch: "side", Base: "main"}, -1, 0, 0},
	} {
		if test.o.Branch == "" {
			test.o.Branch = "main"
		}
		groups := analyze(t, test.runs, test.o)
		if test.worse < 0 || len(groups) != 1 {
			if len(groups) != 0 {
				t.Errorf("%s: %d groups", test.name, len(groups))
			}
			continue
		}
		g := &groups[0]
		if len(g.New()) != test.worse || len(g.All()) != test.all || len(g.Short()) != test.few {
			t.Errorf("%s: worse %v, all %v, %d too few", test.name, g.New(), g.All(), len(g.Short()))
		}
	}
}

func TestMachinesAreApart(t *testing.T) {
	runs := madeRuns("main", 60, 1, noisy(7, 99, 1))
	for i, r := range runs {
		if i%2 == 1 {
			r.Machine.Cores = 8
			r.Figures[0].Value /= 3
		}
	}
	groups := analyze(t, runs, Options{Branch: "main"})
	if len(groups) != 2 || groups[0].Machine.Cores != 8 || len(groups[0].All())+len(groups[1].All()) != 0 || groups[0].Runs != 30 {
		t.Errorf("%d groups", len(groups))
	}
	if g := analyze(t, runs, Options{Branch: "main", Machine: NewestMachine}); len(g) != 1 || g[0].Machine.Cores != 8 {
		t.Errorf("%d groups for the newest", len(g))
	}
	if g := analyze(t, runs, Options{Branch: "main", Machine: "2 cores"}); len(g) != 1 || g[0].Machine.Cores != 2 {
		t.Errorf("%d groups for 2 cores", len(g))
	}
}

func TestGoneAndRareErrors(t *testing.T) {
	runs := madeRuns("main", 60, 2, noisy(8, 99, 1))
	for i, r := range runs {
		if i >= 45 {
			r.Figures = r.Figures[:1]
		}
		errs := 0.0
		if i >= 50 {
			errs = 0.01
		}
		r.Figures = append(r.Figures, Figure{Name{"cell-00", "stdio, open 200/s, fake", "errors"}, errs})
	}
	g := analyze(t, runs, Options{Branch: "main"})[0]
	if found := g.New(); len(found) != 1 || found[0].Series.Metric.Name != "errors" || !strings.Contains(found[0].String(), "worse by 1 points (0 % → 1 %") {
		t.Errorf("%v", found)
	}
	if s := g.Series[len(g.Series)-1]; s.Cell != "cell-01" || !s.Gone {
		t.Errorf("%s is not gone", s.Name)
	}
}

// TestHostileNames has names that would be markup.
func TestHostileNames(t *testing.T) {
	runs := madeRuns("main", 40, 1, noisy(9, 33, 1.3))
	const evil = "<script>alert(1)</script>|`x`\x1b[31m\n[a](http://e) @you &"
	for _, r := range runs {
		r.Figures[0].Cell, r.Machine.CPU, r.Revision = evil, evil+"\"", r.Revision+evil
	}
	groups := analyze(t, runs, Options{Branch: "main"})
	if len(groups[0].All()) != 1 {
		t.Fatal("no change to write down")
	}
	for name, render := range map[string]func(*bytes.Buffer) error{
		"text":     func(b *bytes.Buffer) error { return Text(b, groups) },
		"markdown": func(b *bytes.Buffer) error { return Markdown(b, groups) },
		"html":     func(b *bytes.Buffer) error { return HTML(b, groups) },
	} {
		var b bytes.Buffer
		if err := render(&b); err != nil {
			t.Fatal(err)
		}
		out := b.String()
		if strings.Contains(out, "\x1b") || name != "text" && strings.Contains(out, "<script") {
			t.Errorf("%s holds markup:\n%s", name, out)
		}
		if name == "markdown" && (strings.Contains(out, "@you") || strings.Contains(out, "http://") || strings.Contains(out, "[a](")) {
			t.Errorf("markdown holds a mention or a link:\n%s", out)
		}
	}
}

func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, analyze(t, madeRuns("main", 40, 2, noisy(4, 33, 1.2)), Options{Branch: "main"})); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	if n := strings.Count(page, "<svg class=\"chart\""); n != 2 || strings.Count(page, "</svg>") != 2 {
		t.Errorf("%d charts", n)
	}
	for _, want := range []string{"came with commits c032..c033", `<desc id="trend-0-0-d">p50 over 40 runs. At run 34 worse by`, `class="bad"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	for _, bad := range []string{"http-equiv=\"refresh", "<?xml", "src=", "@import", "url("} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	b.Reset()
	if err := HTML(&b, nil); err != nil || !strings.Contains(b.String(), "holds no such run") {
		t.Error("an empty history makes no page")
	}
}

// TestFalseAlarms has 250 histories of 12 figures without a change, checked at their end: by 1 in 1,000 for each figure, and a bound that is
// passed by one history in ten thousand.
func TestFalseAlarms(t *testing.T) {
	alarms := 0
	for seed := range uint64(250) {
		if g := analyze(t, madeRuns("main", 40, 12, noisy(seed, 99, 1)), Options{Branch: "main", Seed: seed}); len(g[0].New()) > 0 {
			alarms++
		}
	}
	if t.Logf("%d of 250 histories raise a false alarm", alarms); alarms > 12 {
		t.Errorf("%d of 250 histories raise a false alarm", alarms)
	}
}

func BenchmarkAnalyze(b *testing.B) {
	for _, from := range []int{999, 490} {
		runs := madeRuns("main", 500, 20, noisy(1, from, 1.1))
		b.Run(fmt.Sprintf("500 runs, 20 figures, change at %d", from), func(b *testing.B) {
			for b.Loop() {
				analyze(b, runs, Options{Branch: "main"})
			}
		})
	}
}

func BenchmarkStore(b *testing.B) {
	runs := madeRuns("main", 500, 20, noisy(1, 999, 1))
	for b.Loop() {
		s, err := Open(context.Background(), filepath.Join(b.TempDir(), "h.db"))
		if err != nil {
			b.Fatal(err)
		}
		add(b, s, runs...)
		if len(all(b, s)) != 500 {
			b.Error("not all")
		}
		s.Close()
	}
}
