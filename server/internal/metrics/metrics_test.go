package metrics

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

func registry(profiles int) *Registry {
	r := New(Config{Version: "1", Codes: []string{"TIMEOUT", "INTERNAL_ERROR"}, Profiles: profiles})
	r.Declare("ssh.exec")
	r.Declare("sftp.transfer")
	return r
}

func TestFigures(t *testing.T) {
	r := registry(2)
	if len(r.Snapshot()) != 0 {
		t.Error("an unused registry counts something")
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			c := Call{Operation: "ssh.exec", Profile: "web-" + strconv.Itoa(i%2), Duration: time.Duration(i+1) * time.Millisecond, Bytes: 2}
			c.Phases[3] = 8 * time.Millisecond
			if i%4 == 0 {
				c.Code = "TIMEOUT"
			}
			r.Record(c)
		})
	}
	wg.Wait()
	r.Record(Call{Operation: "sftp.transfer", Duration: time.Second})
	s := r.Snapshot()
	exec := s["ssh.exec"]
	if exec.Calls != 100 || exec.Bytes != 200 || exec.Errors["TIMEOUT"] != 25 || exec.Min != 0.001 || exec.Max != 0.1 || exec.Mean != 0.0505 {
		t.Errorf("got %+v", exec)
	}
	if len(exec.Phases) != 1 || exec.Phases["remote"] != 0.008 {
		t.Errorf("phases: %v", exec.Phases)
	}
	for want, got := range map[float64]*float64{0.05: exec.P50, 0.095: exec.P95, 0.099: exec.P99} {
		if got == nil || *got < want*0.97 || *got > want*1.03 {
			t.Errorf("want %v, got %v", want, got)
		}
	}
	if o := s["sftp.transfer"]; o.Calls != 1 || o.Min != 1 || o.Mean != 1 || len(o.Errors) != 0 || o.P50 != nil {
		t.Errorf("got %+v", o)
	}
	if o := r.Profile("web-1")["ssh.exec"]; o.Calls != 50 || o.Min != 0.002 || o.Max != 0.1 || o.P99 != nil {
		t.Errorf("web-1: %+v", o)
	}
	if len(r.Profile("")) != 0 || len(r.Profile("web-2")) != 0 {
		t.Error("figures of no profile")
	}
	exec.Errors["TIMEOUT"] = 0
	if r.Snapshot()["ssh.exec"].Errors["TIMEOUT"] != 25 {
		t.Error("a snapshot shares the registry's memory")
	}
}

// TestPercentiles compares with the sorted durations.
func TestPercentiles(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	for _, scale := range []time.Duration{time.Microsecond, 40 * time.Microsecond, 3 * time.Millisecond, 7 * time.Second, 5 * time.Hour} {
		var f figures
		var all []time.Duration
		for range 5000 {
			d := time.Duration(chance.ExpFloat64() * float64(scale))
			all = append(all, d)
			f.add(&Call{Duration: d})
		}
		slices.Sort(all)
		for _, q := range []float64{0.01, 0.5, 0.95, 0.99, 0.999} {
			want := all[int(float64(len(all))*q)].Seconds()
			got := f.percentile(q)
			if margin := max(0.07*want, 1e-6); got == nil || *got < want-margin || *got > want+margin {
				t.Errorf("scale %v: quantile %v is %v, want %v", scale, q, *got, want)
			}
		}
		if f.percentile(0.9999) != nil {
			t.Error("5000 calls do not support p99.99")
		}
	}
}

func TestBuckets(t *testing.T) {
	last := -1
	for us := time.Duration(0); us < 1<<40; us += 1 + us/100 {
		d := us * time.Microsecond
		b := bucket(d)
		if from, to := bounds(b); d < from || d >= to {
			t.Fatalf("%v is in bucket %d, from %v to %v", d, b, from, to)
		}
		if b < last || b > last+1 {
			t.Fatalf("bucket %d follows %d", b, last)
		}
		last = b
	}
	if bucket(-time.Second) != 0 {
		t.Error("a negative duration")
	}
}

// TestReset records while figures are reset: each call is in one snapshot, and in what Prometheus sees.
func TestReset(t *testing.T) {
	const workers, each = 4, 5000
	r := registry(1)
	began := r.Since()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				c := Call{Operation: "ssh.exec", Profile: strconv.Itoa(w), Duration: time.Millisecond, Bytes: 1}
				if i%10 == 0 {
					c.Code = "TIMEOUT"
				}
				r.Record(c)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var calls, errors int64
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		o := r.Reset()["ssh.exec"]
		calls, errors = calls+o.Calls, errors+o.Errors["TIMEOUT"]
	}
	if calls != workers*each || errors != workers*each/10 {
		t.Errorf("the snapshots have %d calls and %d errors", calls, errors)
	}
	if len(r.Snapshot()) != 0 || !r.Since().After(began) {
		t.Error("a reset leaves figures")
	}
	if got := total(t, r, "openaccess_mcp_operations_total"); got != workers*each {
		t.Errorf("Prometheus sees %v calls", got)
	}
}

func TestCardinalityIsBounded(t *testing.T) {
	r := registry(3)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 1000 {
				for _, operation := range []string{"ssh.exec", "made.up." + strconv.Itoa(i)} {
					r.Record(Call{Operation: operation, Profile: fmt.Sprint(w, "-", i), Code: "CODE_" + strconv.Itoa(i), Duration: time.Millisecond})
				}
			}
		})
	}
	wg.Wait()
	got := labels(t, r)
	if len(got["profile"]) != 4 || !got["profile"][Other] {
		t.Errorf("profiles: %v", got["profile"])
	}
	if len(got["code"]) != 1 || !got["code"][Other] {
		t.Errorf("codes: %v", got["code"])
	}
	if len(got["operation"]) != 3 || !got["operation"][Other] { // those known have phases
		t.Errorf("operations: %v", got["operation"])
	}
	if s := r.Snapshot(); s["ssh.exec"].Calls != 4000 || s[Other].Calls != 4000 || s["ssh.exec"].Errors[Other] != 4000 {
		t.Errorf("got %+v", s)
	}
	whole := registry(0)
	whole.Record(Call{Operation: "ssh.exec", Profile: "web-1"})
	if got := labels(t, whole)["profile"]; len(got) != 1 || !got[""] {
		t.Errorf("profiles that are not told apart: %v", got)
	}
}

func TestNilRegistry(t *testing.T) {
	var r *Registry
	r.Declare("ssh.exec")
	r.Record(Call{Operation: "ssh.exec"})
	r.Durations("x", "y")(1)
	Watch(r, func() int { return 1 }, Gauge("x", "y", func(n int) int { return n }))
	if len(r.Reset()) != 0 || len(r.Snapshot()) != 0 || len(r.Profile("x")) != 0 || !r.Since().IsZero() {
		t.Error("it counts something")
	}
}

// BenchmarkRecord is what a call pays, when all CPUs record the same operation of one profile.
func BenchmarkRecord(b *testing.B) {
	for _, profiles := range []int{0, 100} {
		b.Run(fmt.Sprintf("profiles=%d", profiles), func(b *testing.B) {
			r := registry(profiles)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c := Call{Operation: "ssh.exec", Profile: "web-1", Bytes: 100, Phases: [4]time.Duration{1000, 0, 50000, 300000}}
				for pb.Next() {
					c.Duration = (c.Duration + 12347) % time.Second
					r.Record(c)
				}
			})
		})
	}
}
