// Package cmd holds the programs, and here the test of which package may import which.
package cmd

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/openaccess-mcp/openaccess-mcp/"

// only says who alone may import a package: everyone else's direct import is an error, for the reason given.
var only = []struct {
	imported string // a path, or a prefix when it ends in "/"
	by       []string
	why      string
}{
	{"github.com/mark3labs/mcp-go/", []string{"server", "server/gateway", "loadgen/driver"}, "one place for each side of the protocol"},
	{"mvdan.cc/sh/", []string{"server/internal/policy"}, "one place reads shell"},
	{"golang.org/x/crypto/ssh", []string{"server/internal/pool", "server/internal/remote", "server/internal/profile", "server/internal/secret",
		"loadgen/driver", "fakessh"}, "SSH is behind the pool"},
	{"golang.org/x/crypto/ssh/", []string{"server/internal/profile", "server/internal/secret", "fakessh"}, "SSH is behind the pool"},
	{"gvisor.dev/", []string{"server/internal/vpn", "fakessh/wgpeer"}, "a heavy dependency"},
	{"golang.zx2c4.com/wireguard/", []string{"server/internal/vpn", "fakessh/wgpeer"}, "a heavy dependency"},
	{"github.com/prometheus/", []string{"server/internal/metrics"}, "one place for what scrapers read"},
	{"github.com/google/pprof/", []string{"cmd/loadgen"}, "profiles are merged where they are taken"},
	{"net/http/pprof", []string{"server"}, "it is served on loopback only, when asked for"},
	{"database/sql", []string{"server/internal/audit", "reports/history"}, "only these keep records"},
	{"modernc.org/", []string{"server/internal/audit", "reports/history"}, "only these keep records"},
	{"github.com/jackc/", []string{"server/internal/audit", "reports/history"}, "only these keep records"},
	{"gonum.org/v1/plot", []string{"reports/chart", "reports/history"}, "a heavy dependency"},
	{"gonum.org/v1/plot/", []string{"reports/chart", "reports/history"}, "a heavy dependency"},
	{"github.com/golang-jwt/", []string{"server/internal/access"}, "one place decides who a caller is"},
	{"github.com/MicahParks/", []string{"server/internal/access"}, "one place decides who a caller is"},
	{"github.com/fsnotify/", []string{"server/internal/profile"}, "only profiles and secrets are watched"},
	{"testing", nil, "shipped packages do not carry the test framework"},
	{"testing/", nil, "shipped packages do not carry the test framework"},
}

// allowed says what the packages under a prefix may import of this module. A package that no entry covers may not exist: the layout is
// part of the design.
var allowed = []struct {
	pkg     string   // a path, or a prefix when it ends in "/"
	imports []string // likewise
	why     string
}{
	{"cmd", nil, "holds only the test of imports"},
	{"cmd/", []string{"server", "server/gateway", "fakessh", "fakessh/memfs", "fakessh/netem", "fakessh/wgpeer", "loadgen", "loadgen/", "scenarios", "reports", "reports/"},
		"programs join the public packages"},
	{"server", []string{"server/internal/"}, "a server knows neither its load nor its fake"},
	{"server/gateway", []string{"server/internal/"}, "a server knows neither its load nor its fake"},
	{"server/internal/remote", []string{"server/internal/pool", "server/internal/profile", "server/internal/admission", "server/internal/metrics", "server/internal/rsyncshell"},
		"remote work stands on the pool"},
	{"server/internal/pool", []string{"server/internal/profile", "server/internal/admission", "server/internal/metrics"}, "the pool dials profiles' targets"},
	{"server/internal/secret", []string{"server/internal/plainjson"}, "secrets are mostly JSON"},
	{"server/internal/profile", []string{"server/internal/secret", "server/internal/cache", "server/internal/plainjson"}, "a profile resolves to a target with its credential"},
	{"server/internal/vpn", []string{"server/internal/secret"}, "a peer has a key"},
	{"server/internal/rsyncshell", []string{"server/internal/rsyncshell/helper"}, "the helper is alone so that it starts at once"},
	{"server/internal/access", []string{"server/internal/loopback", "server/internal/strictyaml"}, "who comes from this machine need not say who they are"},
	{"server/internal/", nil, "policy, audit, plainjson, strictyaml, admission, cache and metrics are leaves"},
	{"fakessh/memfs", nil, "a leaf"},
	{"fakessh/netem", nil, "a leaf"},
	{"fakessh/wgpeer", []string{"fakessh"}, "behind a fake peer is a fake host"},
	{"fakessh", []string{"fakessh/"}, "a fake that shares code with its subject shares its bugs"},
	{"loadgen/stats", nil, "algorithms without input or output"},
	{"loadgen/driver", []string{"loadgen", "loadgen/stats"}, "drivers serve the generator"},
	{"loadgen", []string{"loadgen/stats"}, "the generator knows no driver, server or report"},
	{"scenarios", []string{"loadgen"}, "a scenario is a plan"},
	{"reports/result", []string{"loadgen", "loadgen/stats"}, "a document is made of a run"},
	{"reports/gate", []string{"reports/result", "loadgen/stats"}, "a gate judges documents"},
	{"reports/history", []string{"reports/result", "loadgen/stats"}, "a history is of documents"},
	{"reports/chart", []string{"loadgen/stats"}, "a chart is of figures, not of documents"},
	{"reports", []string{"reports/", "loadgen", "loadgen/stats"}, "renderers read documents"},
}

func TestImportRules(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		pkg := strings.TrimPrefix(fields[0], module)
		packages++
		for _, imported := range fields[1:] {
			if own, ok := strings.CutPrefix(imported, module); ok {
				checkOwn(t, pkg, own)
			} else {
				checkForeign(t, pkg, imported)
			}
		}
		if ruleFor(pkg) < 0 {
			t.Errorf("%s is not in the layout; add it to the rules with its reason", pkg)
		}
	}
	if packages < 15 {
		t.Errorf("go list found only %d packages", packages)
	}
}

func checkForeign(t *testing.T, pkg, imported string) {
	for _, rule := range only {
		if matches(rule.imported, imported) && !matchesAny(rule.by, pkg) {
			t.Errorf("%s imports %s, which only %v may: %s", pkg, imported, rule.by, rule.why)
		}
	}
}

func checkOwn(t *testing.T, pkg, imported string) {
	i := ruleFor(pkg)
	if i >= 0 && !matchesAny(allowed[i].imports, imported) {
		t.Errorf("%s imports %s, but may import only %v: %s", pkg, imported, allowed[i].imports, allowed[i].why)
	}
}

// ruleFor finds the first rule for pkg, or -1. Rules for one package come before rules for all under a prefix.
func ruleFor(pkg string) int {
	for i, rule := range allowed {
		if matches(rule.pkg, pkg) {
			return i
		}
	}
	return -1
}

func matches(pattern, path string) bool {
	return path == pattern || strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern)
}

func matchesAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}
