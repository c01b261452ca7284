package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// repository makes a repository whose program prints the number of its commit, and goes to its folder.
func repository(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q", "-b", "main")
	write("go.mod", "module example.com/one\n\ngo 1.21\n")
	for _, n := range []string{"first", "second"} {
		write("main.go", "package main\n\nfunc main() { print(\""+n+"\") }\n")
		git("add", "-A")
		git("commit", "-q", "-m", n)
	}
}

func TestRevisionsAreBuilt(t *testing.T) {
	repository(t)
	dir := t.TempDir()
	r, err := openRevisions(t.Context(), "HEAD~1", "main", ".", dir)
	if err != nil {
		t.Fatal(err)
	}
	base, head, err := r.build(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ path, want string }{{base, "first"}, {head, "second"}} {
		if out, err := exec.Command(x.path).CombinedOutput(); err != nil || string(out) != x.want {
			t.Errorf("%s says %q, %v; want %q", x.path, out, err, x.want)
		}
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "tree-*")); err != nil || len(left) > 0 {
		t.Errorf("work trees are left: %v, %v", left, err)
	}
}

func TestRevisionsThatAreNone(t *testing.T) {
	repository(t)
	for _, x := range []struct{ base, head, pkg, want string }{
		{"no-such", "HEAD", ".", "--base-ref no-such is no commit here"},
		{"HEAD", "--all", ".", "--head-ref --all is no commit here"},
		{"HEAD~1", "HEAD", "./none", "cannot build ./none of the base revision"},
	} {
		r, err := openRevisions(t.Context(), x.base, x.head, x.pkg, t.TempDir())
		if err == nil {
			_, _, err = r.build(t.Context(), 0)
		}
		if err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v: %v", x, err)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfirmed(t *testing.T) {
	gateOf := func(verdict result.GateVerdict, cells ...result.GateVerdict) *result.Gate {
		g := &result.Gate{Verdict: verdict, Why: []string{"because"}}
		for i, v := range cells {
			g.Cells = append(g.Cells, result.GateCell{Cell: result.Cell{Scenario: string(rune('a' + i)), Measure: result.MeasureP50}, Verdict: v})
		}
		return g
	}
	const regressed, equivalent = result.GateRegressed, result.GateEquivalent
	first := gateOf(regressed, regressed, equivalent)
	for _, tt := range []struct {
		second *result.Gate
		want   result.GateVerdict
		said   string
	}{
		{gateOf(regressed, regressed, equivalent), regressed, "a p50 regressed in both"},
		{gateOf(regressed, equivalent, regressed), result.GateInconclusive, "other figures regressed the first time"},
		{gateOf(equivalent, equivalent, equivalent), equivalent, "regressed at first and not the second time"},
	} {
		if err := confirmed(first, tt.second, "the same programs"); err != nil {
			t.Error(err)
		}
		if said := strings.Join(append(tt.second.Why, tt.second.Warnings...), "; "); tt.second.Verdict != tt.want || !strings.Contains(said, tt.said) {
			t.Errorf("%s, %q; want %s, %q", tt.second.Verdict, said, tt.want, tt.said)
		}
	}
}

// What cannot be run or read is found before anything starts.
func TestGateOfFilesThatAreNone(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--base", none, "--head", self}, "--base " + none + " cannot be run: "},
		{[]string{"--base", self, "--head", none}, "--head " + none + " cannot be run: "},
		{[]string{"--base", self, "--head-config", none}, "--head-config: "},
		{[]string{"--base", self, "--base-config", none}, "--base-config: "},
		{[]string{"--self-test", "--base", none}, "--base " + none + " cannot be run: "},
	} {
		var out, said strings.Builder
		if code := run(t.Context(), append([]string{"gate", "--quiet"}, tt.args...), nil, &out, &said); code != exitUsage || !strings.Contains(said.String(), tt.want) {
			t.Errorf("%v: exit code %d, %q", tt.args, code, said.String())
		}
	}
}

// saved writes a result with a gate of ten pairs whose head is factor times its base, and the base base times a microsecond.
func saved(t *testing.T, base, factor float64) string {
	t.Helper()
	figures := func(v float64) result.Slice {
		return result.Slice{Figures: []result.Figure{{Scenario: "a", Measure: result.MeasureP50, Value: 1000 * v, N: 100}}}
	}
	g := &result.Gate{Verdict: result.GateInconclusive, Why: []string{}, Cells: []result.GateCell{}}
	for i := range 10 {
		wobble := 1 + 0.002*float64(i%3)
		g.Pairs = append(g.Pairs, result.Pair{Index: i + 1, HeadFirst: i%3 == 0, Base: figures(base * wobble), Head: figures(base * factor)})
	}
	d := &result.Doc{Schema: result.Schema, Scenarios: []result.Scenario{}, Generator: result.Generator{Valid: true, Why: []string{}}, Gate: g,
		Run: result.Run{ID: "1", Command: "loadgen gate", Host: result.ThisHost()}, Verdict: result.Verdict{Failed: []string{"inconclusive"}}}
	file := filepath.Join(t.TempDir(), "result.json")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(result.Write(f, d), f.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// Two files: the head of one against that of the other, each relative to the base beside it, however fast the machine was.
func TestRecordedGatesAreJudged(t *testing.T) {
	same, slower, elsewhere := saved(t, 100, 1), saved(t, 100, 1.2), saved(t, 300, 1)
	for _, tt := range []struct {
		name, base, head string
		code             int
	}{
		{"one file, no difference", same, same, exitHeld},
		{"one file, a slower head", slower, slower, exitMissed},
		{"two files, a slower head", same, slower, exitMissed},
		{"two files, a faster head", slower, same, exitHeld},
		{"two files of machines of different speed", same, elsewhere, exitHeld},
	} {
		var out, said strings.Builder
		if code := run(t.Context(), []string{"gate", "--base", tt.base, "--head", tt.head, "--pairs", "10", "--seed", "1"}, nil, &out, &said); code != tt.code {
			t.Errorf("%s: exit code %d\n%s%s", tt.name, code, out.String(), said.String())
		}
	}
}
