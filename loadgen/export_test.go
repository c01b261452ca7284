package loadgen

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// unzipped reads an export back: its rows without the header, and its last line.
func unzipped(t *testing.T, file []byte) (rows [][]string, last string) {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	r := csv.NewReader(bytes.NewReader(text))
	r.Comment = '#'
	if rows, err = r.ReadAll(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rows[0], ",") + "\n"; got != exportHeader {
		t.Errorf("header %q", got)
	}
	return rows[1:], lines[len(lines)-1]
}

func TestExportOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		e := StartExport(&file, 0)
		p := openPlan(10, time.Second)
		p.Executor.Warmup = time.Second
		p.Arms = []Arm{{Name: "a"}, {Name: "b"}}
		p.Steps = []Step{{Name: "first", Tool: "x"}, {Name: "cut", Tool: "hang", CancelAfter: 20 * time.Millisecond}, {Name: "last", Tool: "fail"}}
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			switch c.Tool {
			case "hang":
				<-ctx.Done()
				return Reply{}, ctx.Err()
			case "fail":
				return Reply{Code: `A,"B"`}, nil
			}
			time.Sleep(5 * time.Millisecond)
			return Reply{Data: map[string]any{"stdout": "1234"}, Timing: Timing{Queue: 1, Dial: 2, Channel: 3, Remote: 4}}, nil
		}}
		run(t, t.Context(), p, d, Options{Export: e})
		counts, err := e.Close()
		if err != nil || counts != (ExportCounts{Written: 60}) {
			t.Fatalf("%+v, %v", counts, err)
		}
		rows, last := unzipped(t, file.Bytes())
		want := []string{
			"test||a|first|1000000000|1000000000|1005000000|4||1|2|3|4",
			"test||a|cut|1005000000|1005000000|1025000000|0|cancelled|0|0|0|0",
			`test||a|last|1025000000|1025000000|1025000000|0|A,"B"|0|0|0|0`,
		}
		for i, w := range want {
			if got := strings.Join(rows[i], "|"); got != w {
				t.Errorf("row %d\n got %s\nwant %s", i, got, w)
			}
		}
		if last != "# 60 samples; left out: 0 beyond the bound of 1000000, 0 because writing fell behind" {
			t.Errorf("last line %q", last)
		}
	})
}

// TestExportNeverBlocks fills the queue of a writer that stands still, from several goroutines.
func TestExportNeverBlocks(t *testing.T) {
	var file bytes.Buffer
	gate := make(chan struct{})
	e := StartExport(writerFunc(func(b []byte) (int, error) {
		<-gate
		return file.Write(b)
	}), 100_000)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 30_000 {
				e.add(exported{scenario: "s", step: fmt.Sprint(i), sample: Sample{Intended: time.Duration(n) * 7919}})
			}
		})
	}
	wg.Wait()
	close(gate)
	counts, err := e.Close()
	if err != nil || counts.Beyond != 20_000 || counts.Late == 0 || counts.Written+counts.Late != 100_000 {
		t.Fatalf("%+v, %v", counts, err)
	}
	rows, last := unzipped(t, file.Bytes())
	if int64(len(rows)) != counts.Written || !strings.Contains(last, fmt.Sprintf("%d because writing fell behind", counts.Late)) {
		t.Errorf("%d rows, %q", len(rows), last)
	}
}

func TestExportThatCannotBeWritten(t *testing.T) {
	e := StartExport(writerFunc(func([]byte) (int, error) { return 0, errors.New("disk full") }), 10)
	for range 10 {
		e.add(exported{})
	}
	if _, err := e.Close(); err == nil || err.Error() != "disk full" {
		t.Errorf("error %v", err)
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
