package loadgen

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

func TestTemplate(t *testing.T) {
	v := &vars{profile: "web", vu: 3, iteration: 42, workDir: "/w", remoteDir: "/r"}
	args := map[string]any{
		"plain": "echo", "path": "${workdir}/${profile}-${vu}.${iteration}", "price": "5$ $${HOME} $", "n": 7,
		"list": []any{"x", "${remote_dir}"}, "deep": map[string]any{"k": []any{map[string]any{"v": "${vu}"}}}, "fixed": []any{1, "y"},
	}
	want := map[string]any{
		"plain": "echo", "path": "/w/web-3.42", "price": "5$ ${HOME} $", "n": 7,
		"list": []any{"x", "/r"}, "deep": map[string]any{"k": []any{map[string]any{"v": "3"}}}, "fixed": []any{1, "y"},
	}
	tpl := compileTemplate("args", args, scope{}, func(path string, err *textError) { t.Errorf("%s: %v", path, err) })
	if got := tpl.render(v); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !tpl.uses("profile") || !tpl.uses("vu") || tpl.uses("nothing") {
		t.Error("uses is wrong")
	}
	constant := compileTemplate("args", map[string]any{"a": []any{"b"}}, scope{}, nil)
	if constant.varies() || !reflect.DeepEqual(constant.render(v), map[string]any{"a": []any{"b"}}) {
		t.Error("a value without variables is not shared")
	}
}

func FuzzParseText(f *testing.F) {
	for _, s := range []string{"", "${vu}", "$${vu}", "a${profile}b${workdir}", "${", "$", "$$${vu}", "${no}", "}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseText(s, scope{})
		if err != nil {
			if !strings.Contains(s, "${") {
				t.Fatalf("%q without a variable: %v", s, err)
			}
			return
		}
		got := parsed.render(&vars{profile: "P"})
		if !strings.Contains(s, "${") && got != s {
			t.Fatalf("%q rendered as %q", s, got)
		}
	})
}

func BenchmarkTemplate(b *testing.B) {
	v := &vars{profile: "web", vu: 3, iteration: 42, workDir: "/w", remoteDir: "/r"}
	tpl := compileTemplate("args", map[string]any{"profile_id": "${profile}", "remote_path": "${remote_dir}/${vu}/${iteration}", "direction": "put"}, scope{}, nil)
	b.ReportAllocs()
	for b.Loop() {
		tpl.render(v)
	}
}

func TestChecks(t *testing.T) {
	data := map[string]any{
		"exit_code": 0.0, "stdout": "hello\n", "files": []any{"a", 2.0}, "ok": true, "none": nil, "deep": map[string]any{"n": 5.0}, "vu": "vu 7",
	}
	for _, tt := range []struct {
		c    Check
		want bool
	}{
		{Check{Field: "exit_code", Op: "==", Value: 0}, true},
		{Check{Field: "exit_code", Op: "==", Value: uint64(0)}, true},
		{Check{Field: "exit_code", Op: "==", Value: "0"}, false},
		{Check{Field: "exit_code", Op: "!=", Value: int64(1)}, true},
		{Check{Field: "stdout", Op: "contains", Value: "ell"}, true},
		{Check{Field: "stdout", Op: "contains", Value: 1}, false},
		{Check{Field: "stdout", Op: "==", Value: "hello\n"}, true},
		{Check{Field: "stdout", Op: ">=", Value: "hello"}, true},
		{Check{Field: "files", Op: "contains", Value: 2}, true},
		{Check{Field: "files", Op: "contains", Value: "b"}, false},
		{Check{Field: "files", Op: "==", Value: []any{"a", 2}}, true},
		{Check{Field: "ok", Op: "==", Value: true}, true},
		{Check{Field: "ok", Op: "contains", Value: true}, false},
		{Check{Field: "none", Op: "==", Value: nil}, true},
		{Check{Field: "deep.n", Op: ">=", Value: 5}, true},
		{Check{Field: "deep.n", Op: "<=", Value: float32(4)}, false},
		{Check{Field: "deep.n", Op: "<=", Value: "5"}, false},
		{Check{Field: "deep", Op: "==", Value: map[string]any{"n": 5}}, true},
		{Check{Field: "deep.missing", Op: "!=", Value: 5}, false},
		{Check{Field: "stdout.length", Op: "==", Value: 5}, false},
		{Check{Field: "stdout", Op: "matches", Value: "^h.l+o\n$"}, true},
		{Check{Field: "stdout", Op: "matches", Value: "^ello"}, false},
		{Check{Field: "exit_code", Op: "matches", Value: "0"}, false},
		{Check{Field: "stdout", Op: "length", Value: 6}, true},
		{Check{Field: "stdout", Op: "length", Value: 5}, false},
		{Check{Field: "files", Op: "length", Value: 2.0}, true},
		{Check{Field: "ok", Op: "length", Value: 1}, false},
		{Check{Field: "stdout", Op: "sha256", Value: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"}, true},
		{Check{Field: "stdout", Op: "sha256", Value: "sha256:5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03"}, true},
		{Check{Field: "stdout", Op: "sha256", Value: strings.Repeat("0", 64)}, false},
		{Check{Field: "exit_code", Op: "sha256", Value: strings.Repeat("0", 64)}, false},
		{Check{Field: "stdout", Op: "contains", Value: "${vu}"}, false},
		{Check{Field: "vu", Op: "==", Value: "vu ${vu}"}, true},
	} {
		compiler := planCompiler{}
		c := compiler.check("check", tt.c, scope{})
		if len(compiler.errs) > 0 {
			t.Errorf("%+v: %v", tt.c, compiler.errs)
			continue
		}
		if ok, why := c.holds(data, c.render(&vars{vu: 7})); ok != tt.want || ok == (why != "") {
			t.Errorf("%+v: %v, %q, want %v", tt.c, ok, why, tt.want)
		}
	}
}

// validPlan is valid; each mistake below breaks one thing in it.
func validPlan() *Plan {
	return &Plan{
		Name:     "ok",
		Executor: Executor{Kind: Open, Rate: 10, Duration: time.Second},
		Files:    []File{{Name: "dir/a", Size: 1}},
		Steps:    []Step{{Name: "one", Tool: "ssh_exec", Args: map[string]any{"c": []any{"${vu}"}}, Checks: []Check{{Field: "exit_code", Op: "==", Value: 0}}}, {Name: "two", Tool: "x"}},
		Arms:     []Arm{{Name: "a"}, {Name: "b"}},
		Thresholds: []Threshold{
			{Metric: "p95", Op: "<", Value: 1e8}, {Step: "two", Metric: "rate", Op: ">", Value: 1},
		},
		Target: &Target{Statistic: "p99", Steps: []string{"one"}, Target: time.Second, Acceptable: time.Second},
	}
}

func TestValidatePlan(t *testing.T) {
	if err := ValidatePlan(validPlan()); err != nil {
		t.Fatal(err)
	}
	closed := func(f func(e *Executor)) func(p *Plan) {
		return func(p *Plan) {
			p.Executor = Executor{Kind: Closed, VUs: 1, Duration: time.Second}
			f(&p.Executor)
		}
	}
	for want, breaks := range map[string]func(p *Plan){
		"name: the plan":                               func(p *Plan) { p.Name = "" },
		"executor.kind: unknown":                       func(p *Plan) { p.Executor.Kind = "opn" },
		"executor.rate: an open":                       func(p *Plan) { p.Executor.Rate = 0 },
		"executor.rate: an open ":                      func(p *Plan) { p.Executor.Rate = math.NaN() },
		"executor.rate: an open  ":                     func(p *Plan) { p.Executor.Rate = math.Inf(1) },
		"executor.rate: no arrival":                    func(p *Plan) { p.Executor.Rate, p.Executor.Warmup = 0.1, time.Second },
		"executor.max_in_flight: -1":                   func(p *Plan) { p.Executor.MaxInFlight = -1 },
		"executor.vus: an open":                        func(p *Plan) { p.Executor.VUs = 1 },
		"executor.iterations: an open":                 func(p *Plan) { p.Executor.Iterations = 1 },
		"executor.sessions: ":                          func(p *Plan) { p.Executor.Sessions = -1 },
		"executor.warmup: ":                            func(p *Plan) { p.Executor.Warmup = -1 },
		"executor.duration: nothing":                   func(p *Plan) { p.Executor.Duration = 0 },
		"executor.vus: a closed":                       closed(func(e *Executor) { e.VUs = 0 }),
		"executor.rate: a closed":                      closed(func(e *Executor) { e.Rate = 1 }),
		"executor.max_in_flight: a closed":             closed(func(e *Executor) { e.MaxInFlight = 1 }),
		"executor.iterations: the":                     closed(func(e *Executor) { e.Iterations = -1 }),
		"files[0].name: \"../a\"":                      func(p *Plan) { p.Files[0].Name = "../a" },
		"files[0].name: the file":                      func(p *Plan) { p.Files[0].Name = "" },
		"files[1].name: file":                          func(p *Plan) { p.Files = append(p.Files, File{Name: "dir/./a", Size: 1}) },
		"files[0].size: ":                              func(p *Plan) { p.Files[0].Size = -1 },
		"steps: the plan":                              func(p *Plan) { p.Steps, p.Thresholds, p.Target = nil, nil, nil },
		"steps[0].name: the step":                      func(p *Plan) { p.Steps[0].Name = ""; p.Target.Steps = nil },
		"steps[1].name: step":                          func(p *Plan) { p.Steps[1].Name = "one"; p.Thresholds = nil },
		"steps[1].tool: ":                              func(p *Plan) { p.Steps[1].Tool = "" },
		"steps[0].args.c[0]: unknown variable ${user}": func(p *Plan) { p.Steps[0].Args = map[string]any{"c": []any{"${user}"}} },
		"setup[0].args.c: variable has no":             func(p *Plan) { p.Setup = []Step{{Name: "s", Tool: "t", Args: map[string]any{"c": "${vu"}}} },
		"teardown[0].tool: ":                           func(p *Plan) { p.Teardown = []Step{{Name: "s"}} },
		"steps[0].checks[0].op: ":                      func(p *Plan) { p.Steps[0].Checks[0].Op = "=" },
		"steps[0].checks[0].field: ":                   func(p *Plan) { p.Steps[0].Checks[0].Field = "" },
		"steps[0].checks[0].value: ":                   func(p *Plan) { p.Steps[0].Checks[0] = Check{Field: "x", Op: ">=", Value: true} },
		"files[0].count: ":                             func(p *Plan) { p.Files[0].Count = -1 },
		"files[0].name: \"a\" has no place":            func(p *Plan) { p.Files[0] = File{Name: "a", Count: 2} },
		"files[0].name: \"%d%d\" has no place":         func(p *Plan) { p.Files[0] = File{Name: "%d%d", Count: 2} },
		"files[0].name: \"%d\" has a number":           func(p *Plan) { p.Files[0] = File{Name: "%d"} },
		"files[0].name: ${profile} cannot":             func(p *Plan) { p.Files[0].Name = "${profile}" },
		"files[0].name: unknown variable":              func(p *Plan) { p.Files[0].Name = "${x}" },
		"files[0]: the plan has more than":             func(p *Plan) { p.Files[0] = File{Name: "${vu}/%d", Count: 101} },
		"files[0]: the plan has more than ":            func(p *Plan) { p.Files[0] = File{Name: "%d", Count: math.MaxInt} },
		"steps[1]: the step does several":              func(p *Plan) { p.Steps[1].TCP = &TCP{"a", 1} },
		"steps[1]: only a tool call": func(p *Plan) {
			p.Steps[1] = Step{Name: "two", TCP: &TCP{"a:1", 1}, Checks: []Check{{Field: "x", Op: "==", Value: 1}}}
		},
		"steps[1].tcp.address: names":              func(p *Plan) { p.Steps[1] = Step{Name: "two", TCP: &TCP{"", 1}} },
		"steps[1].tcp.address: unknown":            func(p *Plan) { p.Steps[1] = Step{Name: "two", TCP: &TCP{"${x}", 1}} },
		"steps[1].tcp.bytes: ":                     func(p *Plan) { p.Steps[1] = Step{Name: "two", TCP: &TCP{"a:1", 0}} },
		"steps[2].write.file: the plan":            func(p *Plan) { p.Steps = append(p.Steps, Step{Name: "w", Write: &Write{"b", 1}}) },
		"steps[2].write.file: \"dir/a\" is shared": func(p *Plan) { p.Steps = append(p.Steps, Step{Name: "w", Write: &Write{"dir/a", 1}}) },
		"steps[2].write.count: ": func(p *Plan) {
			p.Files[0].Name = "${vu}"
			p.Steps = append(p.Steps, Step{Name: "w", Write: &Write{"${vu}", 2}})
		},
		"steps[0]: an open executor measures": func(p *Plan) { p.Steps[0].Unmeasured = true; p.Target = nil },
		"steps[0].save.Id: \"Id\" cannot":     func(p *Plan) { p.Steps[0].Save = map[string]string{"Id": "x"} },
		"steps[0].save.vu: there is":          func(p *Plan) { p.Steps[0].Save = map[string]string{"vu": "x"} },
		"steps[0].save.id: names":             func(p *Plan) { p.Steps[0].Save = map[string]string{"id": ""} },
		"steps[1].save.id: there is":          func(p *Plan) { p.Steps[0].Save = map[string]string{"id": "x"}; p.Steps[1].Save = p.Steps[0].Save },
		"steps[0].args.id: unknown variable ${later}": func(p *Plan) {
			p.Steps[0].Args = map[string]any{"id": "${later}"}
			p.Steps[1].Save = map[string]string{"later": "x"}
		},
		"setup[0].save: ":                              func(p *Plan) { p.Setup = []Step{{Name: "s", Tool: "t", Save: map[string]string{"a": "b"}}} },
		"teardown[0].always: ":                         func(p *Plan) { p.Teardown = []Step{{Name: "s", Tool: "t", Always: true}} },
		"teardown[0].measured: ":                       func(p *Plan) { p.Teardown = []Step{{Name: "s", Tool: "t", Unmeasured: true}} },
		"setup[0].tcp: ":                               func(p *Plan) { p.Setup = []Step{{Name: "s", TCP: &TCP{"a:1", 1}}} },
		"thresholds[1]: there is no step \"two\" that": func(p *Plan) { p.Steps[1].Unmeasured = true },
		"arms[1].name: the arm":                        func(p *Plan) { p.Arms[1].Name = "" },
		"arms[1].name: arm":                            func(p *Plan) { p.Arms[1].Name = "a" },
		"thresholds[0]: unknown metric":                func(p *Plan) { p.Thresholds[0].Metric = "p" },
		"thresholds[0]: unknown comparison":            func(p *Plan) { p.Thresholds[0].Op = "~" },
		"thresholds[1]: there is no step":              func(p *Plan) { p.Thresholds[1].Step = "three" },
		"target.statistic: ":                           func(p *Plan) { p.Target.Statistic = "mean" },
		"target.steps[0]: ":                            func(p *Plan) { p.Target.Steps[0] = "three" },
		"target.target: ":                              func(p *Plan) { p.Target.Target = 0 },
		"target.acceptable: ":                          func(p *Plan) { p.Target.Acceptable = time.Millisecond },
	} {
		p := validPlan()
		breaks(p)
		var errs PlanErrors
		if err := ValidatePlan(p); !errors.As(err, &errs) || len(errs) != 1 || !strings.HasPrefix(err.Error(), strings.TrimRight(want, " ")) {
			t.Errorf("%s: got %v", want, err)
			continue
		}
		var one *PlanError
		if !errors.As(errs, &one) || one.Remedy == "" {
			t.Errorf("%s has no remedy", want)
		}
	}
	if err := ValidatePlan(&Plan{}); len(err.(PlanErrors)) < 3 {
		t.Errorf("an empty plan has only: %v", err)
	}
}

func TestArrivals(t *testing.T) {
	for _, tt := range []struct {
		rate float64
		d    time.Duration
		want int64
	}{
		{1, 0, 0}, {1, time.Nanosecond, 1}, {1, time.Second, 1}, {1, time.Second + 1, 2}, {10, time.Second, 10}, {0.1, 5 * time.Second, 1},
		{3, time.Second, 3}, {1.0 / 3, 3 * time.Second, 1}, {1e6, time.Hour, 3_600_000_000},
	} {
		if got := arrivals(tt.rate, tt.d); got != tt.want {
			t.Errorf("arrivals(%v, %v) = %d, want %d", tt.rate, tt.d, got, tt.want)
		}
	}
	for _, rate := range []float64{0.37, 7, 33.3, 999.9, 12345} {
		for _, d := range []time.Duration{time.Second, 1234567 * time.Microsecond, time.Minute} {
			if n := arrivals(rate, d); intended(rate, n-1) >= d || intended(rate, n) < d {
				t.Errorf("rate %v: %d arrivals before %v", rate, n, d)
			}
		}
	}
}

func TestSlots(t *testing.T) {
	s := newSlots(70)
	for i := range 70 {
		if got, ok := s.take(); !ok || got != i {
			t.Fatalf("take %d = %d, %v", i, got, ok)
		}
	}
	if got, ok := s.take(); ok {
		t.Errorf("a full set gave %d", got)
	}
	s.release(66)
	s.release(5)
	for _, want := range []int{5, 66} {
		if got, ok := s.take(); !ok || got != want {
			t.Errorf("take = %d, %v, want the lowest free %d", got, ok, want)
		}
	}
}

func TestGrade(t *testing.T) {
	cell := func(step string, n int, latency time.Duration, dropped int64, errs int64) Cell {
		h := new(stats.Histogram)
		for range n {
			h.Record(latency)
		}
		return Cell{Step: step, Latency: h, Requests: int64(n) + errs, Dropped: dropped, Errors: map[string]int64{"X": errs}}
	}
	target := &Target{Target: 100 * time.Millisecond, Acceptable: 500 * time.Millisecond}
	fast, slow := cell("fast", 100, 10*time.Millisecond, 0, 0), cell("slow", 100, 200*time.Millisecond, 0, 0)
	for name, tt := range map[string]struct {
		cells []Cell
		steps []string
		band  Band
		step  string
		why   string
	}{
		"target":           {[]Cell{fast}, nil, BandTarget, "fast", "below the target of 100ms"},
		"worst step":       {[]Cell{fast, slow}, nil, BandAcceptable, "slow", "within the acceptable 500ms"},
		"chosen step":      {[]Cell{fast, slow}, []string{"fast"}, BandTarget, "fast", ""},
		"slower of equals": {[]Cell{cell("b", 100, 20*time.Millisecond, 0, 0), fast}, nil, BandTarget, "b", ""},
		"poor":             {[]Cell{cell("s", 100, time.Second, 0, 0)}, nil, BandPoor, "s", "beyond the acceptable"},
		"dropped":          {[]Cell{cell("s", 100, time.Millisecond, 1, 0)}, nil, BandPoor, "s", "1 arrivals were dropped"},
		"one percent":      {[]Cell{cell("s", 99, time.Millisecond, 0, 1)}, nil, BandTarget, "s", ""},
		"errors":           {[]Cell{cell("s", 98, time.Millisecond, 0, 2)}, nil, BandPoor, "s", "2 of 100 calls failed"},
		"all errors":       {[]Cell{cell("s", 0, 0, 0, 3)}, nil, BandPoor, "s", "3 of 3"},
		"nothing":          {[]Cell{cell("s", 0, 0, 0, 0)}, nil, BandNoData, "s", "no call"},
		"too few":          {[]Cell{cell("s", 19, time.Millisecond, 0, 0)}, nil, BandNoData, "s", "needs 20 samples, there are 19"},
		"no data and slow": {[]Cell{slow, cell("s", 0, 0, 0, 0)}, nil, BandNoData, "s", ""},
		"no cells":         {nil, nil, BandNoData, "", "no step"},
	} {
		tg := *target
		tg.Steps = tt.steps
		g := gradeTarget(&tg, tt.cells)
		if g.Band != tt.band || g.Step != tt.step || g.Statistic != "p95" || !strings.Contains(g.Why, tt.why) {
			t.Errorf("%s: %+v, want %s by %s: %s", name, g, tt.band, tt.step, tt.why)
		}
	}
	edge := &Target{Target: 10 * time.Millisecond, Acceptable: fast.Latency.Max()}
	if g := gradeTarget(edge, []Cell{fast}); g.Band != BandAcceptable {
		t.Errorf("at the acceptable bound: %+v", g)
	}
	if gradeTarget(nil, []Cell{fast}) != nil {
		t.Error("a plan without a target was graded")
	}
}

func TestTimeline(t *testing.T) {
	var tl timeline
	const n = 10_000
	for i := range n {
		tl.add(time.Duration(i)*time.Second, i%10 != 0, time.Duration(i)*time.Microsecond)
	}
	list := tl.list()
	if len(list) > maxWindows || len(list) < maxWindows/2 {
		t.Fatalf("%d windows", len(list))
	}
	var requests, errs int64
	for i, w := range list {
		if w.Width != list[0].Width || w.Start != time.Duration(i)*w.Width {
			t.Errorf("window %d: %v + %v", i, w.Start, w.Width)
		}
		if i < len(list)-1 && w.Requests != int64(w.Width/time.Second) {
			t.Errorf("window %d holds %d requests in %v", i, w.Requests, w.Width)
		}
		requests += w.Requests
		errs += w.Errors
	}
	if requests != n || errs != n/10 {
		t.Errorf("%d requests, %d errors", requests, errs)
	}
	if last := list[len(list)-1]; last.Max != (n-1)*time.Microsecond || last.P50 > last.P95 || last.P95 > last.P99 || last.P99 > last.Max {
		t.Errorf("last %+v", last)
	}
}

func TestErrorCodesAreBounded(t *testing.T) {
	c := collectorOf(make([]step, 1), 0, forever)
	for i := range 1000 {
		c.add(&Sample{Outcome: fmt.Sprint("CODE", i)}, true, strings.Repeat("é", 1000))
	}
	cell := c.cell(0, time.Second, false)
	if len(cell.Errors) != maxErrorCodes+1 || cell.errorCount() != 1000 || cell.Errors[codeOther] != 1000-maxErrorCodes {
		t.Errorf("%d codes, %d errors", len(cell.Errors), cell.errorCount())
	}
	if m := cell.ErrorSamples["CODE0"]; len(m) > 510 || !strings.HasSuffix(m, "é…") {
		t.Errorf("message of %d bytes: %q", len(m), m)
	}
}

func TestLatest(t *testing.T) {
	for n, want := range map[int]string{1: "most", 2: "p50", 4: "p75", 19: "p90", 20: "p95", 99: "p95", 100: "p99"} {
		var h stats.Histogram
		for range n {
			h.Record(time.Millisecond)
		}
		if got, v := latest(&h); got != want || !about(v, time.Millisecond) {
			t.Errorf("%d samples: %s %v, want %s", n, got, v, want)
		}
	}
}

func TestPauseP99(t *testing.T) {
	before := gcPauses()
	after := gcPauses()
	after.Counts = slices.Clone(before.Counts)
	if got := pauseP99(before, after); got != 0 {
		t.Errorf("no pauses: %v", got)
	}
	at := len(after.Counts) / 2
	after.Counts[at] += 99
	after.Counts[at+20]++
	if got, want := pauseP99(before, after), time.Duration(after.Buckets[at+1]*1e9); got != want {
		t.Errorf("p99 %v, want %v", got, want)
	}
}

func BenchmarkCollector(b *testing.B) {
	c := collectorOf(make([]step, 1), 0, forever)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		s := Sample{Timing: Timing{Queue: 1000, Channel: 2000, Remote: 300_000, Reused: true}}
		for i := time.Duration(0); pb.Next(); i++ {
			s.Intended, s.Start, s.End = i*1000, i*1000+50, i*1000+500_000+i%100_000
			c.add(&s, true, "")
		}
	})
}
