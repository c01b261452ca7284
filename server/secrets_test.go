package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// locked is a buffer for several goroutines.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// planted are secrets, and what must never be seen of them.
type planted struct {
	password, passphrase, wireguard, token string
	key                                    string // PEM
	jumpKey                                string // PEM, in a file of its own
}

func plant(t *testing.T) planted {
	t.Helper()
	key := func() string {
		_, private, _ := ed25519.GenerateKey(nil)
		block, err := ssh.MarshalPrivateKey(private, "planted")
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(block))
	}
	return planted{
		password: "pw-planted-1%s<&>é", passphrase: "phrase-planted-2", wireguard: "d2lyZWd1YXJkLXBsYW50ZWQtMTIzNDU2Nzg5MDEyMzQ=",
		key: key(), jumpKey: key(),
	}
}

// pieces are the texts whose sight is a leak.
func (p planted) pieces() []string {
	return secret.Patterns([]string{p.password, p.passphrase, p.wireguard, p.token, p.key, p.jumpKey})
}

// seen says where a secret shows, as it is or escaped for JSON.
func (p planted) seen(t *testing.T, where, text string) {
	t.Helper()
	for _, piece := range p.pieces() {
		escaped, _ := json.Marshal(piece)
		for _, form := range []string{piece, strings.Trim(string(escaped), `"`), fmt.Sprintf("%q", piece)} {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s shows the secret %q: …%.200s", where, piece, text[max(0, at-80):])
				return
			}
		}
	}
}

// TestSecretsAreNowhere plants secrets of every kind, has the host say them in every way it can, and callers too, and looks for them in the results,
// the log, the metrics and the record of calls.
func TestSecretsAreNowhere(t *testing.T) {
	p := plant(t)
	everything := strings.Join([]string{p.password, p.passphrase, p.wireguard, p.key, p.jumpKey}, "\n")
	leak := func(_ context.Context, c *fakessh.Command) int { // in small pieces, so that secrets cross their borders
		for _, w := range []io.Writer{c.Stdout, c.Stderr} {
			for piece := range slices.Chunk([]byte(everything), 5) {
				if _, err := w.Write(piece); err != nil {
					return 1
				}
			}
		}
		return 0
	}
	f := start(t, fakessh.Options{
		Handlers: map[string]fakessh.Handler{"leak": leak}, Users: map[string]fakessh.User{"u": {Password: p.password}},
	}, func(f *fixture) {
		write := func(name string, doc map[string]any) {
			text, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, filepath.Join(f.dir, "secrets", name+".json"), string(text))
		}
		write("fake", map[string]any{"username": "u", "password": p.password, "private_key": p.key, "passphrase": p.passphrase, "wireguard_private_key": p.wireguard})
		mustWrite(t, filepath.Join(f.dir, "secrets", "jump.pem"), p.jumpKey)
		write("jump", map[string]any{"username": "u", "password": p.password, "private_key_path": "jump.pem"})
		write("wrong", map[string]any{"username": "u", "password": p.passphrase})
		f.profile(t, "wrong", func(p map[string]any) { p["auth"] = map[string]any{"type": "file_ref", "ref": "wrong"} })
		f.profile(t, "jump", func(p map[string]any) { p["auth"] = map[string]any{"type": "file_ref", "ref": "jump"} })
		f.profile(t, "fake", func(p map[string]any) {
			p["jump"] = "jump"
			p["policy"] = map[string]any{"command_denylist": []string{"^rm"}, "read_only_commands": []string{"^leak"}, "local_roots": []string{f.dir}}
		})
	})
	f.server.Close()
	tokens := filepath.Join(f.dir, "tokens.yaml")
	var err error
	if p.token, err = NewToken(tokens, TokenOptions{Name: "ci"}); err != nil {
		t.Fatal(err)
	}
	var logged locked
	cfg := f.config()
	on := true
	cfg.Auth.Tokens, cfg.Audit = tokens, Audit{Enabled: &on, Path: filepath.Join(f.dir, "audit.db")}
	cfg.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	f.restart(t, cfg)
	srv := web(t, f)
	defer http.DefaultClient.CloseIdleConnections()
	call := func(tool string, a args) string {
		t.Helper()
		arguments, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		body := callAs(t, srv.URL, p.token, tool, string(arguments)).body
		p.seen(t, fmt.Sprintf("the result of %s", tool), body)
		return body
	}
	for range 2 { // the second is remembered
		if got := call("ssh_exec", args{"profile_id": "fake", "command": "leak", "caller": "bot " + p.password}); !strings.Contains(got, `"redacted":`) || !strings.Contains(got, secret.Mark) {
			t.Errorf("it does not say what was taken out: %s", got)
		}
	}
	for limit := range 50 { // a bound that cuts a secret in two must not show its half
		body := call("ssh_exec", args{"profile_id": "fake", "command": "leak", "max_output_bytes": limit})
		if strings.Contains(body, p.password[:8]) || strings.Contains(body, "phrase-plant") {
			t.Fatalf("max_output_bytes %d shows part of a secret: %s", limit, body)
		}
	}
	begun := call("ssh_exec", args{"profile_id": "fake", "command": "leak '" + p.password + "'", "background": true})
	_, rest, _ := strings.Cut(begun, `"job_id":"`)
	id, _, _ := strings.Cut(rest, `"`)
	for _, stream := range []string{"stdout", "stderr"} {
		var got string
		waitUntil(t, "the job has ended", func() bool {
			got = call("job_output", args{"job_id": id, "stream": stream, "wait_seconds": 5})
			return strings.Contains(got, `"eof":true`)
		})
		if !strings.Contains(got, secret.Mark) || !strings.Contains(got, `"redacted":`) {
			t.Errorf("the job's %s: %s", stream, got)
		}
	}
	call("job_status", args{"job_id": id})
	for _, a := range []args{
		{"profile_id": "wrong", "command": "true"},
		{"profile_id": "fake", "command": "rm " + p.password},
		{"profile_id": "fake", "command": "no-such-command " + p.password},
		{"profile_id": "fake", "command": "true", p.password: 1},
	} {
		call("ssh_exec", a)
	}
	call("sftp_transfer", args{"profile_id": "fake", "direction": "get", "local_path": "x", "remote_path": "none"})
	call("rsync_sync", args{"profile_id": "fake", "direction": "pull", "source": "none", "dest": f.dir, "engine": "sftp"})
	call("debug_performance", args{"operation": "all", "profile_id": "wrong", "iterations": 1})
	call("debug_performance", args{"operation": "all", "profile_id": "fake", "iterations": 1})
	call("vpn_wireguard_toggle", args{"profile_id": "fake", "peer_id": p.wireguard, "action": "up"})
	for _, tool := range []string{"profile_list", "server_stats", "tunnel_list"} {
		call(tool, nil)
	}
	call("server_health", args{"refresh": true})
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/metrics", nil)
	req.Header.Set("Authorization", "Bearer "+p.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(metrics), "openaccess_mcp_jobs") {
		t.Errorf("no metrics: %s", metrics)
	}
	p.seen(t, "/metrics", string(metrics))
	f.server.Close()
	p.seen(t, "the log", logged.String())
	for _, file := range []string{"audit.db", "audit.db-wal"} {
		data, err := os.ReadFile(filepath.Join(f.dir, file))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		p.seen(t, file, string(data))
	}
	if logged.String() == "" {
		t.Error("nothing was logged")
	}
}

// TestSecretsDoNotPrint prints what holds secrets in all the ways that a log, an error or a crash might.
func TestSecretsDoNotPrint(t *testing.T) {
	p := plant(t)
	dir := t.TempDir()
	text, _ := json.Marshal(map[string]any{"username": "u", "password": p.password, "private_key": p.key, "passphrase": p.passphrase})
	mustWrite(t, filepath.Join(dir, "fake.json"), string(text))
	mustWrite(t, filepath.Join(dir, "fake.yml.broken"), string(text))
	c, err := (&secret.Resolver{Dir: dir}).Resolve(t.Context(), secret.Ref{Type: secret.TypeFile, Ref: "fake"})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, fakessh.Options{Users: map[string]fakessh.User{"u": {Password: p.password}}}, nil)
	target, err := f.server.profiles.Resolve(t.Context(), "fake")
	if err != nil {
		t.Fatal(err)
	}
	value := secret.NewValue(p.password)
	panicked := func(v any) (text string) {
		defer func() { text = fmt.Sprint(recover()) }()
		panic(v)
	}
	for name, v := range map[string]any{
		"a value": value, "a pointer to one": &value, "a credential": c, "what it is": *c, "a target": target, "what that is": *target,
		"a redactor": secret.NewRedactor(p.pieces()), "a call": struct{ hidden secret.Value }{value}, "the server": f.server.profiles,
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			p.seen(t, name+" by "+verb, fmt.Sprintf(verb, v))
		}
		p.seen(t, name+" in a panic", panicked(v))
		if data, err := json.Marshal(v); err == nil {
			p.seen(t, name+" as JSON", string(data))
		}
		var logged bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&logged, nil), slog.NewJSONHandler(&logged, nil)} {
			slog.New(h).Info("shown", "v", v)
		}
		p.seen(t, name+" in a log", logged.String())
	}
	if slices.Contains(p.pieces(), "") {
		t.Error("nothing was looked for")
	}
}
