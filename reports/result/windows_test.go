package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// logNormal is a histogram as n calls leave it.
func logNormal(rng *rand.Rand, n int, median time.Duration) *stats.Histogram {
	var h, part stats.Histogram
	for range min(n, 200_000) {
		part.Record(time.Duration(float64(median) * math.Exp(0.5*rng.NormFloat64())))
	}
	for h.Merge(&part); h.Count() < int64(n); { // the text's length grows with the number of digits of the counts
		both := stats.Histogram{}
		both.Merge(&h)
		both.Merge(&h)
		h = both
	}
	return &h
}

// longRun is what ten hours at 2,000 calls a second leave behind, spread over ten cells.
func longRun(t *testing.T) *loadgen.Result {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	r := run(nil)
	r.Cells = nil
	latency, service, remote := logNormal(rng, 7_000_000, 20*time.Millisecond), logNormal(rng, 7_000_000, 19*time.Millisecond), logNormal(rng, 7_000_000, 15*time.Millisecond)
	small, failed := logNormal(rng, 7_000_000, 60*time.Microsecond), logNormal(rng, 7000, time.Second)
	for i := range 10 {
		c := loadgen.Cell{
			Step: fmt.Sprintf("step-%d", i), Driver: loadgen.DriverInfo{Kind: "http"}, OfferedRate: 200, AchievedRate: 200, Requests: 7_000_000,
			Errors: map[string]int64{"TIMEOUT": 7000}, Measured: 10 * time.Hour,
			Latency: latency, Service: service, Failed: failed, Lateness: small,
			Timing: map[string]*stats.Histogram{"queue": small, "dial": failed, "channel": small, "remote": remote},
		}
		for w := range 282 {
			win := loadgen.Window{Start: time.Duration(w) * 128 * time.Second, Width: 128 * time.Second, Requests: 25_600, Errors: 20}
			for range 500 {
				win.Latency.Record(time.Duration(20e6 * math.Exp(0.5*rng.NormFloat64())))
			}
			for range 5 {
				win.Latency.Merge(&win.Latency)
			}
			win.P50, win.P95, win.P99, win.Max = win.Latency.Percentile(0.5), win.Latency.Percentile(0.95), win.Latency.Percentile(0.99), win.Latency.Max()
			c.Windows = append(c.Windows, win)
		}
		c.Server = &loadgen.Resources{Series: &loadgen.ResourceSeries{Width: 128 * time.Second, CPUPercent: make([]float64, 282), RSSBytes: make([]int64, 282)}}
		for j := range 282 {
			c.Server.Series.CPUPercent[j], c.Server.Series.RSSBytes[j] = 100*rng.Float64(), 200<<20+rng.Int64N(1<<20)
		}
		r.Cells = append(r.Cells, c)
	}
	return r
}

func TestLongRunStaysSmall(t *testing.T) {
	d := doc(t, "", longRun(t))
	var b bytes.Buffer
	if err := Write(&b, d); err != nil {
		t.Fatal(err)
	}
	var requests int64
	for _, w := range d.Scenarios[9].Windows {
		requests += w.Requests
	}
	if b.Len() > maxBytes || requests != 282*25_600 {
		t.Errorf("%d bytes, %d windows with %d calls", b.Len(), len(d.Scenarios[9].Windows), requests)
	}
	t.Logf("%d bytes, %d windows for each cell", b.Len(), len(d.Scenarios[0].Windows))
	if _, err := Read(&b); err != nil {
		t.Error(err)
	}
}

func TestHalvedWindows(t *testing.T) {
	var a, b stats.Coarse
	for i := range 100 {
		a.Record(time.Duration(i) * time.Millisecond)
		b.Record(time.Duration(i) * 10 * time.Millisecond)
	}
	ws := windows([]loadgen.Window{
		{Width: time.Second, Requests: 102, Errors: 2, Max: a.Max(), Latency: a},
		{Start: time.Second, Width: time.Second, Requests: 100, Max: b.Max(), Latency: b},
		{Start: 2 * time.Second, Width: time.Second, Requests: 3, Errors: 3},
	})
	got, err := halve(ws)
	if err != nil || len(got) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	w := got[0]
	h, err := w.Histogram()
	if err != nil || h.Count() != 200 || w.Requests != 202 || w.Errors != 2 || w.Max != int64(990*time.Millisecond) || w.WidthNS != int64(2*time.Second) {
		t.Errorf("%+v, %v", w, err)
	}
	a.Merge(&b)
	if want := a.Percentile(0.95); math.Abs(float64(w.P95)/float64(want)-1) > 0.2 {
		t.Errorf("p95 %v, want about %v", time.Duration(w.P95), want)
	}
	if w := got[1]; w.StartNS != int64(2*time.Second) || w.WidthNS != int64(2*time.Second) || w.Hist != "" {
		t.Errorf("the last, alone: %+v", w)
	}
	ws[0].Hist = "!"
	if _, err := halve(ws); err == nil {
		t.Error("a damaged histogram is accepted")
	}
}

func FuzzSpread(f *testing.F) {
	f.Add(`{"a":[],"b":{},"c":[1,{"d":"x\"{[,"},[[{"e":[1,2]}]]]}`)
	f.Fuzz(func(t *testing.T, s string) {
		var compact, again bytes.Buffer
		if json.Compact(&compact, []byte(s)) != nil {
			return
		}
		if err := json.Compact(&again, spread(compact.Bytes())); err != nil || !bytes.Equal(again.Bytes(), compact.Bytes()) {
			t.Errorf("%q becomes %q, %v", compact.Bytes(), again.Bytes(), err)
		}
	})
}
