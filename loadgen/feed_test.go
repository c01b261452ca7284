package loadgen

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fed runs a plan whose one step has the arguments, for some iterations of one virtual user, and returns those that arrived.
func fed(t *testing.T, seed uint64, n int64, feeds []Feed, args map[string]any) []map[string]any {
	t.Helper()
	d := &fakeDriver{}
	synctest.Test(t, func(t *testing.T) {
		p := &Plan{Name: "test", Seed: seed, Feeds: feeds, Executor: Executor{Kind: Closed, VUs: 1, Iterations: n}}
		p.Steps = []Step{{Name: "exec", Tool: "x", Args: args}}
		run(t, t.Context(), p, d, Options{})
	})
	return d.called("x")
}

func writeFeed(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFeedRowsInOrder(t *testing.T) {
	users := writeFeed(t, "users.csv", "\ufeffname,pass word\nann,1\nbob,\"a,\"\"b\"\"\"\n")
	hosts := writeFeed(t, "hosts.json", `[{"ip": "a", "at": {"port": 22}, "up": true}, {"up": false, "at": {"port": 23}, "ip": "b", "only": 1}, {"ip":"c","at":{"port":1.5},"up":true}]`)
	got := fed(t, 1, 4, []Feed{{Name: "users", Kind: FeedCSV, Path: users}, {Name: "hosts", Kind: FeedJSON, Path: hosts}}, map[string]any{
		"user": "${users.name}", "pass": "<${users.pass word}>", "port": "${hosts.at.port}", "text": "${hosts.ip}:${hosts.at.port}", "up": "${hosts.up}",
	})
	want := []map[string]any{
		{"user": "ann", "pass": "<1>", "port": 22.0, "text": "a:22", "up": true},
		{"user": "bob", "pass": `<a,"b">`, "port": 23.0, "text": "b:23", "up": false},
		{"user": "ann", "pass": "<1>", "port": 1.5, "text": "c:1.5", "up": true},
		{"user": "bob", "pass": `<a,"b">`, "port": 22.0, "text": "a:22", "up": true},
	}
	for i := range want {
		if len(got) != len(want) || !maps.Equal(got[i], want[i]) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
	}
}

func TestFeedsFollowTheSeed(t *testing.T) {
	var rows strings.Builder
	rows.WriteString("n\n")
	for i := range 10 {
		fmt.Fprintln(&rows, i)
	}
	feeds := []Feed{
		{Name: "drawn", Kind: FeedCSV, Path: writeFeed(t, "n.csv", rows.String()), Order: FeedRandom},
		{Name: "ids", Kind: FeedGenerate, Generate: &Generate{Kind: "sequence", From: 10, Step: -3}},
		{Name: "whole", Kind: FeedGenerate, Generate: &Generate{Kind: "integer", Min: -2, Max: 2}},
		{Name: "word", Kind: FeedGenerate, Generate: &Generate{Kind: "string", Length: 12}},
		{Name: "bits", Kind: FeedGenerate, Generate: &Generate{Kind: "string", Length: 64, Alphabet: "01"}},
		{Name: "one", Kind: FeedGenerate, Generate: &Generate{Kind: "choice", Values: []any{"a", int64(2), true}}},
	}
	args := map[string]any{"d": "${drawn.n}", "i": "${ids}", "w": "${whole}", "s": "${word}", "b": "${bits}", "c": "${one}"}
	a, b, other := fed(t, 7, 500, feeds, args), fed(t, 7, 500, feeds, args), fed(t, 8, 500, feeds, args)
	seen := map[string]map[any]int{}
	same := 0
	for i := range a {
		if !maps.Equal(a[i], b[i]) {
			t.Fatalf("iteration %d: %v and %v with the same seed", i, a[i], b[i])
		}
		if a[i]["s"] == other[i]["s"] {
			same++
		}
		if a[i]["i"] != int64(10-3*i) {
			t.Fatalf("sequence %v at %d", a[i]["i"], i)
		}
		for k, v := range a[i] {
			if seen[k] == nil {
				seen[k] = map[any]int{}
			}
			seen[k][v]++
		}
	}
	if same > 0 || len(seen["s"]) != 500 || len(seen["b"]) != 500 {
		t.Errorf("%d words are the same with another seed; %d different words, %d of bits", same, len(seen["s"]), len(seen["b"]))
	}
	for key, want := range map[string]int{"d": 10, "w": 5, "c": 3} {
		fewest := slices.Min(slices.Collect(maps.Values(seen[key])))
		if len(seen[key]) != want || fewest < 500/want/2 {
			t.Errorf("%s: %v, want %d values about as often", key, seen[key], want)
		}
	}
}

func TestFeedMistakes(t *testing.T) {
	for _, tt := range []struct{ kind, text, use, want string }{
		{"csv", "", "n", "has no rows; add at least one"},
		{"csv", "a,b\n", "a", "has no rows"},
		{"csv", "a,\n1,2\n", "a", "feed.csv:1: column 2 has no name; name each column in the first line"},
		{"csv", "a,a\n1,2\n", "a", `feed.csv:1: column "a" occurs twice`},
		{"csv", "a,b\n1,2\n1,2,3\n", "a", "feed.csv:3: the row has 3 fields, the first line names 2"},
		{"csv", "a,b\n1,2\n\n1,\"2\"x\n", "a", `feed.csv:4:5: a quote is out of place`},
		{"csv", "a\n\"1\n", "a", "feed.csv:"},
		{"csv", "a\n1\n", "b", `feed f has no column "b"; its columns are a`},
		{"json", "", "a", "feed.json:1: not valid JSON: it ends too soon"},
		{"json", `{"a": 1}`, "a", "feed.json:1: it holds no list; write [{…}, {…}]"},
		{"json", "[\n{\"a\": 1},\n7]", "a", "feed.json:3: item 2 is 7, not an object"},
		{"json", "[\n{\"a\": 1},\n{\"a\": }]", "a", "feed.json:3: not valid JSON"},
		{"json", "[\n{\"a\": 1},\n", "a", "it ends too soon"},
		{"json", "[\n{\"a\": 1},\n\n{\"b\": 1}]", "a", "feed.json:4: row 2 has no a; give every row one"},
		{"json", "[{\"a\": [1]}]", "a", "feed.json:1: a of row 1 is [1]; use text, a number or a truth value"},
		{"json", "[]", "a", "has no rows"},
	} {
		p := closedPlan(1, time.Second)
		p.Feeds = []Feed{{Name: "f", Kind: FeedKind(tt.kind), Path: writeFeed(t, "feed."+tt.kind, tt.text)}}
		p.Steps[0].Args = map[string]any{"x": "${f." + tt.use + "}"}
		err := ValidatePlan(p)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), ": add", "; add"), strings.Split(tt.want, "; ")[0]) {
			t.Errorf("%q: %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestFeedsAreBounded(t *testing.T) {
	half := writeFeed(t, "half.csv", "a\n"+strings.Repeat(strings.Repeat("x", 1<<16)+"\n", MaxFeedBytes>>17+10))
	p := closedPlan(1, time.Second)
	p.Feeds = []Feed{{Name: "one", Kind: FeedCSV, Path: half}}
	if err := ValidatePlan(p); err != nil {
		t.Fatal(err)
	}
	p.Feeds = append(p.Feeds, Feed{Name: "two", Kind: FeedCSV, Path: half})
	if err := ValidatePlan(p); err == nil || !strings.Contains(err.Error(), "too much beside the plan's other feeds: keep all of them within 64 MiB of memory together") {
		t.Errorf("error %v", err)
	}
	small := writeFeed(t, "small.csv", "a\n"+strings.Repeat("x\n", 100_000))
	if _, err := readFeed(FeedCSV, small, 1<<20); err == nil || !strings.Contains(err.msg, "takes more than 1 MiB up to line ") {
		t.Errorf("error %v", err)
	}
}

func TestFeedIsReadOnce(t *testing.T) {
	path := writeFeed(t, "a.csv", "a\n1\n")
	p := closedPlan(1, time.Second)
	p.Executor = Executor{Kind: Closed, VUs: 1, Iterations: 1}
	p.Feeds = []Feed{{Name: "f", Kind: FeedCSV, Path: path}}
	p.Steps[0].Args = map[string]any{"x": "${f.a}"}
	if err := ValidatePlan(p); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDriver{answer: func(context.Context, Call) (Reply, error) { return Reply{}, nil }}
		run(t, t.Context(), p, d, Options{})
		if got := d.called("ssh_exec"); len(got) != 1 || got[0]["x"] != "1" {
			t.Errorf("called with %v", got)
		}
	})
}

func FuzzReadFeed(f *testing.F) {
	for _, text := range []string{"a,b\n1,2\n", "a\n\"x\ny\"\n", "\ufeffa\n1", `[{"a": 1, "b": {"c": []}}, {}]`, `[{"a":`, "[1]", "a,a\n", `[{"a.b": 1, "a": {"b": 2}}]`} {
		f.Add(text, true)
		f.Add(text, false)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string, csv bool) {
		path, kind := filepath.Join(dir, "feed"), FeedJSON
		if csv {
			kind = FeedCSV
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := readFeed(kind, path, 1<<20)
		if err != nil {
			if err.msg == "" || err.remedy == "" {
				t.Errorf("error without a word: %+v", err)
			}
			return
		}
		if len(table.rows) == 0 || len(table.rows) != len(table.lines) || table.bytes > 1<<20 {
			t.Errorf("%d rows, %d lines, %d bytes", len(table.rows), len(table.lines), table.bytes)
		}
		for column := range table.columns {
			if table.complete(column) == nil {
				for row := range table.rows {
					if table.at(row, column) == nil {
						t.Errorf("row %d has no column %d", row, column)
					}
				}
			}
		}
	})
}
