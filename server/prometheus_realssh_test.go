//go:build realssh

package server

import (
	"bytes"
	"encoding/json"
	"net"
	"net/url"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// prometheus runs the real Prometheus with the configuration and rules of deploy/, every second, against a server, and returns its URL.
func prometheus(t *testing.T, server string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	config, err := os.ReadFile("../deploy/prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("../deploy/prometheus/rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("127.0.0.1:9464", strings.TrimPrefix(server, "http://"), "interval: 15s", "interval: 1s", "- rules.yml", "- "+rules).
		Replace(string(config))
	mustWrite(t, filepath.Join(dir, "prometheus.yml"), text)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	var log bytes.Buffer
	cmd := osexec.Command("prometheus", append(flags, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+l.Addr().String())...)
	cmd.Stderr, cmd.Stdout = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install Debian's package prometheus", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it says how it was ended
		if t.Failed() {
			t.Log(log.String())
		}
	})
	at := "http://" + l.Addr().String()
	waitUntil(t, "Prometheus is ready", func() bool {
		c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil && get(t, at+"/-/ready", nil).status == 200
	})
	return at
}

// query evaluates an expression, and gives the values of its first series, nil for none.
func query(t *testing.T, prometheus, expr string) []any {
	t.Helper()
	var answer struct {
		Status, Error string
		Data          struct{ Result []struct{ Value []any } }
	}
	body := get(t, prometheus+"/api/v1/query?query="+url.QueryEscape(expr), nil).body
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %v in %s", expr, err, body)
	}
	if len(answer.Data.Result) == 0 {
		return nil
	}
	return answer.Data.Result[0].Value
}

// TestPrometheus has the real Prometheus scrape a server in both kinds of histogram and evaluate the rules of deploy/.
func TestPrometheus(t *testing.T) {
	f, log := startMonitored(t, func(c *Config) { c.Monitoring.Listen = "127.0.0.1:0" })
	c := f.connect(t.Context(), t)
	defer c.end()
	for range 30 {
		c.call("ssh_exec", args{"profile_id": "fake", "command": "echo hi"})
	}
	const commands = `{operation="ssh.exec",profile="fake"}`
	for kind, tc := range map[string]struct {
		flags []string
		count string
	}{
		"classic": {nil, "openaccess_mcp_operation_duration_seconds_count" + commands},
		"native":  {[]string{"--enable-feature=native-histograms"}, "histogram_count(openaccess_mcp_operation_duration_seconds" + commands + ")"},
	} {
		at := prometheus(t, log.monitorURL(t), tc.flags...)
		waitUntil(t, kind+" histograms have arrived", func() bool {
			v := query(t, at, tc.count)
			return v != nil && v[1] == "30"
		})
		if v := query(t, at, `up{job="openaccess-mcp"}`); v == nil || v[1] != "1" {
			t.Errorf("%s: up is %v", kind, v)
		}
		checkRules(t, at)
	}
}

// checkRules waits until every rule was evaluated, and wants none to have failed or to fire on a server that is well.
func checkRules(t *testing.T, prometheus string) {
	t.Helper()
	var rules []string
	waitUntil(t, "the rules are evaluated", func() bool {
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, State, LastError string }
				}
			}
		}
		if err := json.Unmarshal([]byte(get(t, prometheus+"/api/v1/rules", nil).body), &answer); err != nil {
			t.Fatal(err)
		}
		rules = nil
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				rules = append(rules, strings.Join([]string{r.Name, r.Health, r.State, r.LastError}, " "))
			}
		}
		return len(rules) > 0 && !slices.ContainsFunc(rules, func(r string) bool { return strings.Contains(r, " unknown ") })
	})
	for _, r := range rules {
		if !strings.HasSuffix(r, " ok inactive ") {
			t.Errorf("rule %s", r)
		}
	}
	if len(rules) < 15 {
		t.Errorf("only %d rules", len(rules))
	}
}
