package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestNoop(t *testing.T) {
	s := NewNoop(Config{}, Noop{})
	defer s.Close()
	in, client := io.Pipe()
	answers, out := io.Pipe()
	served := make(chan error, 1)
	go func() { served <- s.Run(t.Context(), Stdio(in, out)) }()
	go io.WriteString(client, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"ssh.exec","arguments":{"profile_id":"any","command":"any"}}}`+"\n")
	var resp struct {
		ID     int
		Result struct{ StructuredContent Envelope[ExecData] }
	}
	if err := json.NewDecoder(answers).Decode(&resp); err != nil {
		t.Fatal(err)
	}
	if env := resp.Result.StructuredContent; resp.ID != 7 || !env.Success || env.Data == nil || env.Data.Stdout != "loadgen\n" || env.Data.ExitCode != 0 {
		t.Errorf("%+v", resp)
	}
	client.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestNoopAnswersOverHTTP(t *testing.T) {
	s := NewNoop(Config{}, Noop{})
	defer s.Close()
	req := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`))
	req.RemoteAddr = "127.0.0.1:1"
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "openaccess-mcp-noop") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}

func TestNoopDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := func(n Noop, calls int) (total time.Duration) {
			exec, start := n.exec(), time.Now()
			for range calls {
				if _, err := exec(t.Context(), nil); err != nil {
					t.Error(err)
				}
			}
			return time.Since(start)
		}
		if d := took(Noop{Delay: 20 * time.Millisecond}, 10); d != 200*time.Millisecond {
			t.Errorf("fixed: %v", d)
		}
		spread := Noop{Delay: 20 * time.Millisecond, Sigma: 0.5, Seed: 3}
		mean := took(spread, 1000) / 1000 // of a log-normal: median·exp(σ²/2)
		if mean < 21*time.Millisecond || mean > 24*time.Millisecond || mean != took(spread, 1000)/1000 {
			t.Errorf("log-normal: mean %v", mean)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := (Noop{Delay: time.Hour}).exec()(ctx, nil); err == nil {
			t.Error("a call outlives its context")
		}
	})
}

// TestNoopTool holds the tool of both servers together, since one scenario shall run on either.
func TestNoopTool(t *testing.T) {
	s := NewNoop(Config{}, Noop{})
	defer s.Close()
	tools := s.mcp.ListTools()
	if len(tools) != 1 || tools["ssh_exec"] == nil {
		t.Fatalf("tools %v", tools)
	}
	got, _ := json.Marshal(tools["ssh_exec"].Tool.InputSchema)
	want, _ := json.Marshal((&Server{}).execTool().Tool.InputSchema)
	if string(got) != string(want) || len(got) < len(`{"type":"object"}`) {
		t.Errorf("input schema %s, want %s", got, want)
	}
}
