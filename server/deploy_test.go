package server

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

var update = flag.Bool("update", false, "write the table of metrics into docs/monitoring.md")

// exposed is a metric as a scraper finds it.
type exposed struct {
	kind, help string
	labels     map[string]bool
}

// scrapeAll starts a server on which something of everything has happened, and lists what it shows by the names that queries use.
func scrapeAll(t *testing.T) (families, series map[string]*exposed) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the number of threads and sockets, so elsewhere less is exposed")
	}
	f, log := startMonitored(t, func(c *Config) {
		yes := true
		c.Monitoring.Listen, c.Audit = "127.0.0.1:0", Audit{Enabled: &yes, Path: filepath.Join(t.TempDir(), "audit.db")}
	})
	c := f.connect(t.Context(), t)
	defer c.end()
	c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	c.call("ssh_exec", args{"profile_id": "fake", "command": "sleep 9", "timeout": 0.05})
	body := get(t, log.monitorURL(t)+"/metrics", nil).body
	families, series = map[string]*exposed{}, map[string]*exposed{}
	for line := range strings.Lines(body) {
		word := strings.SplitN(strings.TrimSpace(line), " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			families[word[2]] = &exposed{help: word[3], labels: map[string]bool{}}
		case strings.HasPrefix(line, "# TYPE "):
			families[word[2]].kind = word[3]
		default:
			addSample(families, series, line)
		}
	}
	return families, series
}

var label = regexp.MustCompile(`(\w+)="`)

func addSample(families, series map[string]*exposed, line string) {
	name, labels, _ := strings.Cut(line[:strings.LastIndexByte(line, ' ')], "{")
	family := families[name]
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); family == nil && ok {
			family = families[base]
		}
	}
	s := series[name]
	if s == nil {
		s = &exposed{kind: family.kind, help: family.help, labels: map[string]bool{"job": true, "instance": true}}
		series[name] = s
	}
	for _, m := range label.FindAllStringSubmatch(labels, -1) {
		s.labels[m[1]], family.labels[m[1]] = true, true
	}
}

// deployed lists the queries in deploy/, by where they stand.
func deployed(t *testing.T) map[string]string {
	t.Helper()
	queries := map[string]string{}
	read := func(file string, into any, decode func([]byte, any) error) {
		data, err := os.ReadFile(filepath.Join("../deploy", file))
		if err == nil {
			err = decode(data, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	read("prometheus/rules.yml", &rules, func(data []byte, v any) error { return yaml.Unmarshal(data, v) })
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			queries["alert "+r.Alert] = r.Expr
		}
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, RefID string }
		}
		Templating struct {
			List []struct {
				Type, Name string
				Query      any
			}
		}
	}
	read("grafana/openaccess-mcp.json", &board, json.Unmarshal)
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			queries["panel "+p.Title+" "+target.RefID] = target.Expr
		}
	}
	for _, v := range board.Templating.List {
		if q, ok := v.Query.(map[string]any); ok && v.Type == "query" {
			selector, _, _ := strings.Cut(strings.TrimPrefix(q["query"].(string), "label_values("), ", ")
			queries["variable "+v.Name] = selector
		}
	}
	if len(queries) < 60 {
		t.Fatalf("only %d queries", len(queries))
	}
	return queries
}

// functions are the words of PromQL that stand before a parenthesis.
var functions = strings.Fields("by on rate increase sum count max topk histogram_quantile min_over_time scalar and or unless")

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	grouping = regexp.MustCompile(`\b(by|on)\s*\(([^)]*)\)`)
	selector = regexp.MustCompile(`\b([a-zA-Z_]\w*)\s*(\{[^}]*\})?(\s*\()?`)
)

// checkNames finds what a query names and the server does not show. It reads no PromQL, which promtool does.
func checkNames(query string, series map[string]*exposed) (problems []string) {
	query = quoted.ReplaceAllString(query, `""`)
	labels := map[string]bool{}
	groups := grouping.FindAllStringSubmatch(query, -1)
	query = regexp.MustCompile(`\[[^\]]*\]|offset \w+|\b\d[\d.e]*`).ReplaceAllString(grouping.ReplaceAllString(query, ""), "")
	for _, m := range selector.FindAllStringSubmatch(query, -1) {
		name := m[1]
		if slices.Contains(functions, name) {
			continue
		}
		s := series[name]
		if name == "up" {
			s = &exposed{labels: map[string]bool{"job": true, "instance": true}}
		}
		if s == nil {
			problems = append(problems, "there is no "+name)
			continue
		}
		maps.Copy(labels, s.labels)
		for _, l := range regexp.MustCompile(`(\w+)\s*(=~|!~|!=|=)`).FindAllStringSubmatch(m[2], -1) {
			if !s.labels[l[1]] {
				problems = append(problems, fmt.Sprintf("%s has no label %s", name, l[1]))
			}
		}
	}
	for _, g := range groups {
		for _, l := range strings.FieldsFunc(g[2], func(r rune) bool { return r == ',' || r == ' ' }) {
			if !labels[l] {
				problems = append(problems, "no metric here has the label "+l)
			}
		}
	}
	return problems
}

func TestDeployedQueriesNameWhatIsExposed(t *testing.T) {
	_, series := scrapeAll(t)
	for _, wrong := range []string{`rate(openaccess_mcp_calls_total[5m])`, `up{host="x"}`, `sum by (host) (up)`, `openaccess_mcp_tunnels{kind="local"} > 1`} {
		if len(checkNames(wrong, series)) == 0 {
			t.Errorf("nothing is found wrong with %s", wrong)
		}
	}
	queries := deployed(t)
	for where, query := range queries {
		for _, problem := range checkNames(query, series) {
			t.Errorf("%s: %s in %s", where, problem, query)
		}
	}
	promtool(t, queries)
}

// promtool has Prometheus' own parser read the queries and run the tests of the rules, where it is installed, as it is in CI.
func promtool(t *testing.T, queries map[string]string) {
	path, err := osexec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: the names are checked, the grammar is not")
		return
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for _, where := range slices.Sorted(maps.Keys(queries)) {
		expr := strings.ReplaceAll(queries[where], "$__rate_interval", "5m")
		rules = append(rules, rule{fmt.Sprintf("query:%d", len(rules)), expr})
	}
	data, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "all", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "queries.yml")
	mustWrite(t, file, string(data))
	for _, args := range [][]string{
		{"check", "rules", file}, {"check", "rules", "rules.yml"}, {"check", "config", "prometheus.yml"}, {"test", "rules", "rules_test.yml"},
	} {
		cmd := osexec.CommandContext(t.Context(), path, args...)
		cmd.Dir = "../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestMonitoringDoc compares the table of docs/monitoring.md with what a server shows. With -update it writes the table.
func TestMonitoringDoc(t *testing.T) {
	families, _ := scrapeAll(t)
	const file, begin, end = "../docs/monitoring.md", "| metric | type | labels | meaning |\n|---|---|---|---|\n", "\n\n"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatal("the table is missing")
	}
	var rows []string
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if f := families[name]; strings.HasPrefix(name, "openaccess_mcp_") {
			delete(f.labels, "le")
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |", name, f.kind, strings.Join(slices.Sorted(maps.Keys(f.labels)), ", "), f.help))
		}
	}
	want := strings.Join(rows, "\n")
	if have == want {
		return
	}
	if !*update {
		t.Errorf("docs/monitoring.md is not what the server shows: run go test ./server -run TestMonitoringDoc -update; it should hold\n%s", want)
		return
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
