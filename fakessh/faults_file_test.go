package fakessh_test

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

const ms = time.Millisecond

const everyFault = `
seed: 7
connect: {refuse: 1%, mute: 0.005, delay: 5ms, max_startups: 10}
auth:
  fail: 0.5%
  delay: {kind: exponential, mean: 10ms}
exec: {delay: {kind: log-normal, median: 20ms, sigma: 0.5}}
sftp: {delay: {kind: normal, mean: 2ms, stddev: 500us}}
network:
  delay: {kind: bimodal, share: 2%, low: 1ms, high: 200ms}
  jitter: 1ms
  bandwidth: 10MiB/s
  stall: {every: 10s, for: 1s, at: 3s}
  corrupt: 1e-6
cut: {share: 10%, after: 5s, after_bytes: 1MiB, silent: true}
disk: {capacity: 1GiB, read: 1ms, write: {kind: fixed, value: 2ms}, bandwidth: 1000}
max_sessions: 10
workers: {count: 8, service: 5ms}
schedule:
  - {at: 0s, faults: {}}
  - at: 10s
    faults: {seed: 9, exec: {delay: 1s}}
`

func TestParseFaults(t *testing.T) {
	got, err := fakessh.ParseFaults("f.yaml", []byte(everyFault))
	if err != nil {
		t.Fatal(err)
	}
	want := fakessh.Faults{
		Seed:    7,
		Connect: fakessh.ConnectFaults{Refuse: 0.01, Mute: 0.005, Delay: netem.Fixed(5 * ms), MaxStartups: 10},
		Auth:    fakessh.AuthFaults{Fail: 0.005, Delay: netem.Exponential(10 * ms)},
		Exec:    fakessh.ExecFaults{Delay: netem.LogNormal(20*ms, 0.5)},
		SFTP:    fakessh.SFTPFaults{Delay: netem.Normal(2*ms, ms/2)},
		Network: netem.Shape{
			Delay: netem.Bimodal(0.02, ms, 200*ms), Jitter: ms, Bandwidth: 10 << 20, Corrupt: 1e-6,
			Stall: netem.Stall{Every: 10 * time.Second, For: time.Second, At: 3 * time.Second},
			Cut:   netem.Cut{Share: 0.1, After: netem.Fixed(5 * time.Second), AfterBytes: 1 << 20, Silent: true},
		},
		Disk:        fakessh.DiskFaults{Capacity: 1 << 30, Read: netem.Fixed(ms), Write: netem.Fixed(2 * ms), Bandwidth: 1000},
		MaxSessions: 10,
		Workers:     fakessh.Workers{Count: 8, Service: netem.Fixed(5 * ms)},
		Schedule: []fakessh.Change{
			{Faults: fakessh.Faults{Seed: 7}},
			{At: 10 * time.Second, Faults: fakessh.Faults{Seed: 9, Exec: fakessh.ExecFaults{Delay: netem.Fixed(time.Second)}}},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for _, text := range []string{"", "# none\n", "{}"} {
		if f, err := fakessh.ParseFaults("f", []byte(text)); err != nil || !reflect.DeepEqual(f, fakessh.Faults{}) && f.Seed != 1 {
			t.Errorf("%q: %+v, %v", text, f, err)
		}
	}
	f, err := fakessh.ParseFaults("f.json", []byte(`{"exec": {"delay": "5ms"}, "cut": {"share": 0, "after": "1s"}}`))
	if err != nil || f.Exec.Delay != netem.Fixed(5*ms) || f.Network.Cut != (netem.Cut{}) {
		t.Errorf("JSON: %+v, %v", f, err)
	}
}

func TestParseFaultsRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"- a":                           "f.yaml:1:1: want a mapping, got a list; write key: value lines below it",
		"a: [":                          "f.yaml:1:4: not valid YAML: ",
		"a: 1\n---\nb: 2":               "a second YAML document begins",
		"exce: {delay: 1s}":             "f.yaml:1:1: exce: unknown field; known here: auth, connect, cut, ",
		"exec: {delay: 5}":              `f.yaml:1:15: exec.delay: "5" is no duration; write a number and a unit, such as 1s or 20ms`,
		"exec: {delay: -5ms}":           `f.yaml:1:15: exec.delay: "-5ms" is no duration`,
		"exec: {delay: 2h}":             "f.yaml:1:15: exec.delay: 2h0m0s is too long; use 1h0m0s at most",
		"exec: {}":                      "f.yaml:1:1: exec.delay: is missing; add it",
		"exec: 5ms":                     "exec: want a mapping, got text",
		"exec:\n  delay: {kind: gamma}": `f.yaml:2:17: exec.delay.kind: "gamma" is not known; use fixed, normal, log-normal, exponential or bimodal`,
		"exec: {delay: {kind: normal, mean: 1s}}":                        "exec.delay.stddev: is missing; a normal distribution has mean, stddev",
		"exec: {delay: {kind: exponential, mean: 1s, sigma: 2}}":         "f.yaml:1:52: exec.delay.sigma: means nothing to kind exponential; it has mean",
		"exec: {delay: {kind: log-normal, median: 1s, sigma: 11}}":       "exec.delay.sigma: 11 is out of range; use 0 to 10",
		"exec: {delay: {kind: log-normal, median: 1s, sigma: wide}}":     `exec.delay.sigma: "wide" is no number`,
		"exec: {delay: {kind: bimodal, share: 101%, low: 1s, high: 2s}}": `exec.delay.share: "101%" is no share`,
		"exec: {delay: }":                                        "exec.delay: has no value; give it one or remove the line",
		"seed: -1":                                               `seed: "-1" is no whole number`,
		"seed: [1]":                                              "seed: a list is no whole number",
		"connect: {refuse: 2}":                                   `connect.refuse: "2" is no share; write 0% to 100%, or a number from 0 to 1`,
		"max_sessions: 0":                                        "max_sessions: 0 is out of range; use 1 or more, or leave it out",
		"network: {bandwidth: fast}":                             `network.bandwidth: "fast" is no number of bytes; write one such as 10MiB/s`,
		"network: {stall: {every: 1s}}":                          "network.stall.for: is missing",
		"network: {stall: {every: 1s, for: 1s}}":                 "f.yaml:1:26: network.stall.every: 1s is no longer than the stall of 1s",
		"cut: {share: 10%}":                                      "cut.after: is missing; say when connections are cut: after or after_bytes",
		"cut: {after: 1s, silent: maybe}":                        `cut.silent: "maybe" is neither true nor false`,
		"disk: {capacity: 10MiB/s}":                              `disk.capacity: "10MiB/s" is no number of bytes; write one such as 10MiB`,
		"disk: {capacity: 9999999GiB}":                           "disk.capacity:",
		"disk: {capacity: 0}":                                    `disk.capacity: "0" is out of range`,
		"workers: {count: 3}":                                    "workers.service: is missing; add it",
		"workers: {count: 10001, service: 1s}":                   "f.yaml:1:18: workers.count: 10001 is out of range; use 1 to 10000",
		"schedule: 3":                                            "schedule: want a list",
		"schedule: [{at: 1s}]":                                   "schedule[0].faults: is missing",
		"schedule: [{at: 1s, faults: {schedule: []}}]":           "schedule[0].faults.schedule: unknown field",
		"schedule: [{at: 2s, faults: {}}, {at: 1s, faults: {}}]": "f.yaml:1:39: schedule[1].at: 1s comes before 2s; put the changes in order",
		"schedule: [{at: 2s, faults: {workers: {count: 0, service: 1s}}}]": "schedule[0].faults.workers.count: 0 is out of range",
		"&a x: 1":                         "a key must be a plain word",
		strings.Repeat("[", 100):          "more than 64 brackets are open at once; nest less",
		"#" + strings.Repeat("x", 64<<10): "keep it under 65536",
	} {
		_, err := fakessh.ParseFaults("f.yaml", []byte(text))
		var problems fakessh.FaultsProblems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.60s\ngives %v\nwant  %s", text, err, want)
		}
	}
	_, err := fakessh.ParseFaults("f.yaml", []byte("seed: x\nexec: {delay: y}\nworkers: 3"))
	if n := strings.Count(err.Error(), "\n"); n != 2 {
		t.Errorf("three mistakes give %v", err)
	}
}

func TestFaultsFromYAML(t *testing.T) {
	f, err := parser.ParseBytes([]byte("name: x\nfaults:\n  exec: {delay: 5}\n"), 0)
	if err != nil {
		t.Fatal(err)
	}
	node := f.Docs[0].Body.(*ast.MappingNode).Values[1].Value
	_, err = fakessh.FaultsFromYAML("plan.yaml", "faults", node)
	if err == nil || !strings.HasPrefix(err.Error(), `plan.yaml:3:17: faults.exec.delay: "5" is no duration`) {
		t.Errorf("%v", err)
	}
}

func FuzzParseFaults(f *testing.F) {
	f.Add([]byte(everyFault))
	f.Add([]byte(`{"exec": {"delay": "5ms"}}`))
	f.Add([]byte("schedule: [{at: 1s, faults: {cut: {after: 1ms}}}]"))
	f.Add([]byte("a: &b {<<: *b}\n? [x]\n: 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		faults, err := fakessh.ParseFaults("f.yaml", text)
		if err == nil {
			err = faults.Validate()
		}
		if err == nil {
			return
		}
		var problems fakessh.FaultsProblems
		if !errors.As(err, &problems) {
			t.Fatalf("%T: %v", err, err)
		}
		for _, p := range problems {
			if p.Msg == "" || p.Remedy == "" || p.Line < 0 {
				t.Errorf("%+v", p)
			}
		}
	})
}

// TestDocumentedFaults reads the example of docs/faults.md, which has every
// field.
func TestDocumentedFaults(t *testing.T) {
	text, err := os.ReadFile("../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "```yaml\n")
	example, _, ended := strings.Cut(example, "```")
	if !found || !ended {
		t.Fatal("there is no example")
	}
	f, err := fakessh.ParseFaults("docs/faults.md", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	shape := reflect.ValueOf(f)
	for i := range shape.NumField() {
		if shape.Field(i).IsZero() {
			t.Errorf("the example has no %s", shape.Type().Field(i).Name)
		}
	}
}
