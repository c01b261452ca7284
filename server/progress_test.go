package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestProgressIsSparse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		p := &progress{token: "tok", highest: -1, send: func(method string, params map[string]any) error {
			got = append(got, fmt.Sprintf("%s %v %s", method, params, time.Since(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC))))
			return nil
		}}
		for i := range int64(100) {
			p.report(i, 100, "")
			time.Sleep(5 * time.Millisecond)
		}
		p.report(50, 100, "a report that is late")
		p.end()
		p.report(100, 100, "after the end")
		want := []string{
			"notifications/progress map[progress:0 progressToken:tok total:100] 0s",
			"notifications/progress map[progress:40 progressToken:tok total:100] 200ms",
			"notifications/progress map[progress:80 progressToken:tok total:100] 400ms",
			"notifications/progress map[progress:99 progressToken:tok total:100] 500ms",
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

func TestNoProgressTokenIsFree(t *testing.T) {
	c := &call{}
	if n := testing.AllocsPerRun(10, func() { c.progress(1, 2, "x"); c.reporter.end() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestProgressOfATransfer wants notifications on both transports in both generations of the protocol, and none without a token.
func TestProgressOfATransfer(t *testing.T) {
	const modern = `"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}`
	for _, tc := range []struct{ name, meta string }{
		{"2025-11-25", `"progressToken":"tok"`},
		{"2026-07-28", `"progressToken":7,` + modern},
		{"no token", `"x":1`},
		{"2026-07-28 without", modern},
	} {
		f := start(t, fakessh.Options{Latency: fakessh.Latency{SFTP: fakessh.Fixed(5 * time.Millisecond)}}, nil)
		mustWrite(t, filepath.Join(f.dir, "src"), strings.Repeat("x", 20<<20))
		call := fmt.Sprintf(`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sftp_transfer","_meta":{%s},"arguments":`+
			`{"profile_id":"fake","direction":"upload","local_path":%q,"remote_path":"/dst"}}}`, tc.meta, filepath.Join(f.dir, "src"))
		want := ""
		if strings.Contains(tc.meta, "progressToken") {
			want, _, _ = strings.Cut(strings.TrimPrefix(tc.meta, `"progressToken":`), ",")
		}
		t.Run("stdio "+tc.name, func(t *testing.T) {
			var out syncBuffer
			in := initialize + "\n" + `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n" + call + "\n"
			if err := f.server.Run(t.Context(), Stdio(strings.NewReader(in), &out)); err != nil {
				t.Fatal(err)
			}
			wantProgress(t, out.String(), want)
		})
		t.Run("http "+tc.name, func(t *testing.T) {
			srv := web(t, f)
			defer http.DefaultClient.CloseIdleConnections()
			header := map[string]string{"Mcp-Session-Id": post(t, srv.URL+"/mcp", initialize, nil).header.Get("Mcp-Session-Id")}
			if strings.Contains(tc.meta, "2026") {
				header = map[string]string{"Mcp-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": "sftp_transfer"}
			}
			wantProgress(t, post(t, srv.URL+"/mcp", call, header).body, want)
		})
	}
}

// wantProgress looks for notifications with the token that grow up to the whole, before the result.
func wantProgress(t *testing.T, out, token string) {
	t.Helper()
	var done []float64
	result := false
	for line := range strings.Lines(out) {
		var m struct {
			ID     int
			Method string
			Params struct {
				ProgressToken   json.RawMessage
				Progress, Total float64
			}
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &m) != nil {
			continue
		}
		result = result || m.ID == 2
		if m.Method != "notifications/progress" {
			continue
		}
		if string(m.Params.ProgressToken) != token || m.Params.Total != 20<<20 || result {
			t.Errorf("%s (the result has come: %v)", line, result)
		}
		done = append(done, m.Params.Progress)
	}
	if token == "" && len(done) > 0 || token != "" && (len(done) < 2 || done[len(done)-1] != 20<<20) || !slices.IsSorted(done) || !result {
		t.Errorf("progress %v, result %v in %.300s", done, result, out)
	}
}
