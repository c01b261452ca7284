package scenarios

import (
	"bytes"
	"encoding/json"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

const full = `name: mine
operation: sftp.transfer
description: All that a scenario can say.
seed: 9
executor: {kind: closed, vus: 2, sessions: 1, iterations: 10, warmup: 1s500ms, duration: 3s}
feeds:
  - {name: users, csv: testdata/users.csv, order: random}
  - {name: hosts, json: testdata/hosts.json}
  - {name: ids, generate: {kind: sequence, from: 5, step: 2}}
files:
  - {name: a.bin, size: 2KiB}
  - {name: b.bin, size: 7}
  - {name: "${vu}/%03d", size: 9, count: 5}
setup:
  - {name: dir, tool: ssh_exec, args: {command: "mkdir -p ${remote_dir}"}}
steps:
  - name: up
    tool: sftp_transfer
    args: {profile_id: "${profile}", n: 3, f: 1.5, yes: true, no: null, list: [a, "$${x}"], deep: {remote_path: "${remote_dir}/${vu}-${iteration}"}}
    checks:
      - {field: bytes_transferred, value: 2048}
      - {field: a.b, op: contains, value: x}
      - {field: status, op: matches, value: '^d'}
      - file_equal: {local: a.bin, with: "${workdir}/b.bin"}
    progress: true
    save: {id: a.id, port: port}
  - {name: carry, tcp: {address: "${echo_host}:${port}", bytes: 64KiB}}
  - {name: change, write: {file: "${vu}/%03d", count: 2}}
  - {name: cut, tool: ssh_exec, args: {command: "su ${users.name} ${hosts.ip} ${ids}"}, cancel_after: 100ms}
  - {name: close, tool: tunnel_close, args: {id: "${id}"}, always: true, measured: false}
teardown:
  - {name: clean, tool: ssh_exec}
arms:
  - name: plain
  - {name: other, server_config: {pool: {enabled: false, size: 3}}}
  - {name: raw, driver: {kind: raw-ssh, connections: 3}}
  - {name: noop, driver: {kind: mcp-noop, transport: http}}
compare:
  - {metric: p50, arms: [raw, noop], times: 1.5, plus: 60us}
thresholds: ["p95<100ms", "up:error_rate<0.1%", {expr: p99<200ms over 2s, abort: true, after: 1s}]
trends: ["server.goroutines<0.1 per 1000 calls", "server.rss < 16MiB per hour", "up:p50<1ms per hour"]
target: {statistic: p90, steps: [up], target: 100ms, acceptable: 1s}
`

func TestParse(t *testing.T) {
	got, err := Parse("full.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	p95, _ := loadgen.ParseThreshold("p95<100ms")
	rate, _ := loadgen.ParseThreshold("up:error_rate<0.1%")
	ends, _ := loadgen.ParseThreshold("p99<200ms over 2s")
	ends.Abort, ends.After = true, time.Second
	var trends []loadgen.Trend
	for _, s := range []string{"server.goroutines<0.1 per 1000 calls", "server.rss<16MiB per hour", "up:p50<1ms per hour"} {
		trend, err := loadgen.ParseTrend(s)
		if err != nil || trend.String() != s {
			t.Errorf("trend %v, %v", trend, err)
		}
		trends = append(trends, trend)
	}
	want := &loadgen.Plan{
		Trends: trends,
		Name:   "mine", Operation: "sftp.transfer", Description: "All that a scenario can say.", Seed: 9,
		Executor: loadgen.Executor{Kind: loadgen.Closed, VUs: 2, Sessions: 1, Iterations: 10, Warmup: 1500 * time.Millisecond, Duration: 3 * time.Second},
		Files:    []loadgen.File{{Name: "a.bin", Size: 2048}, {Name: "b.bin", Size: 7}, {Name: "${vu}/%03d", Size: 9, Count: 5}},
		Setup:    []loadgen.Step{{Name: "dir", Tool: "ssh_exec", Args: map[string]any{"command": "mkdir -p ${remote_dir}"}}},
		Steps: []loadgen.Step{{
			Name: "up", Tool: "sftp_transfer",
			Args: map[string]any{
				"profile_id": "${profile}", "n": int64(3), "f": 1.5, "yes": true, "no": nil, "list": []any{"a", "$${x}"},
				"deep": map[string]any{"remote_path": "${remote_dir}/${vu}-${iteration}"},
			},
			Checks: []loadgen.Check{{Field: "bytes_transferred", Op: "==", Value: int64(2048)}, {Field: "a.b", Op: "contains", Value: "x"},
				{Field: "status", Op: "matches", Value: "^d"}, {FileEqual: &loadgen.FileEqual{Local: "a.bin", With: "${workdir}/b.bin"}}},
			Progress: true,
			Save:     map[string]string{"id": "a.id", "port": "port"},
		}, {
			Name: "carry", TCP: &loadgen.TCP{Address: "${echo_host}:${port}", Bytes: 65536},
		}, {
			Name: "change", Write: &loadgen.Write{File: "${vu}/%03d", Count: 2},
		}, {
			Name: "cut", Tool: "ssh_exec", Args: map[string]any{"command": "su ${users.name} ${hosts.ip} ${ids}"}, CancelAfter: 100 * time.Millisecond,
		}, {
			Name: "close", Tool: "tunnel_close", Args: map[string]any{"id": "${id}"}, Always: true, Unmeasured: true,
		}},
		Teardown: []loadgen.Step{{Name: "clean", Tool: "ssh_exec"}},
		Arms: []loadgen.Arm{{Name: "plain"}, {Name: "other", ServerConfig: map[string]any{
			"pool": map[string]any{"enabled": false, "size": int64(3)},
		}}, {Name: "raw", Driver: &loadgen.ArmDriver{Kind: "raw-ssh", Connections: 3}},
			{Name: "noop", Driver: &loadgen.ArmDriver{Kind: "mcp-noop", Transport: "http"}}},
		Compare:    []loadgen.Comparison{{Metric: "p50", Arms: []string{"raw", "noop"}, Times: 1.5, Plus: 60 * time.Microsecond}},
		Thresholds: []loadgen.Threshold{p95, rate, ends},
		Target: &loadgen.Target{
			Operation: "sftp.transfer", Statistic: "p90", Steps: []string{"up"}, Target: 100 * time.Millisecond, Acceptable: time.Second,
		},
	}
	feeds := got.Feeds // which hold what was read, too
	got.Feeds = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if len(feeds) != 3 || feeds[0].Path != filepath.Join("testdata", "users.csv") || feeds[0].Order != loadgen.FeedRandom ||
		feeds[1].Kind != loadgen.FeedJSON || !reflect.DeepEqual(feeds[2].Generate, &loadgen.Generate{Kind: "sequence", From: 5, Step: 2}) {
		t.Errorf("feeds %+v", feeds)
	}
}

// good is the smallest scenario; bad ones are made from it by one replacement.
const good = `name: x
operation: ssh.exec
executor:
  kind: open
  rate: 200
  duration: 15s
steps:
  - name: exec
    tool: ssh_exec
    args:
      command: echo ${vu}
`

// mistakes are refused by the parser with the position and the words given, and by the schema unless parserOnly says that a
// schema cannot know.
var mistakes = append([]mistake{
	{"rate: 200", "raet: 200", `x.yaml:5:3: executor.raet: unknown field; did you mean "rate"?`, false},
	{"rate: 200", "rate: 200\n  zzz: 200", "x.yaml:6:3: executor.zzz: unknown field; known here: arrivals, duration, holders, iterations, iterations_per_vu, kind", false},
	{"rate: 200", "rate: 0", "x.yaml:5:9: executor.rate: 0 is out of range", false},
	{"rate: 200", "rate: -5.5", "x.yaml:5:9: executor.rate: -5.5 is out of range", false},
	{"rate: 200", "rate: fast", "x.yaml:5:9: executor.rate: want a number, got text", false},
	{"rate: 200", "rate: .nan", "x.yaml:5:9: executor.rate: want a number", true},
	{"  rate: 200\n", "", "x.yaml:3:1: executor.rate: an open executor cannot run at rate 0", false},
	{"rate: 200", "rate: 200\n  vus: 3", "x.yaml:6:8: executor.vus: an open executor has no virtual users", false},
	{"rate: 200", "rate: 200\n  max_in_flight: 1000000", "x.yaml:6:18: executor.max_in_flight: 1000000 is out of range", false},
	{"kind: open\n  rate: 200", "kind: closed", "x.yaml:3:1: executor.vus: a closed executor needs virtual users", false},
	{"kind: open\n  rate: 200", "kind: closed\n  vus: 0", "x.yaml:5:8: executor.vus: 0 is out of range", false},
	{"kind: open", "kind: closed\n  vus: 1", "x.yaml:6:9: executor.rate: a closed executor has no rate", false},
	{"kind: open", "kind: opne", `x.yaml:4:9: executor.kind: "opne" is not known; did you mean "open"?`, false},
	{"duration: 15s", "duration: 15", "x.yaml:6:13: executor.duration: want text, got a whole number", false},
	{"duration: 15s", "duration: soon", `x.yaml:6:13: executor.duration: "soon" is not a duration; write a number and a unit`, false},
	{"duration: 15s", "duration: 0s", "x.yaml:6:13: executor.duration: 0s is too short", false},
	{"duration: 15s", "duration: -1s", "x.yaml:6:13: executor.duration:", false},
	{"  duration: 15s\n", "", "x.yaml:3:1: executor.duration: nothing is measured", false},
	{"name: x\n", "", "x.yaml:1:1: name: is missing; add it", false},
	{"name: x\n", "name:\n", "x.yaml:1:1: name: has no value", false},
	{"name: x\n", "name: a b\n", `x.yaml:1:7: name: "a b" is not valid here`, false},
	{"name: x\n", "name: [x]\n", "x.yaml:1:1: name: want text, got a list", false},
	{"ssh.exec", "SSH", `x.yaml:2:12: operation: "SSH" is not valid here`, false},
	{"echo ${vu}", "echo ${user}", "x.yaml:11:16: steps[0].args.command: unknown variable ${user}", true},
	{"echo ${vu}", "[a, '${vu']", "x.yaml:11:20: steps[0].args.command[1]: variable has no closing brace", false},
	{"echo ${vu}", "{deep: '${x}'}", "x.yaml:11:23: steps[0].args.command.deep: unknown variable ${x}", true},
	{"echo ${vu}", "&a echo", "an anchor or alias is not supported", true},
	{"tool: ssh_exec", "tool: ssh_exec\n    tool: ssh_exec", "already defined", true},
	{"    tool: ssh_exec\n", "", "x.yaml:8:5: steps[0].tool: the step does nothing; name a tool", false},
	{"    args:", "    checks: [{field: exit_code, op: '=', value: 0}]\n    args:", "steps[0].checks[0].op: \"=\" is not known", false},
	{"    args:", "    checks: [{field: exit_code, value: [1]}]\n    args:", "steps[0].checks[0].value: want text, a number or a truth value, got a list", false},
	{"    args:", "    checks: [{field: '', value: 1}]\n    args:", "steps[0].checks[0].field: \"\" is not valid", false},
	{"    args:", "    checks: []\n    args:", "steps[0].checks: the list is empty", false},
	{"steps:", "files: [{name: ../x, size: 1}]\nsteps:", `x.yaml:7:16: files[0].name: "../x" is not valid here`, false},
	{"steps:", "files: [{name: x, size: 1MB}]\nsteps:", `x.yaml:7:25: files[0].size: "1MB" is not valid here; write bytes, or a number and KiB`, false},
	{"steps:", "files: [{name: x, size: 1}, {name: x, size: 2}]\nsteps:", `files[1].name: file "x" occurs twice`, true},
	{"steps:", "files: [{name: x, size: 1, count: 2}]\nsteps:", `files[0].name: "x" has no place for the number`, true},
	{"steps:", "files: [{name: 'x%d', size: 1, count: 0}]\nsteps:", "x.yaml:7:39: files[0].count: 0 is out of range", false},
	{"steps:", "files: [{name: '${profile}', size: 1}]\nsteps:", "x.yaml:7:16: files[0].name: ${profile} cannot name a file", true},
	{"steps:", "setup: [{name: a, tool: b, always: true}]\nsteps:", "x.yaml:7:36: setup[0].always: setup takes plain tool calls", false},
	{"steps:", "setup: [{name: a, tcp: {address: 'h:1', bytes: 1}}]\nsteps:", "setup[0].tcp: setup takes plain tool calls", false},
	{"    args:", "    tcp: {address: 'h:1', bytes: 1}\n    args:", "x.yaml:8:5: steps[0]: the step does several things", false},
	{"    tool: ssh_exec\n    args:\n      command: echo ${vu}", "    tcp: {address: 'h:${port}', bytes: 1}", "x.yaml:9:20: steps[0].tcp.address: unknown variable ${port}", true},
	{"    tool: ssh_exec\n    args:\n      command: echo ${vu}", "    tcp: {address: 'h:1', bytes: 0}", "x.yaml:9:34: steps[0].tcp.bytes: 0 bytes carry nothing", false},
	{"    tool: ssh_exec\n    args:\n      command: echo ${vu}", "    tcp: {adress: 'h:1', bytes: 1}", `steps[0].tcp.adress: unknown field; did you mean "address"?`, false},
	{"    tool: ssh_exec\n    args:\n      command: echo ${vu}", "    tcp: {address: 'h:1', bytes: 1}\n    checks: [{field: a, value: 1}]", "steps[0]: only a tool call has args, checks and save", false},
	{"  - name: exec", "  - {name: a, tool: b}\n  - {name: w, write: {file: x}}\n  - name: exec", `x.yaml:9:29: steps[1].write.file: the plan makes no file "x"`, true},
	{"  - name: exec", "  - {name: a, tool: b}\n  - {name: w, write: {}}\n  - name: exec", "steps[1].write.file: is missing", false},
	{"    args:", "    save: {Id: x}\n    args:", `x.yaml:10:16: steps[0].save.Id: "Id" cannot name a variable`, false},
	{"    args:", "    save: {id: 'a b'}\n    args:", "x.yaml:10:16: steps[0].save.id: names no field", false},
	{"    args:", "    save: {id: 1}\n    args:", "x.yaml:10:16: steps[0].save.id: names no field", false},
	{"    args:", "    save: {}\n    args:", "steps[0].save: saves nothing", false},
	{"    args:", "    save: [id]\n    args:", "steps[0].save: want a mapping, got a list", false},
	{"    args:", "    save: {profile: x}\n    args:", "steps[0].save.profile: there is a variable ${profile} already", true},
	{"    args:", "    always: 1\n    args:", "x.yaml:10:13: steps[0].always: want true or false, got a whole number", false},
	{"    args:", "    measured: false\n    args:", "x.yaml:8:5: steps[0]: an open executor measures from the schedule", true},
	{"steps:", "thresholds: [p95]\nsteps:", `x.yaml:7:14: thresholds[0]: threshold "p95" has no comparison`, false},
	{"steps:", "thresholds: ['p95<fast']\nsteps:", `x.yaml:7:14: thresholds[0]: threshold "p95<fast"`, false},
	{"steps:", "thresholds: ['put:p95<1s']\nsteps:", `x.yaml:7:14: thresholds[0]: there is no step "put"`, true},
	{"steps:", "arms: [{name: a}, {name: a}]\nsteps:", `arms[1].name: arm "a" occurs twice`, true},
	{"steps:", "compare: [{metric: p50, arms: [b]}]\nsteps:", `compare[0].arms[0]: "b" is none of the arms`, true},
	{"steps:", "compare: [{metric: p50}]\nsteps:", "compare[0].arms: is missing", false},
	{"steps:", "arms: [{name: a}, {name: b}]\ncompare: [{metric: errors, arms: [b]}]\nsteps:", `compare[0].metric: "errors" is no rate and no duration`, false},
	{"steps:", "arms: [{name: a}, {name: b}]\ncompare: [{metric: p50, arms: [b], times: 0}]\nsteps:", "compare[0].times: 0 is out of range", false},
	{"steps:", "arms: [{name: a}, {name: b}]\ncompare: [{metric: p50, arms: [b], plus: 0s}]\nsteps:", "compare[0].plus: 0s is too short", false},
	{"steps:", "arms: [{name: a, driver: {connections: 0}}]\nsteps:", "arms[0].driver.connections: 0 is out of range", false},
	{"steps:", "arms: [{name: a, driver: {transport: tcp}}]\nsteps:", `arms[0].driver.transport: "tcp" is not known`, false},
	{"steps:", "arms: [{name: a, server_config: [1]}]\nsteps:", "arms[0].server_config: want a mapping, got a list", false},
	{"steps:", "target: {target: 2s, acceptable: 1s}\nsteps:", "target.acceptable: 1s is shorter than the target of 2s", true},
	{"steps:", "target: {target: 2s}\nsteps:", "x.yaml:7:1: target.acceptable: is missing", false},
	{"steps:", "target: {steps: [put], target: 1s, acceptable: 1s}\nsteps:", `target.steps[0]: there is no step "put"`, true},
	{"steps:", "seed: -1\nsteps:", "x.yaml:7:7: seed: -1 is out of range", false},
	{good, "just text", "x.yaml:1:1: want a mapping, got text", false},
	{good, "", "x.yaml: the file is empty", true},
	{good, "# nothing\n", "x.yaml: the file is empty", true},
	{good, good + "---\n" + good, "a second YAML document begins", true},
	{"name: x", "name: [x", "not valid YAML", true},
	{good, strings.Repeat("[", 1000), "brackets are open at once", true},
	{good, strings.Repeat("#", maxFile+1), "keep it under", true},
}, moreMistakes...)

type mistake struct {
	old, new   string
	want       string
	parserOnly bool
}

// moreMistakes are of thresholds, feeds, checks and calls.
var moreMistakes = []mistake{
	{"steps:", "thresholds: [{expr: p95<1s, abrot: true}]\nsteps:", `x.yaml:7:29: thresholds[0].abrot: unknown field; did you mean "abort"?`, false},
	{"steps:", "thresholds: [{abort: true}]\nsteps:", "x.yaml:7:15: thresholds[0].expr: is missing; add it", false},
	{"steps:", "thresholds: [{expr: p95<1s, abort: yes please}]\nsteps:", "x.yaml:7:36: thresholds[0].abort: want true or false, got text", false},
	{"steps:", "thresholds: [{expr: p95<1s, after: 1s}]\nsteps:", "x.yaml:7:36: thresholds[0].after: it delays the end of the run, which this threshold does not ask for; add abort: true", false},
	{"steps:", "thresholds: [{expr: p95<1s, abort: true, after: -1s}]\nsteps:", "x.yaml:7:49: thresholds[0].after:", false},
	{"steps:", "thresholds: [{expr: server.rss<1GiB, abort: true}]\nsteps:", "x.yaml:7:45: thresholds[0].abort: server.rss is known only at the end, so it cannot end the run; leave abort out", true},
	{"steps:", "thresholds: ['latency<1s']\nsteps:", `x.yaml:7:14: thresholds[0]: threshold "latency<1s": unknown metric "latency": use p50 to p99.99, mean or max, alone for the latency`, false},
	{"steps:", "thresholds: ['sevrice.p95<1s']\nsteps:", `unknown metric "sevrice.p95": use p50 to p99.99`, false},
	{"steps:", "thresholds: ['p95<1s over soon']\nsteps:", `x.yaml:7:14: thresholds[0]: threshold "p95<1s over soon": "soon" is no length of a window: write one like over 10s`, false},
	{"steps:", "thresholds: ['p95<1s over 10']\nsteps:", `"10" is no length of a window`, false},
	{"steps:", "thresholds: ['p95<1s over 1ms']\nsteps:", "x.yaml:7:14: thresholds[0]: a window of 1ms cannot be judged: use whole seconds, 1s to 10m", true},
	{"steps:", "thresholds: ['p95<1s over 1m']\nsteps:", "x.yaml:7:14: thresholds[0]: no window of 1m fits into the measured 15s; shorten the window or measure longer", true},
	{"steps:", "thresholds: ['server.fds<9 over 5s']\nsteps:", "x.yaml:7:14: thresholds[0]: server.fds is not counted second by second and has no windows: leave over 5s out", false},
	{"steps:", "thresholds: ['server.rss<200MB']\nsteps:", `"200MB" is no number: write one like 200MiB`, false},
	{"steps:", "thresholds: ['error_rate<101%']\nsteps:", "use at most 100%", true},
	{"steps:", "thresholds: ['rate>=-5']\nsteps:", "use a finite one that is not negative", false},

	{"steps:", "feeds: [{name: users, csv: testdata/none.csv}]\nsteps:", "x.yaml:7:28: feeds[0].csv: there is no file testdata/none.csv; put it there; paths begin at the folder of the scenario's file", true},
	{"steps:", "feeds: [{name: users, csv: testdata}]\nsteps:", "x.yaml:7:28: feeds[0].csv: testdata is not a regular file; name a file", true},
	{"steps:", "feeds: [{name: users, csv: testdata/short.csv}]\nsteps:", "x.yaml:7:28: feeds[0].csv: testdata/short.csv:3: the row has 1 fields, the first line names 2; give every row the same", true},
	{"steps:", "feeds: [{name: hosts, json: testdata/broken.json}]\nsteps:", "x.yaml:7:29: feeds[0].json: testdata/broken.json:2: not valid JSON: invalid character '}' looking for beginning of value; write a list of objects", true},
	{"steps:", "feeds: [{name: users, json: testdata/users.csv}]\nsteps:", "x.yaml:7:29: feeds[0].json: testdata/users.csv:1: not valid JSON", true},
	{"steps:", "feeds: [{name: users, csv: ''}]\nsteps:", "x.yaml:7:28: feeds[0].csv: names no file; write its path", false},
	{"steps:", "feeds: [{name: users}]\nsteps:", "x.yaml:7:10: feeds[0]: the feed has no data; give it csv: FILE, json: FILE or generate:", false},
	{"steps:", "feeds: [{name: users, csv: a, json: b}]\nsteps:", "x.yaml:7:37: feeds[0].json: the feed has csv already; keep one", false},
	{"steps:", "feeds: [{name: Users, csv: testdata/users.csv}]\nsteps:", `x.yaml:7:16: feeds[0].name: "Users" is not valid here; use lower-case letters`, false},
	{"steps:", "feeds: [{name: vu, csv: testdata/users.csv}]\nsteps:", "x.yaml:7:16: feeds[0].name: there is a variable ${vu} already", true},
	{"steps:", "feeds: [{name: a, csv: testdata/users.csv, order: shuffled}]\nsteps:", `x.yaml:7:51: feeds[0].order: "shuffled" is not known; use one of sequential, random`, false},
	{"steps:", "feeds: [{name: a, generate: {kind: integer, min: 1}}]\nsteps:", "feeds[0].generate.max: is missing; add it", false},
	{"steps:", "feeds: [{name: a, generate: {kind: integer, min: 2, max: 1}}]\nsteps:", "x.yaml:7:58: feeds[0].generate.max: 1 is less than the least, 2; set max to min or more", true},
	{"steps:", "feeds: [{name: a, generate: {kind: choice, values: []}}]\nsteps:", "feeds[0].generate.values: the list is empty", false},
	{"steps:", "feeds: [{name: a, generate: {kind: string, length: 0}}]\nsteps:", "x.yaml:7:52: feeds[0].generate.length: 0 is out of range", false},
	{"steps:", "feeds: [{name: a, generate: {kind: string, length: 3, alphabet: ä}}]\nsteps:", "x.yaml:7:65: feeds[0].generate.alphabet: holds a character that is not ASCII", true},
	{"steps:", "feeds: [{name: a, generate: {kind: sequence, min: 3}}]\nsteps:", "x.yaml:7:51: feeds[0].generate.min: a generator of kind sequence has no min", false},
	{"steps:", "feeds: [{name: a, generate: {kind: sequence}}, {name: a, generate: {kind: sequence}}]\nsteps:", `feeds[1].name: feed "a" occurs twice`, true},
	{"steps:\n  - name: exec\n    tool: ssh_exec\n    args:\n      command: echo ${vu}", feedStep("users.csv", "${users.nme}"), `x.yaml:12:16: steps[0].args.command: feed users has no column "nme"; its columns are name, pass`, true},
	{"steps:\n  - name: exec\n    tool: ssh_exec\n    args:\n      command: echo ${vu}", feedStep("users.csv", "${users}"), "x.yaml:12:16: steps[0].args.command: feed users has columns; name one, such as ${users.name}", true},
	{"steps:\n  - name: exec\n    tool: ssh_exec\n    args:\n      command: echo ${vu}", feedStep("hosts.json", "${users.at.port}"), "steps[0].args.command: testdata/hosts.json:3: row 2 has no at.port; give every row one", true},
	{"steps:\n  - name: exec\n    tool: ssh_exec\n    args:\n      command: echo ${vu}", feedStep("users.csv", "${user.name}"), "unknown variable ${user.name}", true},

	{"    args:", "    checks: [{field: a, op: matches, value: '('}]\n    args:", "steps[0].checks[0].value: \"(\" is not a pattern; write an RE2", true},
	{"    args:", "    checks: [{field: a, op: sha256, value: abc}]\n    args:", "x.yaml:10:44: steps[0].checks[0].value: \"abc\" is not a SHA-256 digest; write its 64", true},
	{"    args:", "    checks: [{field: a, op: length, value: -1}]\n    args:", "x.yaml:10:44: steps[0].checks[0].value: -1 is not a length; write a whole number", true},
	{"    args:", "    checks: [{field: a, op: '>=', value: true}]\n    args:", "steps[0].checks[0].value: >= cannot order bool", true},
	{"    args:", "    checks: [{field: a, op: mathces, value: x}]\n    args:", `steps[0].checks[0].op: "mathces" is not known; did you mean "matches"?`, false},
	{"    args:", "    checks: [{field: a, value: '${x}'}]\n    args:", "x.yaml:10:32: steps[0].checks[0].value: unknown variable ${x}", true},
	{"    args:", "    checks: [{field: a, value: 1, file_equal: {local: a, with: b}}]\n    args:", "steps[0].checks[0]: the check compares both a field and files", false},
	{"    args:", "    checks: [{file_equal: {local: a}}]\n    args:", "steps[0].checks[0].file_equal.with: is missing; add it", false},
	{"    args:", "    checks: [{file_equal: {local: '${x}', with: b}}]\n    args:", "x.yaml:10:35: steps[0].checks[0].file_equal.local: unknown variable ${x}", true},

	{"    args:", "    cancel_after: 0s\n    args:", "x.yaml:10:19: steps[0].cancel_after: 0s is too short; use 1ms or more", false},
	{"    args:", "    cancel_after: 1s\n    save: {a: b}\n    args:", "steps[0].save: a call that is cancelled has no result to save", true},
	{"    args:", "    progress: 1\n    args:", "x.yaml:10:15: steps[0].progress: want true or false, got a whole number", false},
	{"    tool: ssh_exec\n    args:\n      command: echo ${vu}", "    tcp: {address: 'h:1', bytes: 1}\n    progress: true", "steps[0]: only a tool call has cancel_after and progress", false},
	{"steps:", "setup: [{name: a, tool: b, cancel_after: 1s}]\nsteps:", "x.yaml:7:42: setup[0].cancel_after: setup takes plain tool calls", false},
}

// feedStep is a step that uses a feed called users.
func feedStep(file, text string) string {
	kind := strings.TrimPrefix(filepath.Ext(file), ".")
	return "feeds: [{name: users, " + kind + ": testdata/" + file + "}]\nsteps:\n  - name: exec\n    tool: ssh_exec\n    args:\n      command: " + text
}

func TestMistakes(t *testing.T) {
	for _, m := range mistakes {
		t.Run(m.new[:min(len(m.new), 40)], func(t *testing.T) {
			text := strings.Replace(good, m.old, m.new, 1)
			if text == good {
				t.Fatalf("%q is not in the good scenario", m.old)
			}
			_, err := Parse("x.yaml", []byte(text))
			if err == nil || !strings.Contains(err.Error(), m.want) {
				t.Errorf("got  %v\nwant %s", err, m.want)
			}
			var ps Problems
			if errors.As(err, &ps); len(ps) != 1 {
				t.Errorf("%d problems, want the one:\n%v", len(ps), err)
			}
		})
	}
}

func TestEveryMistakeAtOnce(t *testing.T) {
	text := strings.NewReplacer("name: x", "nmae: x", "rate: 200", "rate: 0", "${vu}", "${user}").Replace(good)
	_, err := Parse("x.yaml", []byte(text))
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %v", err)
	}
	var fields []string
	for _, p := range ps {
		fields = append(fields, p.Field)
	}
	if got := strings.Join(fields, " "); got != "nmae executor.rate steps[0].args.command" {
		t.Errorf("fields %s:\n%v", got, err)
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(s *jsonschema.Schema, text string) error {
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return err
	}
	return s.Validate(v)
}

func TestSchemaAgreesWithParser(t *testing.T) {
	s := compileSchema(t)
	for _, name := range List() {
		data, err := embedded.ReadFile(name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(s, string(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{full, good} {
		if err := validate(s, text); err != nil {
			t.Errorf("good scenario refused: %v", err)
		}
	}
	for _, m := range mistakes {
		if err := validate(s, strings.Replace(good, m.old, m.new, 1)); err == nil && !m.parserOnly {
			t.Errorf("the schema admits %q", m.new)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add(good)
	for _, m := range mistakes {
		if len(m.new) < 2000 {
			f.Add(strings.Replace(good, m.old, m.new, 1))
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse("x.yaml", []byte(text))
		if err == nil {
			if err := loadgen.ValidatePlan(p); err != nil {
				t.Errorf("a plan that does not run: %v", err)
			}
			return
		}
		var ps Problems
		if !errors.As(err, &ps) || len(ps) == 0 {
			t.Errorf("error without problems: %v", err)
		}
	})
}
