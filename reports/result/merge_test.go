package result

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// shardOf makes the result of a shard that measured some durations, a second of them in a window.
func shardOf(t testing.TB, i, n int, latencies []time.Duration, change func(*loadgen.Result)) *Doc {
	t.Helper()
	h, failed, w := &stats.Histogram{}, &stats.Histogram{}, loadgen.Window{Width: time.Second, Requests: int64(len(latencies))}
	for _, d := range latencies {
		h.Record(d)
		w.Latency.Record(d)
	}
	failed.Record(time.Duration(i) * time.Second)
	held := int64(i)
	r := &loadgen.Result{
		Plan: &loadgen.Plan{
			Name: "ssh-exec", Operation: "ssh.exec", Seed: 7, Shard: loadgen.Shard{Index: i, Count: n},
			Executor:   loadgen.Executor{Kind: loadgen.Open, Rate: 200},
			Target:     &loadgen.Target{Target: 100 * time.Millisecond, Acceptable: 500 * time.Millisecond},
			Thresholds: []loadgen.Threshold{{Metric: "rate", Op: ">=", Value: 100}, {Metric: "p99", Op: "<", Value: float64(time.Second)}},
		},
		Started: time.Unix(int64(1000+i), 0), StartAt: time.Unix(1010, 0), Elapsed: 20 * time.Second,
		Cells: []loadgen.Cell{{
			Step: "exec", Driver: loadgen.DriverInfo{Kind: "http", Address: "http://server/mcp", PID: 9},
			OfferedRate: 25, AchievedRate: 24, Requests: int64(len(latencies)) + 1, Dropped: int64(i), Bytes: int64(100 * i), Measured: 10 * time.Second,
			Errors: map[string]int64{"TIMEOUT": 1}, Latency: h, Failed: failed, Held: &held, Timing: map[string]*stats.Histogram{"queue": h},
			Windows: []loadgen.Window{w}, Server: &loadgen.Resources{CPUPercent: pointer(80.0), CPUSPerOp: pointer(0.04), RSSPeakBytes: pointer(int64(1000 * i))},
		}},
		Generator: loadgen.GeneratorHealth{CPU: time.Second, Valid: true},
	}
	if change != nil {
		change(r)
	}
	d, err := FromRun(Meta{ID: "run" + r.Plan.Shard.String(), Target: Target{Kind: "fake"}}, []*loadgen.Result{r})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func pointer[T any](v T) *T { return &v }

// eight makes eight shards and the histogram of all their samples.
func eight(t testing.TB) (shards []*Doc, pooled *stats.Histogram) {
	chance := rand.New(rand.NewPCG(1, 2))
	pooled = &stats.Histogram{}
	for i := 1; i <= 8; i++ {
		var latencies []time.Duration
		for range 500 + 100*i {
			d := time.Duration(chance.ExpFloat64() * float64(i) * float64(time.Millisecond))
			latencies = append(latencies, d)
			pooled.Record(d)
		}
		shards = append(shards, shardOf(t, i, 8, latencies, nil))
	}
	return shards, pooled
}

func TestEightShardsAreTheirPooledSamples(t *testing.T) {
	shards, pooled := eight(t)
	d, err := Merge(shards, loadgen.BandPoor)
	if err != nil {
		t.Fatal(err)
	}
	want, err := NewDistribution(pooled)
	if err != nil {
		t.Fatal(err)
	}
	s := &d.Scenarios[0]
	if !reflect.DeepEqual(s.Latency, want) || !reflect.DeepEqual(s.Timing["queue"], want) {
		t.Errorf("merged %+v\npooled %+v", s.Latency, want)
	}
	if s.Requests != pooled.Count()+8 || s.Errors["TIMEOUT"] != 8 || s.Dropped != 36 || s.OfferedRate != 200 || s.AchievedRate != 192 ||
		s.Throughput.BytesPerS != 360 || *s.Held != 36 || s.InFlight != 1000 || s.Failed.N != 8 || s.Windows[0].Requests != pooled.Count() {
		t.Errorf("counters %+v", s)
	}
	if r := s.Server; *r.CPUPercent != 80 || *r.RSSPeakBytes != 8000 || *r.CPUSPerOp != 0.005 {
		t.Errorf("one server that all saw: %v %%, %v bytes, %v s an operation", *r.CPUPercent, *r.RSSPeakBytes, *r.CPUSPerOp)
	}
	if d.Generator.CPUS != 8 || d.Run.Shard != "" || d.Run.Split != nil || d.Run.DurationS != 27 {
		t.Errorf("run %+v, generator %+v", d.Run, d.Generator)
	}
	if len(s.Thresholds) != 2 || !s.Thresholds[0].OK || s.Thresholds[0].Value != "192.0" || s.Grade == nil || s.Grade.Band != loadgen.BandPoor {
		t.Errorf("the whole is judged %+v, %+v", s.Thresholds, s.Grade) // poor, since arrivals were dropped
	}
}

func TestMergeInAnyOrderGivesTheSameBytes(t *testing.T) {
	shards, _ := eight(t)
	var want []byte
	chance := rand.New(rand.NewPCG(3, 4))
	for range 4 {
		d, err := Merge(shards, loadgen.BandPoor)
		if err != nil {
			t.Fatal(err)
		}
		got := text(t, d)
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Fatal("another order gives other bytes")
		}
		if back, err := Read(bytes.NewReader(got)); err != nil || !reflect.DeepEqual(back, d) {
			t.Fatalf("the merged file is not read back as it was: %v", err)
		}
		chance.Shuffle(len(shards), func(i, j int) { shards[i], shards[j] = shards[j], shards[i] })
	}
}

func text(t testing.TB, d *Doc) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, d); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMergeRefusesWhatDoesNotBelongTogether(t *testing.T) {
	some := []time.Duration{time.Millisecond}
	change := func(f func(*loadgen.Result)) *Doc { return shardOf(t, 2, 2, some, f) }
	first := shardOf(t, 1, 2, some, nil)
	for _, c := range []struct {
		want   string
		shards []*Doc
	}{
		{"there is none", nil},
		{"shard 2/2 is missing", []*Doc{first}},
		{"shard 1/2 is there twice", []*Doc{first, first}},
		{"one is of 2 shards, and one of 3", []*Doc{first, shardOf(t, 2, 3, some, nil)}},
		{"made without --shard", []*Doc{first, doc(t, "", run(nil))}},
		{"seed 7, shard 2/2 has 8", []*Doc{first, change(func(r *loadgen.Result) { r.Plan.Seed = 8 })}},
		{"scenario ssh-exec, shard 2/2 has other", []*Doc{first, change(func(r *loadgen.Result) { r.Plan.Name = "other" })}},
		{"different plans", []*Doc{first, change(func(r *loadgen.Result) { r.Plan.Executor.Rate = 300 })}},
		{"has start", []*Doc{first, change(func(r *loadgen.Result) { r.StartAt = r.StartAt.Add(time.Second) })}},
		{"shard 2/2 was interrupted", []*Doc{first, change(func(r *loadgen.Result) { r.Interrupted = true })}},
	} {
		if _, err := Merge(c.shards, ""); !errors.Is(err, ErrShards) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

func TestMergeOfSeveralServersAndWindows(t *testing.T) {
	wide := func(r *loadgen.Result) {
		c := &r.Cells[0]
		c.Driver.PID = 10
		c.Windows = []loadgen.Window{{Width: 2 * time.Second, Requests: 5, Errors: 1, Held: 2}}
	}
	narrow := func(r *loadgen.Result) {
		r.Cells[0].Windows = []loadgen.Window{{Width: time.Second, Requests: 1, Held: 3}, {Start: time.Second, Width: time.Second, Requests: 2, Held: 4}, {Start: 2 * time.Second, Width: time.Second, Requests: 4}}
		r.Generator.Valid, r.Generator.Why = false, []string{"late"}
	}
	d, err := Merge([]*Doc{shardOf(t, 2, 2, nil, wide), shardOf(t, 1, 2, nil, narrow)}, "")
	if err != nil {
		t.Fatal(err)
	}
	s := &d.Scenarios[0]
	if len(s.Windows) != 2 || s.Windows[0].Requests != 8 || s.Windows[0].Errors != 1 || s.Windows[0].Held != 5 || s.Windows[1].Requests != 4 {
		t.Errorf("windows %+v", s.Windows)
	}
	if *s.Server.CPUPercent != 160 || *s.Server.RSSPeakBytes != 3000 || *s.Server.CPUSPerOp != 0.04 {
		t.Errorf("two servers used %+v", s.Server)
	}
	if d.Generator.Valid || !slices.Equal(d.Generator.Why, []string{"shard 1/2: ssh-exec: late"}) {
		t.Errorf("generator %+v", d.Generator)
	}
}
