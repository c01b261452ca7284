package pool

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

func TestDropVPN(t *testing.T) {
	var mu sync.Mutex
	var dialled []string
	_, p, direct := start(t, fakessh.Options{}, Config{Dial: func(ctx context.Context, target *profile.Target) (net.Conn, error) {
		mu.Lock()
		dialled = append(dialled, target.VPN)
		mu.Unlock()
		var d net.Dialer
		return d.DialContext(ctx, "tcp", target.Addr)
	}})
	inside := *direct
	inside.Key, inside.VPN = "inside", "gate/lab"
	behind := *direct
	behind.Key, behind.Jump = "behind", &inside
	for _, target := range []*profile.Target{direct, &inside, &behind} {
		mustRun(t, p, target, "echo hi", "hi\n")
	}
	if got := strings.Join(dialled, ","); got != ",gate/lab" {
		t.Errorf("dialled through %q", got)
	}
	p.DropVPN("gate/other")
	if open := p.Stats().Open; open != 3 {
		t.Errorf("%d connections are open after the end of another tunnel, want 3", open)
	}
	p.DropVPN("gate/lab")
	if open := p.Stats().Open; open != 1 {
		t.Errorf("%d connections are open after the end of the tunnel, want 1", open)
	}
	mustRun(t, p, &behind, "echo again", "again\n")
}

func TestNoWayIntoATunnel(t *testing.T) {
	_, p, direct := start(t, fakessh.Options{}, Config{})
	inside := *direct
	inside.Key, inside.VPN = "inside", "gate/lab"
	if _, err := run(t.Context(), p, &inside, "true"); err == nil || !strings.Contains(err.Error(), "no way into the tunnel gate/lab") {
		t.Errorf("got %v", err)
	}
}
