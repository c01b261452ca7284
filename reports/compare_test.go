package reports

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// windowed is a document of 40 windows whose medians scatter by 3 % around a level.
func windowed(t *testing.T, level time.Duration, seed uint64) *result.Doc {
	t.Helper()
	d := sample(t, execRun())
	rnd := rand.New(rand.NewPCG(seed, 1))
	s := &d.Scenarios[0]
	s.Windows = nil
	for i := range 40 {
		p50 := int64(float64(level) * (1 + 0.03*rnd.NormFloat64()))
		s.Windows = append(s.Windows, result.Window{StartNS: int64(i) * 1e9, WidthNS: 1e9, Requests: 150, P50: p50, P95: 2 * p50, P99: 3 * p50})
	}
	at := int64(level)
	s.Latency.P50 = &at
	return d
}

func figureNamed(t *testing.T, c *Comparison, name string) *Compared {
	t.Helper()
	for i := range c.Figures {
		if f := &c.Figures[i]; f.Cell == "ssh-exec exec (pooled)" && f.Figure == name {
			return f
		}
	}
	t.Fatalf("no %s in %+v", name, c.Figures)
	return nil
}

func TestCompareOverWindows(t *testing.T) {
	c := Compare(windowed(t, 10*time.Millisecond, 1), windowed(t, 12*time.Millisecond, 2))
	p50 := figureNamed(t, &c, "p50")
	if math.Abs(p50.Ratio-1.2) > 1e-9 || !(p50.Low > 1.15 && p50.Low < 1.2 && p50.High > 1.2 && p50.High < 1.25) {
		t.Errorf("p50: %+v", p50)
	}
	if !p50.Worse(0.05) || p50.Worse(0.25) {
		t.Errorf("worse by 5 %%: %v, by 25 %%: %v", p50.Worse(0.05), p50.Worse(0.25))
	}
	// 150 calls a window are too few for p95, and CPU has no windows at all.
	for _, name := range []string{"p95", "p99", "CPU/op", "RSS peak", "errors"} {
		if f := figureNamed(t, &c, name); !math.IsNaN(f.Low) || f.Worse(0) {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestCompareOfTheSame(t *testing.T) {
	c := Compare(windowed(t, 10*time.Millisecond, 1), windowed(t, 10*time.Millisecond, 2))
	if p50 := figureNamed(t, &c, "p50"); p50.Low > 1 || p50.High < 1 || p50.Worse(0.01) {
		t.Errorf("%+v", p50)
	}
}

func TestCompareListsWhatStandsApart(t *testing.T) {
	base, head := sample(t, execRun(), sftpRun()), sample(t, execRun(), sftpRun())
	head.Scenarios[0].OfferedRate = 100 // of 200
	head.Scenarios[1].Arm = "another"
	head.Run.Host.CPU = "Other CPU"
	head.Generator.Valid = false
	c := Compare(base, head)
	said := fmt.Sprint(c.Apart, c.Notes)
	for _, want := range []string{
		"ssh-exec exec (pooled): measured under another load: stdio open 200/s in base, stdio open 100/s in head",
		"ssh-exec exec (unpooled): only base has it", "ssh-exec exec (another): only head has it", "rsync-100: was not run in base",
		"different machines: base on Example CPU", "head: its load generator was too late", "loadgen gate --base PROGRAM --head PROGRAM",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in %s", want, said)
		}
	}
	if cells := len(c.Figures); cells == 0 {
		t.Error("the transfers are not compared")
	}
}

func TestHostileComparison(t *testing.T) {
	var want bytes.Buffer
	plain := Compare(hostileDoc(t, "plain"), hostileDoc(t, "plain"))
	if err := CompareMarkdown(&want, &plain); err != nil {
		t.Fatal(err)
	}
	for _, hostile := range hostile {
		c := Compare(hostileDoc(t, hostile), hostileDoc(t, hostile))
		var md, text bytes.Buffer
		if err := CompareMarkdown(&md, &c); err != nil {
			t.Fatal(err)
		}
		if err := CompareText(&text, &c, 100); err != nil {
			t.Fatal(err)
		}
		noControl(t, md.String())
		noControl(t, text.String())
		noCommands(t, "text", text.String())
		for _, begin := range []string{"\n", "|", "[", "](", "*", "<"} {
			if got, want := strings.Count(strings.ReplaceAll(md.String(), "<!-- -->", ""), begin), strings.Count(want.String(), begin); got != want {
				t.Errorf("%q: %d times %q, want %d", hostile, got, begin, want)
			}
		}
	}
}
