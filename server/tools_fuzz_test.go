package server

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// Each tool's input: whatever the arguments are, the tool answers with a well-formed envelope, panics never, and goes to no host with arguments that it
// does not take.

func FuzzExecInput(f *testing.F) {
	fuzzTool(f, "ssh_exec", `{"profile_id":"fake","command":"ls -la","timeout_seconds":5,"pty":true,"sudo":false,"max_output_bytes":1024,"no_cache":true}`,
		`{"profile_id":"fake","command":"ls","dry_run":true,"change_ticket":"CHG-1","caller":"me"}`, `{"profile_id":"fake","command":"\u0000","timeout":-1}`)
}

func FuzzTransferInput(f *testing.F) {
	fuzzTool(f, "sftp_transfer", `{"profile_id":"fake","direction":"upload","local_path":"a","remote_path":"/b","checksum":true,"mode":"0644","recursive":false}`,
		`{"profile_id":"fake","direction":"get","local_path":"../../etc/passwd","remote_path":"/b\u0000","resume":true,"bandwidth_limit_kbps":1e300}`)
}

func FuzzSyncInput(f *testing.F) {
	fuzzTool(f, "rsync_sync", `{"profile_id":"fake","direction":"push","source":"d","dest":"/d","dry_run":false,"exclude":["*.log",""],"include":["/x"],"engine":"sftp"}`,
		`{"profile_id":"fake","direction":"pull","remote_path":"/d","local_path":"d","delete_extras":true,"plan_id":"x","engine":"warp"}`)
}

func FuzzTunnelCreateInput(f *testing.F) {
	fuzzTool(f, "tunnel_create", `{"profile_id":"fake","tunnel_type":"local","listen_host":"127.0.0.1","listen_port":0,"target_host":"127.0.0.1","target_port":80,"ttl_seconds":1}`,
		`{"profile_id":"fake","tunnel_type":"dynamic","listen_port":65536}`, `{"profile_id":"fake","tunnel_type":"remote","target_host":"[::1","target_port":-1,"ttl_seconds":1e9}`)
}

func FuzzTunnelCloseInput(f *testing.F) {
	fuzzTool(f, "tunnel_close", `{"tunnel_id":"x","dry_run":true}`)
}

func FuzzTunnelListInput(f *testing.F) { fuzzTool(f, "tunnel_list", `{"caller":"me"}`) }

func FuzzVPNInput(f *testing.F) {
	fuzzTool(f, "vpn_wireguard_toggle", `{"profile_id":"fake","peer_id":"lab","action":"up"}`, `{"profile_id":"fake","peer_id":7,"action":"sideways","dry_run":1}`)
}

func FuzzProfileListInput(f *testing.F) { fuzzTool(f, "profile_list", `{"caller":null}`, `{"tag":[]}`) }

func FuzzStatsInput(f *testing.F) { fuzzTool(f, "server_stats", `{"profile_id":"fake","reset":true}`) }

func FuzzHealthInput(f *testing.F) { fuzzTool(f, "server_health", `{"caller":"me"}`, `{"detail":9}`) }

func FuzzPerformanceInput(f *testing.F) {
	fuzzTool(f, "debug_performance", `{"operation":"ssh.exec","profile_id":"fake","iterations":1}`, `{"operation":"x","profile_id":"none","iterations":1e18}`)
}

// fuzzTool calls a tool with arguments made of the seeds. The host that its one profile names is gone, so that what is good ends when it is dialled.
func fuzzTool(f *testing.F, tool string, seeds ...string) {
	for _, seed := range append(seeds, `{}`, `{"profile_id":"none"}`, `{"profile_id":["fake"]}`, `{"profile_id":"../fake","x":{}}`) {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	host := fakessh.Start(fakessh.Options{})
	if err := host.WriteProfile(dir, "fake", dir); err != nil {
		f.Fatal(err)
	}
	if err := host.Close(); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o600); err != nil {
		f.Fatal(err)
	}
	s, err := New(Config{Profiles: filepath.Join(dir, "profiles"), Secrets: filepath.Join(dir, "secrets")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	f.Fuzz(func(t *testing.T, arguments []byte) {
		var object map[string]any
		if json.Unmarshal(arguments, &object) != nil {
			return // the protocol's reader refuses it, which FuzzStdio looks at
		}
		again, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		dials := s.pool.Stats().Dials + s.pool.Stats().DialFailures
		m := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, again)
		wantEnvelope(t, s.mcp.HandleMessage(t.Context(), m), func(code Code) {
			dialled := s.pool.Stats().Dials+s.pool.Stats().DialFailures != dials
			if dialled && slices.Contains([]Code{CodeInvalidParameters, CodePolicyViolation, CodeProfileNotFound}, code) {
				t.Errorf("%s is answered by %s, and the host was dialled", again, code)
			}
		})
	})
}

// wantEnvelope looks whether an answer holds a well-formed envelope, and hands on its code.
func wantEnvelope(t *testing.T, answer any, then func(Code)) {
	data, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Result struct {
			IsError bool            `json:"isError"`
			Content json.RawMessage `json:"structuredContent"`
		} `json:"result"`
	}
	var e struct {
		Success  *bool           `json:"success"`
		Data     json.RawMessage `json:"data"`
		Error    string          `json:"error"`
		Metadata *Metadata       `json:"metadata"`
	}
	if err := json.Unmarshal(data, &m); err != nil || m.Result.Content == nil {
		t.Fatalf("no envelope: %s (%v)", data, err)
	}
	if err := json.Unmarshal(m.Result.Content, &e); err != nil || e.Success == nil || e.Metadata == nil {
		t.Fatalf("no envelope: %s (%v)", m.Result.Content, err)
	}
	if *e.Success == m.Result.IsError || *e.Success != (e.Error == "") || *e.Success != (e.Metadata.ErrorCode == "") || e.Metadata.ErrorCode == CodeInternalError {
		t.Fatalf("the envelope contradicts itself, or the tool failed: %s", m.Result.Content)
	}
	then(e.Metadata.ErrorCode)
}
