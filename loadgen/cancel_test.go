package loadgen

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestCancelToRelease cancels calls of a server that needs 30 ms to let go of one: the next step's latency is exactly that.
func TestCancelToRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := closedPlan(1, 10*time.Second)
		p.Steps = []Step{
			{Name: "hold", Tool: "hold", CancelAfter: 100 * time.Millisecond, Checks: []Check{{Field: "never", Op: "==", Value: 1}}},
			{Name: "release", Tool: "next"}, {Name: "after", Tool: "after"},
		}
		var free time.Time
		d := &fakeDriver{answer: func(ctx context.Context, c Call) (Reply, error) {
			switch c.Tool {
			case "hold":
				<-ctx.Done()
				free = time.Now().Add(30 * time.Millisecond)
				time.Sleep(10 * time.Millisecond) // on the way back
				return Reply{}, ctx.Err()
			case "next":
				time.Sleep(time.Until(free))
			}
			return Reply{}, nil
		}}
		res := run(t, t.Context(), p, d, Options{})
		hold, release, after := res.Cells[0], res.Cells[1], res.Cells[2]
		if len(hold.Errors) != 0 || hold.Cancelled != hold.Requests || hold.Requests < 70 || release.Cancelled != 0 {
			t.Errorf("%d of %d cancelled, errors %v %v", hold.Cancelled, hold.Requests, hold.Errors, hold.ErrorSamples)
		}
		for _, tt := range []struct {
			name string
			got  time.Duration
			want time.Duration
		}{
			{"hold", hold.Latency.Max(), 110 * time.Millisecond}, {"release", release.Latency.Max(), 30 * time.Millisecond},
			{"lateness of release", release.Lateness.Max(), 10 * time.Millisecond}, {"service of release", release.Service.Max(), 20 * time.Millisecond},
			{"after", after.Latency.Max(), 0}, {"lateness of after", after.Lateness.Max(), 0},
		} {
			if (tt.got - tt.want).Abs() > tt.want/500 {
				t.Errorf("%s took %v, want %v", tt.name, tt.got, tt.want)
			}
		}
	})
}

func TestCallThatEndsBeforeItIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Steps: []Step{
			{Name: "quick", Tool: "x", CancelAfter: time.Second, Checks: []Check{{Field: "exit_code", Op: "==", Value: 1}}},
		}}
		c := once(t, p, &fakeDriver{}, Options{}).Cells[0]
		if c.Cancelled != 0 || c.Errors[CodeCheckFailed] != 1 {
			t.Errorf("%d cancelled, errors %v", c.Cancelled, c.Errors)
		}
	})
}

// TestBrokenCallIsNotCancelled keeps a connection that breaks apart from a call that the client cancels.
func TestBrokenCallIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Steps: []Step{{Name: "broken", Tool: "x", CancelAfter: time.Second}}}
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) { return Reply{}, errBroken }}
		c := once(t, p, d, Options{}).Cells[0]
		if c.Cancelled != 0 || c.Errors[CodeTransport] != 1 {
			t.Errorf("%d cancelled, errors %v", c.Cancelled, c.Errors)
		}
	})
}

func TestFirstProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPlan(10, 2*time.Second)
		p.Steps = []Step{{Name: "told", Tool: "told", Progress: true}, {Name: "silent", Tool: "silent", Progress: true}, {Name: "unasked", Tool: "unasked"}}
		d := &fakeDriver{answer: func(_ context.Context, c Call) (Reply, error) {
			if (c.Progress != nil) != (c.Tool != "unasked") {
				t.Errorf("%s: progress asked for: %v", c.Tool, c.Progress != nil)
			}
			time.Sleep(20 * time.Millisecond)
			if c.Tool == "told" {
				c.Progress()
				time.Sleep(20 * time.Millisecond)
				c.Progress()
			}
			return Reply{}, nil
		}}
		res := run(t, t.Context(), p, d, Options{})
		if h := res.Cells[0].FirstProgress; h.Count() != 20 || (h.Max()-20*time.Millisecond).Abs() > 40*time.Microsecond {
			t.Errorf("%d first progresses, up to %v", h.Count(), h.Max())
		}
		for _, c := range res.Cells[1:] {
			if c.FirstProgress.Count() != 0 || c.Requests != 20 {
				t.Errorf("%s: %d first progresses of %d calls", c.Step, c.FirstProgress.Count(), c.Requests)
			}
		}
	})
}

func TestCheckMessages(t *testing.T) {
	long := strings.Repeat("a", 3000)
	data := map[string]any{"stdout": long + "b" + long, "short": "hello", "n": 3.0, "list": []any{"x"}}
	for _, tt := range []struct {
		c    Check
		want string
	}{
		{Check{Field: "short", Op: "==", Value: "world"}, `short is "hello", want == "world"`},
		{Check{Field: "stdout", Op: "==", Value: long + "c"}, `stdout differs from byte 3000 on: it goes on "b` + strings.Repeat("a", 39) + `…" and has 6001 bytes, want "c" and 3001`},
		{Check{Field: "stdout", Op: "==", Value: long}, `stdout differs from byte 3000 on: it goes on "b` + strings.Repeat("a", 39) + `…" and has 6001 bytes, want with its end and 3000`},
		{Check{Field: "n", Op: ">=", Value: 4}, `n is 3, want >= 4`},
		{Check{Field: "short", Op: "matches", Value: "^w"}, `short is "hello", want matches "^w"`},
		{Check{Field: "short", Op: "length", Value: 4}, `short has length 5, want 4: it is "hello"`},
		{Check{Field: "short", Op: "sha256", Value: strings.Repeat("0", 64)}, `short (5 bytes) has the SHA-256 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824, want 0000`},
		{Check{Field: "n", Op: "sha256", Value: strings.Repeat("0", 64)}, `n is 3, want text of a SHA-256`},
		{Check{Field: "list", Op: "contains", Value: "y"}, `list is [x], want contains "y"`},
		{Check{Field: "gone", Op: "==", Value: "y"}, `gone is missing from the result's data`},
	} {
		compiler := planCompiler{}
		c := compiler.check("check", tt.c, scope{})
		if ok, why := c.holds(data, c.render(&vars{})); ok || !strings.HasPrefix(why, tt.want) || len(why) > 500 {
			t.Errorf("%s %s: %v, %q, want %q", tt.c.Field, tt.c.Op, ok, why, tt.want)
		}
	}
}

func TestFilesAreCompared(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "hello", "same": "hello", "longer": "hello!", "other": "heLlo", "0": "hello"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for with, want := range map[string]string{
		"same": "", "${vu}": "", filepath.Join(dir, "same"): "", "${workdir}/same": "",
		"longer": "/a has 5 bytes, want the 6 of ", "other": "(5 bytes) at byte 2: it is 0x6c, want 0x4c",
		"gone": "/gone: no such file", ".": "it is not a regular file",
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &Plan{Name: "test", Steps: []Step{{Name: "get", Tool: "x", Checks: []Check{{FileEqual: &FileEqual{Local: "a", With: with}}}}}}
			c := once(t, p, &fakeDriver{}, Options{WorkDir: dir}).Cells[0]
			got := c.ErrorSamples[CodeCheckFailed]
			if (want == "") != (c.errorCount() == 0) || !strings.Contains(got, want) {
				t.Errorf("with %s: %q, want %q", with, got, want)
			}
		})
	}
}
