package reports

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// hour is the document of ten scenarios over an hour, with two arms each: as many windows as a file may have, latency with a long tail.
func hour(tb testing.TB) *result.Doc {
	tb.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var runs []*loadgen.Result
	for i := range 10 {
		r := execRun()
		r.Plan.Name, r.Elapsed = fmt.Sprintf("scenario-%d", i), time.Hour
		for j := range r.Cells {
			hourOf(&r.Cells[j], rnd, time.Duration(i+1)*time.Millisecond)
		}
		runs = append(runs, r)
	}
	d, err := result.FromRun(result.Meta{ID: "hour", Command: "loadgen run", Host: result.Host{CPU: "Example CPU", Cores: 2, OS: "linux/amd64"}}, runs)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func hourOf(c *loadgen.Cell, rnd *rand.Rand, typical time.Duration) {
	const width = 12 * time.Second
	c.Latency, c.Service, c.Windows = &stats.Histogram{}, &stats.Histogram{}, nil
	series := &loadgen.ResourceSeries{Width: width}
	for i := range 300 {
		w := loadgen.Window{Start: time.Duration(i) * width, Width: width, Errors: int64(i % 97 / 96)}
		for range 600 {
			at := time.Duration(float64(typical) * math.Exp(1.2*rnd.NormFloat64()))
			w.Latency.Record(at)
			c.Latency.Record(at)
			c.Service.Record(at)
		}
		w.Requests, w.Max = 600, w.Latency.Max()
		w.P50, w.P95, w.P99 = w.Latency.Percentile(0.5), w.Latency.Percentile(0.95), w.Latency.Percentile(0.99)
		c.Windows = append(c.Windows, w)
		series.CPUPercent = append(series.CPUPercent, 40+10*rnd.Float64())
		series.RSSBytes = append(series.RSSBytes, int64(30<<20+rnd.IntN(1<<20)))
	}
	c.Requests = 300 * 600
	if c.Server != nil {
		c.Server.Series = series
	}
}

// maxReport is what a report may take, in bytes; GitHub takes half of it as a step's summary.
const maxReport = 2 << 20

func TestReportsOfAnHourAreSmall(t *testing.T) {
	d := hour(t)
	for _, format := range Formats() {
		most := maxReport
		if format == "markdown" {
			most = 1 << 20
		}
		n := len(render(t, format, d))
		t.Logf("%s: %d KiB", format, n>>10)
		if n > most {
			t.Errorf("%s takes %d bytes, more than %d", format, n, most)
		}
	}
}

func BenchmarkReportsOfAnHour(b *testing.B) {
	d := hour(b)
	for _, format := range Formats() {
		r, err := Renderer(format)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				if err := r(io.Discard, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
