//go:build proof

package main

import (
	"compress/gzip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// TestProofShards runs eight load generators at once against one server that does nothing, and compares what merge makes of their results with
// every sample that they wrote.
func TestProofShards(t *testing.T) {
	const shards = 8
	url := noopServer(t)
	file := noopScenario(t, 400, length(20*time.Second, 4*time.Second))
	for _, lead := range []time.Duration{10 * time.Second, 30 * time.Second, time.Minute} { // a busy machine starts eight programs slowly
		dir := t.TempDir()
		if !runShards(t, dir, shards, lead, file, url) {
			continue
		}
		var args, back []string
		for i := range shards {
			args = append(args, filepath.Join(dir, strconv.Itoa(i), "result.json"))
		}
		back = slices.Clone(args)
		slices.Reverse(back)
		if !slices.Equal(merged(t, filepath.Join(dir, "merged"), args), merged(t, filepath.Join(dir, "backwards"), back)) {
			t.Error("merged backwards, the bytes are others")
		}
		whole, _ := resultOf(t, filepath.Join(dir, "merged", "result.json"))
		pooled := &stats.Histogram{}
		for i := range shards {
			samplesInto(t, pooled, filepath.Join(dir, strconv.Itoa(i)+".csv.gz"))
		}
		want, err := result.NewDistribution(pooled)
		if err != nil {
			t.Fatal(err)
		}
		s := whole.Scenarios[0]
		if string(marshal(t, s.Latency)) != string(marshal(t, want)) || s.Requests != pooled.Count() {
			t.Errorf("merged %s of %d requests\npooled %s", marshal(t, s.Latency), s.Requests, marshal(t, want))
		}
		if s.OfferedRate != 400 {
			t.Errorf("offered %v/s together, want 400/s", s.OfferedRate)
		}
		keep(t, "shards.txt", fmt.Sprintf("%d processes: %d samples, merged p50 %v p99 %v, exactly those of the pooled samples\n",
			shards, pooled.Count(), time.Duration(*s.Latency.P50), time.Duration(*s.Latency.P99)))
		return
	}
	t.Fatal("the shards were never ready in time")
}

// runShards runs them at the same time; it is false where one was ready too late or could not be believed.
func runShards(t *testing.T, dir string, n int, lead time.Duration, file, url string) bool {
	t.Helper()
	start := time.Now().Add(lead).UTC().Format(time.RFC3339)
	var wg sync.WaitGroup
	codes, outs := make([]int, n), make([][]byte, n)
	for i := range n {
		cmd := exec.Command(program(t, "loadgen"), "run", file, "--quiet", "--server", url, "--profile-id", "noop", "--shard", fmt.Sprintf("%d/%d", i+1, n),
			"--start-at", start, "--max-lateness", "10s", "--samples", filepath.Join(dir, strconv.Itoa(i)+".csv.gz"), "--out", filepath.Join(dir, strconv.Itoa(i)))
		wg.Go(func() {
			var exit *exec.ExitError
			var err error
			if outs[i], err = cmd.CombinedOutput(); errors.As(err, &exit) {
				codes[i] = exit.ExitCode()
			} else if err != nil {
				codes[i] = -1
			}
		})
	}
	wg.Wait()
	for i, code := range codes {
		switch code {
		case exitHeld:
		case exitHarness:
			t.Logf("shard %d, with %v to start: %s", i+1, lead, outs[i])
			return false
		default:
			t.Fatalf("shard %d: exit code %d\n%s", i+1, code, outs[i])
		}
	}
	return true
}

// merged merges results and returns the bytes of what comes of it.
func merged(t *testing.T, out string, files []string) []byte {
	t.Helper()
	execute(t, program(t, "loadgen"), append([]string{"merge", "--out", out}, files...)...)
	b, err := os.ReadFile(filepath.Join(out, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// samplesInto adds the latencies of the successes in a file of samples.
func samplesInto(t *testing.T, h *stats.Histogram, file string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(zip)
	r.Comment = '#'
	head, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	intended, end, outcome := slices.Index(head, "intended_ns"), slices.Index(head, "end_ns"), slices.Index(head, "outcome")
	for {
		row, err := r.Read()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		from, err1 := strconv.ParseInt(row[intended], 10, 64)
		to, err2 := strconv.ParseInt(row[end], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if row[outcome] == "" {
			h.Record(time.Duration(to - from))
		}
	}
}
