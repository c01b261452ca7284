package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

func histogram(n int, top time.Duration) *stats.Histogram {
	h, rng := &stats.Histogram{}, rand.New(rand.NewPCG(1, uint64(n)))
	for range n {
		h.Record(time.Duration(rng.Int64N(int64(top))))
	}
	return h
}

func run(change func(*loadgen.Result)) *loadgen.Result {
	r := &loadgen.Result{
		Plan: &loadgen.Plan{
			Name: "ssh-exec", Operation: "ssh.exec", Seed: 7, Executor: loadgen.Executor{Kind: loadgen.Open, Rate: 200},
			Target: &loadgen.Target{Target: 100 * time.Millisecond, Acceptable: 500 * time.Millisecond},
		},
		Started: time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC), Elapsed: 17 * time.Second,
		Cells: []loadgen.Cell{{
			Step: "exec", Arm: "pooled", Driver: loadgen.DriverInfo{Kind: "stdio", ServerVersion: "1.2.3", PID: 9, Address: "/bin/server"},
			OfferedRate: 200, AchievedRate: 199.5, Requests: 50, Bytes: 3000, Measured: 15 * time.Second,
			Latency: histogram(50, 20*time.Millisecond), Timing: map[string]*stats.Histogram{"remote": histogram(50, time.Millisecond), "queue": {}},
			Windows: []loadgen.Window{{Width: time.Second, Requests: 50, P50: time.Millisecond}},
		}},
		Grade:     &loadgen.Grade{Statistic: "p95", Step: "exec", Value: 19 * time.Millisecond, Band: loadgen.BandTarget, Why: "below 100ms"},
		Generator: loadgen.GeneratorHealth{CPU: time.Second, Valid: true},
	}
	if change != nil {
		change(r)
	}
	return r
}

func doc(t testing.TB, failOn loadgen.Band, runs ...*loadgen.Result) *Doc {
	t.Helper()
	d, err := FromRun(Meta{ID: "1", Command: "loadgen run", FailOn: failOn}, runs)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestWriteThenReadGivesTheSame(t *testing.T) {
	want := doc(t, "", run(nil))
	var b bytes.Buffer
	if err := Write(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestHistogramSurvives(t *testing.T) {
	want := histogram(5000, time.Second)
	d, err := NewDistribution(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := stats.Decode(d.HDR)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999} {
		a, _ := want.Percentile(q)
		if b, _ := got.Percentile(q); a != b {
			t.Errorf("quantile %v: %v after, %v before", q, b, a)
		}
	}
	if got.Count() != want.Count() || got.Max() != want.Max() || got.Mean() != want.Mean() {
		t.Errorf("count, max or mean changed")
	}
}

func TestPercentilesNeedSamples(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string // the percentiles that are there
	}{{0, ""}, {1, ""}, {2, "p50"}, {4, "p50 p75"}, {19, "p50 p75 p90"}, {20, "p50 p75 p90 p95"}, {99, "p50 p75 p90 p95"}, {100, "p50 p75 p90 p95 p99"}, {1000, "p50 p75 p90 p95 p99 p999"}} {
		d, err := NewDistribution(histogram(c.n, time.Second))
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(d)
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range []string{"p50", "p75", "p90", "p95", "p99", "p999"} {
			v, ok := m[p]
			if !ok {
				t.Errorf("%s is left out, want null", p)
			}
			if v != nil {
				got = append(got, p)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%d samples: %q, want %q", c.n, s, c.want)
		}
		if (m["max"] == nil) != (c.n == 0) {
			t.Errorf("%d samples: max %v", c.n, m["max"])
		}
	}
}

func TestFindings(t *testing.T) {
	grade := func(b loadgen.Band) func(*loadgen.Result) {
		return func(r *loadgen.Result) { r.Grade.Band, r.Grade.Why = b, "why so" }
	}
	for name, c := range map[string]struct {
		failOn loadgen.Band
		change func(*loadgen.Result)
		kinds  []Kind
		text   string
	}{
		"held":                {},
		"poor":                {change: grade(loadgen.BandPoor), kinds: []Kind{Missed}, text: "p95 is poor: why so"},
		"acceptable will do":  {change: grade(loadgen.BandAcceptable)},
		"acceptable is asked": {failOn: loadgen.BandAcceptable, change: grade(loadgen.BandAcceptable), kinds: []Kind{Missed}, text: "acceptable"},
		"no data":             {change: grade(loadgen.BandNoData), kinds: []Kind{Inconclusive}, text: "no grade: why so"},
		"threshold": {change: func(r *loadgen.Result) {
			r.Thresholds = []loadgen.ThresholdResult{{Expr: "p95<1ms", Step: "exec", Value: "2ms"}}
		}, kinds: []Kind{Missed}, text: "ssh-exec exec (pooled): threshold p95<1ms failed with 2ms"},
		"generator": {change: func(r *loadgen.Result) {
			r.Generator = loadgen.GeneratorHealth{Why: []string{"p99 of the lateness is 30ms"}}
		}, kinds: []Kind{Unbelievable}, text: "ssh-exec: p99 of the lateness"},
		"all failed": {change: func(r *loadgen.Result) {
			r.Cells[0].Errors = map[string]int64{"TIMEOUT": 10, "AUTHENTICATION_FAILED": 40}
			r.Cells[0].ErrorSamples = map[string]string{"AUTHENTICATION_FAILED": "password refused"}
			r.Grade.Band = loadgen.BandNoData
		}, kinds: []Kind{Missed}, text: "all 50 calls failed: AUTHENTICATION_FAILED: password refused"},
		"nothing": {change: func(r *loadgen.Result) { r.Grade, r.Cells[0] = nil, loadgen.Cell{Step: "exec"} }, kinds: []Kind{Inconclusive}, text: "nothing was measured"},
	} {
		t.Run(name, func(t *testing.T) {
			d := doc(t, c.failOn, run(c.change))
			fs := d.Findings(c.failOn)
			var kinds []Kind
			for _, f := range fs {
				kinds = append(kinds, f.Kind)
			}
			if !reflect.DeepEqual(kinds, c.kinds) || len(fs) > 0 && !strings.Contains(fs[0].Text, c.text) {
				t.Errorf("findings %+v, want kinds %v and %q", fs, c.kinds, c.text)
			}
			if d.Verdict.OK != (len(c.kinds) == 0) || len(d.Verdict.Failed) != len(c.kinds) {
				t.Errorf("verdict %+v", d.Verdict)
			}
		})
	}
}

func TestInterruptedRunDoesNotHold(t *testing.T) {
	d := doc(t, "", run(func(r *loadgen.Result) { r.Interrupted = true }))
	if d.Verdict.OK || !strings.Contains(d.Verdict.Failed[0], "interrupted") {
		t.Errorf("verdict %+v", d.Verdict)
	}
}

func TestPlannedRowsReadNoData(t *testing.T) {
	d, err := FromRun(Meta{Planned: []Planned{{Scenario: "vpn-toggle", Why: "planned", Target: loadgen.Target{Operation: "vpn.wireguard_toggle", Target: 1, Acceptable: 2}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := d.Scenarios[0]
	if s.Ran() || s.Grade.Band != loadgen.BandNoData || s.Grade.Statistic != "p95" || !d.Verdict.OK {
		t.Errorf("got %+v, verdict %+v", s, d.Verdict)
	}
}

func TestGradeAndThresholdsGoToTheirStep(t *testing.T) {
	d := doc(t, "", run(func(r *loadgen.Result) {
		first, second := r.Cells[0], r.Cells[0]
		first.Step = "other"
		r.Cells = []loadgen.Cell{first, second}
		r.Thresholds = []loadgen.ThresholdResult{{Expr: "p95<1s", Step: "exec", OK: true}}
	}))
	if d.Scenarios[0].Grade != nil || d.Scenarios[1].Grade == nil || len(d.Scenarios[1].Thresholds) != 1 {
		t.Errorf("scenarios %+v", d.Scenarios)
	}
}

func TestRatesOverNoTimeAreZero(t *testing.T) {
	d := doc(t, "", run(func(r *loadgen.Result) { r.Cells[0].Measured = 0 }))
	if err := Write(&bytes.Buffer{}, d); err != nil {
		t.Error(err)
	}
}

func TestReadRefuses(t *testing.T) {
	var b bytes.Buffer
	if err := Write(&b, doc(t, "", run(nil))); err != nil {
		t.Fatal(err)
	}
	good := b.String()
	for name, c := range map[string]struct{ old, new, want string }{
		"another version":     {Schema, "openaccess.loadgen/result/v9", `its schema is "openaccess.loadgen/result/v9"`},
		"no schema":           {`"schema": "` + Schema + `",`, "", "it has no schema field"},
		"unknown field":       {`"requests": 50`, `"requests": 50, "speed": 9`, `unknown field "speed"`},
		"wrong type":          {`"requests": 50,`, `"requests": "many",`, "line "},
		"cut off":             {`"verdict"`, "", "line "},
		"histogram corrupted": {`"hdr": "HI`, `"hdr": "XX`, "decode histogram"},
		"count changed":       {`"n": 50`, `"n": 51`, "n is 51, the histogram holds 50"},
		"percentile changed":  {`"p95": 1`, `"p95": 2`, "0.95 quantile differs"},
		"unknown band":        {`"band": "target"`, `"band": "superb"`, `"superb" is not known`},
		"unknown unit":        {`"unit": "ns"`, `"unit": "ms"`, `unit "ms"`},
		"too many errors":     {`"errors": {}`, `"errors": {"TIMEOUT": 99}`, "99 errors"},
		"no name":             {`"name": "ssh-exec"`, `"name": ""`, "scenarios[0].name is empty"},
		"verdict turned":      {`"ok": true`, `"ok": false`, "ok contradicts failed"},
		"more after it":       {good, good + "{}", "after top-level value"},
		"nothing":             {good, "", "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(good, c.old, c.new, 1)
			if bad == good {
				t.Fatalf("%q is not in the file", c.old)
			}
			_, err := Read(strings.NewReader(bad))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "loadgen run --out") {
				t.Errorf("got %v, want %q and a remedy", err, c.want)
			}
			if schema := strings.Contains(name, "schema") || strings.Contains(name, "version"); errors.Is(err, ErrSchema) != schema {
				t.Errorf("errors.Is(err, ErrSchema) = %v", !schema)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	if err := Write(&b, doc(f, "", run(nil))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add([]byte(`{"schema":"` + Schema + `","scenarios":[{"name":"x","latency":{"unit":"ns","hdr":""}}],"verdict":{"ok":true}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		d.Findings(loadgen.BandAcceptable)
		var again bytes.Buffer
		if err := Write(&again, d); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(&again); err != nil {
			t.Errorf("what was read and written is refused: %v", err)
		}
	})
}

func TestRatiosAndPartsAreKept(t *testing.T) {
	held := int64(3)
	d := doc(t, "", run(func(r *loadgen.Result) {
		own := &loadgen.Executor{Kind: loadgen.Occupancy, Holders: 4}
		r.Plan.Mix = []loadgen.Part{{Name: "short", Weight: 1}, {Name: "long", Executor: own}}
		r.Cells[0].Part = "short"
		r.Cells = append(r.Cells, loadgen.Cell{Part: "long", Step: "take", Held: &held, Windows: []loadgen.Window{{Held: 3}, {Held: 4}}})
		r.Ratios = []loadgen.Ratio{{Part: "short", Step: "exec", Arm: "unpooled", Base: "pooled", Statistic: "p50", Ratio: 3.9}}
	}))
	if len(d.Ratios) != 1 || d.Ratios[0] != (Ratio{"ssh-exec", "short", "exec", "unpooled", "pooled", "p50", 3.9}) {
		t.Errorf("ratios %+v", d.Ratios)
	}
	short, long := d.Scenarios[0], d.Scenarios[1]
	if short.Executor != "open" || short.InFlight != loadgen.DefaultMaxInFlight || short.Held != nil {
		t.Errorf("%s executor with %d in flight, held %v", short.Executor, short.InFlight, short.Held)
	}
	if long.Part != "long" || long.Executor != "occupancy" || long.InFlight != 4 || *long.Held != 3 {
		t.Errorf("%+v", long)
	}
	merged, err := halve(long.Windows)
	if err != nil || len(merged) != 1 || merged[0].Held != 3 {
		t.Errorf("windows %+v, %v", merged, err)
	}
}
