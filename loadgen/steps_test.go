package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// once measures a plan's steps for one iteration, in virtual time.
func once(t *testing.T, p *Plan, d *fakeDriver, opts Options) *Result {
	t.Helper()
	p.Executor = Executor{Kind: Closed, VUs: 1, Iterations: 1}
	return run(t, t.Context(), p, d, opts)
}

func TestSavedValuesPassOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Steps: []Step{
			{Name: "create", Tool: "create", Save: map[string]string{"port": "at.port", "id": "id", "big": "big"}},
			{Name: "use", Tool: "use", Args: map[string]any{
				"port": "${port}", "list": []any{"${id}"}, "text": "[${port}|${id}|${big}|${echo_port}]", "echo": "${echo_port}", "host": "${echo_host}", "vu": "${vu}",
			}},
		}}
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) {
			return Reply{Data: map[string]any{"at": map[string]any{"port": 4000.0}, "id": "a b", "big": 12345678901.0}}, nil
		}}
		res := once(t, p, d, Options{Vars: map[string]any{"echo_host": "h", "echo_port": 7}})
		want := map[string]any{"port": 4000.0, "list": []any{"a b"}, "text": "[4000|a b|12345678901|7]", "echo": 7, "host": "h", "vu": "0"}
		if got := d.called("use"); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		if len(res.Cells) != 2 || res.Cells[1].Requests != 1 || len(res.Cells[0].Errors) != 0 {
			t.Errorf("cells %+v", res.Cells)
		}
	})
}

func TestValueThatCannotBeSaved(t *testing.T) {
	for data, want := range map[string]string{"": "id is missing", "list": "id is [a], want one value"} {
		synctest.Test(t, func(t *testing.T) {
			p := &Plan{Name: "test", Steps: []Step{
				{Name: "create", Tool: "create", Save: map[string]string{"id": "id"}},
				{Name: "close", Tool: "close", Args: map[string]any{"id": "${id}"}, Always: true},
			}}
			d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) {
				if data == "" {
					return Reply{Data: map[string]any{}}, nil
				}
				return Reply{Data: map[string]any{"id": []any{"a"}}}, nil
			}}
			c := once(t, p, d, Options{}).Cells[0]
			if c.Errors[CodeCheckFailed] != 1 || !strings.Contains(c.ErrorSamples[CodeCheckFailed], want) {
				t.Errorf("errors %v %v", c.Errors, c.ErrorSamples)
			}
			if len(d.called("close")) != 0 {
				t.Error("a step ran without what it needs")
			}
		})
	}
}

func TestStepsThatAlwaysRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Steps: []Step{
			{Name: "create", Tool: "create", Save: map[string]string{"id": "id"}},
			{Name: "bad", Tool: "bad"},
			{Name: "skipped", Tool: "skipped"},
			{Name: "close", Tool: "close", Args: map[string]any{"id": "${id}"}, Always: true},
			{Name: "remove", Tool: "remove", Always: true, Unmeasured: true},
		}}
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			if c.Tool == "bad" {
				return Reply{Code: "TIMEOUT"}, nil
			}
			return Reply{Data: map[string]any{"id": "x"}}, nil
		}}
		res := once(t, p, d, Options{})
		var cells []string
		for _, c := range res.Cells {
			cells = append(cells, fmt.Sprint(c.Step, c.Requests, c.errorCount()))
		}
		if got := fmt.Sprint(cells); got != "[create1 0 bad1 1 skipped0 0 close1 0]" {
			t.Errorf("cells %s", got)
		}
		if len(d.called("remove")) != 1 {
			t.Error("the last step did not run")
		}
	})
}

func TestUnmeasuredStepThatFailsHasACell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Steps: []Step{{Name: "make", Tool: "make", Unmeasured: true}, {Name: "use", Tool: "use"}}}
		p.Thresholds = []Threshold{{Metric: "error_rate", Op: "<", Value: 1}}
		n := 0
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			if n++; c.Tool == "make" && n > 1 {
				return Reply{Code: "LIMIT_EXCEEDED", Error: "full"}, nil
			}
			return Reply{}, nil
		}}
		p.Executor = Executor{Kind: Closed, VUs: 1, Iterations: 4}
		res := run(t, t.Context(), p, d, Options{})
		if len(res.Cells) != 2 || res.Cells[0].Step != "make" || res.Cells[0].Requests != 4 || res.Cells[0].errorCount() != 3 || res.Thresholds[0].OK {
			t.Errorf("cells %+v, thresholds %+v", res.Cells, res.Thresholds)
		}
	})
}

func TestUnmeasuredStepIsNotInTheProgress(t *testing.T) {
	c := collectorOf([]step{{unmeasured: true}, {}}, 0, time.Second)
	c.add(&Sample{Step: 0, End: time.Minute}, true, "")
	if live, _ := c.live(time.Minute); live.Requests != 0 || live.P50 != 0 {
		t.Errorf("%+v", live)
	}
	c.add(&Sample{Step: 1, End: time.Minute}, true, "")
	if live, _ := c.live(time.Minute); live.Requests != 1 || live.P50 == 0 {
		t.Errorf("%+v", live)
	}
}

func TestFirstArmIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, time.Second)
		p.Arms = []Arm{{Name: "fast"}, {Name: "slow"}}
		p.Target = &Target{Target: 50 * time.Millisecond, Acceptable: time.Minute}
		p.Thresholds = []Threshold{{Metric: "p95", Op: "<", Value: 5e7}}
		open := func(ctx context.Context, arm Arm) (Driver, error) {
			d := &fakeDriver{answer: takes(map[string]time.Duration{"fast": 10 * time.Millisecond, "slow": 50 * time.Millisecond}[arm.Name])}
			return d.opener(ctx, arm)
		}
		res, err := Run(t.Context(), p, open, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Cells) != 2 || res.Grade.Band != BandTarget || len(res.Thresholds) != 1 || !res.Thresholds[0].OK {
			t.Errorf("%d cells, grade %+v, thresholds %+v", len(res.Cells), res.Grade, res.Thresholds)
		}
	})
}

// TestInterruptCleansUp interrupts an iteration whose call hangs: the clean-up still runs, with time of its own, and counts nowhere.
func TestInterruptCleansUp(t *testing.T) {
	for name, clean := range map[string]time.Duration{"quick": time.Second, "hung": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				p := closedPlan(1, time.Hour)
				p.Steps = []Step{
					{Name: "up", Tool: "up"}, {Name: "hang", Tool: "hang"}, {Name: "down", Tool: "down", Always: true},
				}
				var cleaned error
				d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
					switch c.Tool {
					case "hang":
						<-ctx.Done()
						return Reply{}, ctx.Err()
					case "down":
						_, cleaned = takes(clean)(ctx, c)
						return Reply{}, cleaned
					}
					return Reply{}, nil
				}}
				start := time.Now()
				res := run(t, ctx, p, d, Options{})
				if took, want := time.Since(start), 12*time.Second+min(clean, cleanupTimeout); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				if len(d.called("down")) != 1 || (cleaned == nil) != (clean < cleanupTimeout) {
					t.Errorf("%d clean-ups: %v", len(d.called("down")), cleaned)
				}
				for _, c := range res.Cells[1:] {
					if c.Requests != 0 {
						t.Errorf("%s counts: %v", c.Step, c.Errors)
					}
				}
			})
		})
	}
}

func TestCleanUpIsNotCutWithTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		p := closedPlan(1, time.Hour)
		p.Steps = []Step{{Name: "up", Tool: "up"}, {Name: "down", Tool: "down", Always: true}}
		ended := false
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			if c.Tool == "up" {
				return takes(8*time.Second)(ctx, c)
			}
			r, err := takes(5*time.Second)(ctx, c) // from 8 s to 13 s: beyond the grace of the interrupt at 10 s
			ended = err == nil
			return r, err
		}}
		if res := run(t, ctx, p, d, Options{}); !ended || !res.Interrupted {
			t.Error("the clean-up was cut off")
		}
	})
}

func listen(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

func TestTCP(t *testing.T) {
	const size = 300_000
	echo := listen(t, func(c net.Conn) { _, _ = io.Copy(c, c) })
	other := listen(t, func(c net.Conn) { _, _ = io.Copy(c, bytes.NewReader(make([]byte, size))) })
	short := listen(t, func(c net.Conn) { _, _ = io.CopyN(c, c, size/2) })
	closed := listen(t, func(c net.Conn) {})
	deaf := listen(t, func(c net.Conn) { _, _ = c.Write(make([]byte, 9)); <-t.Context().Done() }) // reads nothing
	hole := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for _, tt := range []struct {
		name, address, code, message string
	}{
		{"echo", echo, "", ""},
		{"other bytes", other, CodeCheckFailed, "other bytes came back"},
		{"other bytes while sending", deaf, CodeCheckFailed, "other bytes came back"},
		{"half", short, CodeTCPFailed, "of 300000 bytes came back"},
		{"closed", closed, CodeTCPFailed, "after 0 of 300000"},
		{"refused", "127.0.0.1:1", CodeTCPFailed, "connection refused"},
		{"no address", "127.0.0.1", CodeTCPFailed, "missing port"},
		{"black hole", hole, CodeTimeout, "enough"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.name == "black hole" {
				limited, cancel := context.WithCancelCause(ctx)
				defer time.AfterFunc(50*time.Millisecond, func() { cancel(fmt.Errorf("enough")) }).Stop()
				ctx = limited
			}
			e := &tcpExchange{bytes: size, name: "carry"}
			if tt.address == deaf {
				e.bytes = 64 << 20 // more than the system keeps for a reader that does not come
			}
			a := e.perform(ctx, nil, &tcpRequest{tt.address, seedKey(1, "carry", 2)})
			if a.outcome != tt.code || !strings.Contains(a.message, tt.message) || a.replied == (tt.code == CodeTimeout) {
				t.Errorf("%+v", a)
			}
			if tt.code == "" && a.bytes != 2*size {
				t.Errorf("%d bytes, want both ways", a.bytes)
			}
		})
	}
}

func TestTCPStep(t *testing.T) {
	received := make(chan string, 2)
	echo := listen(t, func(c net.Conn) {
		var got bytes.Buffer
		_, _ = io.Copy(c, io.TeeReader(c, &got))
		received <- got.String()
	})
	host, port, _ := net.SplitHostPort(echo)
	p := &Plan{Name: "test", Executor: Executor{Kind: Closed, VUs: 1, Iterations: 2}, Steps: []Step{
		{Name: "create", Tool: "create", Save: map[string]string{"port": "port"}},
		{Name: "carry", TCP: &TCP{Address: host + ":${port}", Bytes: 10}},
	}}
	d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) { return Reply{Data: map[string]any{"port": port}}, nil }}
	res, err := Run(t.Context(), p, d.opener, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := res.Cells[1]; c.Requests != 2 || c.Bytes != 40 || len(c.Errors) != 0 {
		t.Errorf("%+v %v", c, c.ErrorSamples)
	}
	if a, b := <-received, <-received; len(a) != 10 || a == b {
		t.Errorf("iterations sent %q and %q", a, b)
	}
}

func compiledFiles(t *testing.T, p *Plan) []fileSet {
	t.Helper()
	prog, err := compilePlan(p)
	if err != nil {
		t.Fatal(err)
	}
	return prog.files
}

// tree reads a folder: by name, the modification time and the bytes of each file.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		info, serr := d.Info()
		if err != nil || serr != nil {
			return fmt.Errorf("%w %w", err, serr)
		}
		name, _ := filepath.Rel(dir, path)
		out[filepath.ToSlash(name)] = info.ModTime().UTC().Format(time.DateTime) + " " + string(b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMakeFiles(t *testing.T) {
	p := closedPlan(2, time.Second)
	p.Files = []File{{Name: "a.bin", Size: 1000}, {Name: "sub/b.bin", Size: 1000}, {Name: "empty"}, {Name: "${vu}/x-%02d.bin", Size: 5, Count: 3}}
	files := compiledFiles(t, p)
	dir := t.TempDir()
	make1 := func(seed uint64) map[string]string {
		t.Helper()
		if err := makeFiles(dir, seed, files, 2); err != nil {
			t.Fatal(err)
		}
		return tree(t, dir)
	}
	first := make1(1)
	if len(first) != 9 || len(first["1/x-02.bin"]) != 20+5 || first["0/x-00.bin"] == first["1/x-00.bin"] || first["0/x-00.bin"] == first["0/x-01.bin"] {
		t.Errorf("%q", first)
	}
	if len(first["a.bin"]) != 20+1000 || first["a.bin"] == first["sub/b.bin"] || len(first["empty"]) != 20 {
		t.Error("wrong sizes or equal bytes")
	}
	if !reflect.DeepEqual(make1(1), first) {
		t.Error("the same seed gives other files")
	}
	if make1(2)["a.bin"] == first["a.bin"] {
		t.Error("another seed gives the same bytes")
	}
}

func TestWriteChangesSomeFiles(t *testing.T) {
	p := closedPlan(2, 0)
	p.Executor.Iterations = 8
	p.Files = []File{{Name: "${vu}/%d", Size: 100, Count: 10}}
	p.Steps = []Step{{Name: "change", Write: &Write{File: "${vu}/%d", Count: 3}}, {Name: "sync", Tool: "sync", Args: map[string]any{"vu": "${vu}"}}}
	dir := t.TempDir()
	d := &fakeDriver{}
	if err := makeFiles(dir, p.Seed, compiledFiles(t, p), 2); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	res, err := Run(t.Context(), p, d.opener, Options{WorkDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Cells) != 1 || res.Cells[0].Step != "sync" || res.Cells[0].Requests != 8 {
		t.Errorf("cells %+v", res.Cells)
	}
	changed := 0
	after := tree(t, dir)
	for name, was := range before {
		now := after[name]
		if now == was {
			continue
		}
		changed++
		if now[:19] <= was[:19] || now[20:] == was[20:] || len(now) != len(was) {
			t.Errorf("%s: from %q to %q", name, was[:19], now[:19])
		}
	}
	if changed < 3 || changed == 20 {
		t.Errorf("%d of 20 files changed", changed)
	}
}

func TestWriteChangesExactlyAsManyFilesAsAsked(t *testing.T) {
	p := closedPlan(1, time.Second)
	p.Files = []File{{Name: "%d", Size: 100, Count: 10}}
	p.Steps = append(p.Steps, Step{Name: "change", Write: &Write{File: "%d", Count: 4}})
	prog, err := compilePlan(p)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := makeFiles(dir, 1, prog.files, 1); err != nil {
		t.Fatal(err)
	}
	var picked []string
	for n := range int64(2) {
		before := tree(t, dir)
		a := prog.parts[0].steps[1].action.perform(t.Context(), nil, &writeRequest{dir: dir, iteration: n})
		if a.outcome != "" {
			t.Fatal(a.message)
		}
		after, names := tree(t, dir), ""
		for i := range 10 {
			if name := fmt.Sprint(i); before[name] != after[name] {
				names += name
			}
		}
		if len(names) != 4 {
			t.Errorf("iteration %d changed %s", n, names)
		}
		picked = append(picked, names)
	}
	if picked[0] == picked[1] {
		t.Errorf("both iterations changed %s", picked[0])
	}
	if err := os.Remove(filepath.Join(dir, "3")); err != nil {
		t.Fatal(err)
	}
	all := &fileWrite{file: &prog.files[0], count: 10}
	if a := all.perform(t.Context(), nil, &writeRequest{dir: dir}); a.outcome != CodeWriteFailed || !strings.Contains(a.message, "3") {
		t.Errorf("a file that is gone: %+v", a)
	}
}

func TestRunWithoutTheVariablesOfATarget(t *testing.T) {
	p := closedPlan(1, time.Second)
	p.Steps[0].Args = map[string]any{"peer": "${vpn_peer}"}
	if !p.Uses("vpn_peer") || p.Uses("echo_host") {
		t.Error("Uses is wrong")
	}
	d := &fakeDriver{}
	if _, err := Run(t.Context(), p, d.opener, Options{}); err == nil || !strings.Contains(err.Error(), "${vpn_peer}, which has no value") {
		t.Errorf("got %v", err)
	}
}
