package result

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// TestTrends: a leak is a finding that fails, a trend that is not known leaves the run inconclusive, and the file follows the schema with both.
func TestTrends(t *testing.T) {
	goroutines, _ := loadgen.ParseTrend("server.goroutines<0.1 per 1000 calls")
	p50, _ := loadgen.ParseTrend("p50<1ms per hour")
	trend := func(of loadgen.Trend, verdict loadgen.TrendVerdict, low, high float64) loadgen.TrendResult {
		return loadgen.TrendResult{Trend: of, Step: "exec", Verdict: verdict, Slope: low, Low: low, High: high, Late: low, Points: 60, From: time.Minute, To: time.Hour, Why: "of it"}
	}
	for name, c := range map[string]struct {
		trends []loadgen.TrendResult
		kinds  []Kind
		text   string
	}{
		"leak":     {[]loadgen.TrendResult{trend(goroutines, loadgen.Leak, 0.9, 1.1)}, []Kind{Missed}, "soak exec: leak: server.goroutines: of it"},
		"no leak":  {[]loadgen.TrendResult{trend(goroutines, loadgen.NoLeak, 0, 0.05)}, nil, ""},
		"not yet":  {[]loadgen.TrendResult{trend(p50, loadgen.Unknown, math.Inf(-1), math.Inf(1))}, []Kind{Inconclusive}, "soak exec: whether p50 grows is not yet known: of it"},
		"one each": {[]loadgen.TrendResult{trend(goroutines, loadgen.Leak, 2, 3), trend(p50, loadgen.Unknown, 0, 9e6)}, []Kind{Missed, Inconclusive}, "leak"},
	} {
		run := &loadgen.Result{
			Plan: &loadgen.Plan{Name: "soak"}, Started: time.Unix(0, 0), Trends: c.trends, Generator: loadgen.GeneratorHealth{Valid: true},
			Cells: []loadgen.Cell{{Step: "exec", Driver: loadgen.DriverInfo{Kind: "http"}, Requests: 10, Measured: time.Hour}},
		}
		d, err := FromRun(Meta{}, []*loadgen.Result{run})
		if err != nil {
			t.Fatal(err)
		}
		var kinds []Kind
		for _, f := range d.Findings("") {
			kinds = append(kinds, f.Kind)
		}
		if len(kinds) != len(c.kinds) || len(kinds) > 0 && kinds[0] != c.kinds[0] || !strings.Contains(strings.Join(d.Verdict.Failed, "\n"), c.text) {
			t.Errorf("%s: findings %v, verdict %v", name, kinds, d.Verdict.Failed)
		}
		var file bytes.Buffer
		if err := Write(&file, d); err != nil {
			t.Fatal(err)
		}
		if err := valid(t, compileSchema(t), file.Bytes()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if wrong := bytes.Replace(file.Bytes(), []byte(`"per":"`), []byte(`"per":"x`), 1); valid(t, compileSchema(t), wrong) == nil {
			t.Errorf("%s: the schema admits any per", name)
		}
		if back, err := Read(&file); err != nil || len(back.Scenarios[0].Trends) != len(c.trends) || (back.Scenarios[0].Trends[0].Low == nil) != (name == "not yet") {
			t.Errorf("%s: read back %+v, %v", name, back, err)
		}
	}
}
