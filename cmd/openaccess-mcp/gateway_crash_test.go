//go:build unix

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/server/gateway"
)

// TestGatewayUpgrade drains servers, ends them and starts them again, under load. No call without a session fails. Sessions are gone with their
// server, and of their calls only one that meets the closing of its connection has an unknown outcome.
func TestGatewayUpgrade(t *testing.T) {
	host := startCounted(t)
	servers := host.servers(t, 2)
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	configure := func(drained *process) {
		text := "listen: 127.0.0.1:0\nbackends:\n"
		for _, s := range servers {
			text += fmt.Sprintf("  - {url: %s, drain: %v}\n", s.url, s == drained)
		}
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	configure(nil)
	front := start(t, "gateway", "--config", config)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	attempts := startCallers(ctx, t, front.url, 16)
	var ended []kill
	for _, s := range servers {
		time.Sleep(300 * time.Millisecond)
		configure(s)
		_ = front.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, "the server is drained", func() bool { return front.of(s).State == gateway.Drained })
		k := kill{addr: s.addr(), from: time.Now()}
		s.end()
		k.to = time.Now()
		ended = append(ended, k)
		s.run()
		configure(nil)
		_ = front.cmd.Process.Signal(syscall.SIGHUP)
		eventually(t, "the server is ready again", func() bool { return front.of(s).State == gateway.Ready })
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	all, sessions, met := attempts(), 0, 0
	for _, a := range all {
		cut := slices.ContainsFunc(ended, func(k kill) bool {
			return a.code == "OUTCOME_UNKNOWN" && strings.Contains(a.text, k.addr) && !a.end.Before(k.from) && !a.start.After(k.to)
		})
		switch {
		case a.text == "":
		case a.stateful && strings.Contains(a.text, sessionGone):
			sessions++
		case a.stateful && cut:
			met++
		default:
			t.Errorf("failed: %+v", a)
		}
	}
	t.Logf("%d calls, %d of sessions that were gone, %d that met the closing of their connection", len(all), sessions, met)
	if twice := host.twice(); len(all) < 100 || sessions > 16 || met > 8 || len(twice) > 0 {
		t.Errorf("too many; these ran twice: %v", twice)
	}
	front.end()
}

// TestGatewaySurvivesItsServers is acceptance in short; TestProofGateway under the tag proof is the same, whole.
func TestGatewaySurvivesItsServers(t *testing.T) {
	r := crash(t, crashPlan{callers: 16, kills: 2, before: 300 * time.Millisecond, down: 300 * time.Millisecond, after: 700 * time.Millisecond})
	t.Log(r)
}

// crashPlan says how servers behind a gateway are killed under load.
type crashPlan struct {
	callers             int           // half of them in sessions of the older wire, half in the newer wire
	kills               int           // one server after another
	before, down, after time.Duration // load before a kill, until the server is started again, and after that
}

// attempt is one call as its caller saw it.
type attempt struct {
	stateful   bool
	start, end time.Time
	code, text string // empty for success
}

// kill is one server's death: its calls are lost between from and to.
type kill struct {
	addr            string
	from, to, again time.Time
	inFlight        int // calls that it had, as the gateway counts them, just before the signal
	lost            int
	more            int // calls that it was sent between that count and its death
}

// report is what a crash run saw.
type report struct {
	plan                 crashPlan
	calls                int
	kills                []kill
	lost, sessions, late int
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Three servers behind the gateway, %d callers (half in sessions, half without), %d calls.\n", r.plan.callers, r.calls)
	for i, k := range r.kills {
		fmt.Fprintf(&b, "  kill %2d: %s with %d requests in flight on it, and %d more until it was dead %v later; %d calls lost; back after %v\n", i+1, k.addr,
			k.inFlight, k.more, k.to.Sub(k.from).Round(time.Millisecond), k.lost, k.again.Sub(k.from).Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "Calls that failed with OUTCOME_UNKNOWN, all in flight on a killed server: %d\n", r.lost)
	fmt.Fprintf(&b, "Calls of sessions on a killed server, answered once each that the session is gone: %d\n", r.sessions)
	fmt.Fprintf(&b, "Other failures: 0. Failures later than two seconds after a kill: %d\n", r.late)
	fmt.Fprintf(&b, "Commands that ran twice on the host: 0\n")
	return b.String()
}

// crash runs the plan and judges what every caller saw.
func crash(t *testing.T, plan crashPlan) report {
	host := startCounted(t)
	servers := host.servers(t, 3)
	front := startGateway(t, servers)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	callers := startCallers(ctx, t, front.url, plan.callers)
	r := report{plan: plan}
	for i := range plan.kills {
		victim := servers[i%len(servers)]
		time.Sleep(plan.before)
		alive := front.of(victim)
		k := kill{addr: victim.addr(), inFlight: alive.InFlight, from: time.Now()}
		victim.kill()
		k.to = time.Now()
		dead := front.of(victim)
		k.more = int(dead.Requests - alive.Requests - (dead.Refused - alive.Refused))
		time.Sleep(plan.down)
		victim.run()
		k.again = time.Now()
		r.kills = append(r.kills, k)
		eventually(t, "the server is ready again", func() bool { return front.of(victim).State == gateway.Ready })
		served := front.of(victim).Requests
		eventually(t, "the server is given calls again", func() bool { return front.of(victim).Requests > served })
		time.Sleep(plan.after)
	}
	stop()
	r.judge(t, callers())
	if twice := host.twice(); len(twice) > 0 {
		t.Errorf("commands ran twice: %v", twice)
	}
	if s := front.status(); int(s.Unknown) != r.lost {
		t.Errorf("the gateway counts %d calls lost, the callers %d", s.Unknown, r.lost)
	}
	front.end()
	return r
}

// judge holds every failed call against the kills.
func (r *report) judge(t *testing.T, attempts []attempt) {
	t.Helper()
	r.calls = len(attempts)
	gone := make([]int, len(r.kills)) // sessions, by kill
	for _, a := range attempts {
		if a.text == "" {
			continue
		}
		i := r.cause(a)
		switch {
		case i < 0:
			t.Errorf("failed without a reason, %s: %+v", r.when(a), a)
			continue
		case a.code == "OUTCOME_UNKNOWN":
			r.lost++
			r.kills[i].lost++
		default:
			r.sessions++
			gone[i]++
		}
		if a.start.After(r.kills[i].from.Add(2 * time.Second)) {
			r.late++
		}
	}
	for i, k := range r.kills {
		if k.lost > k.inFlight+k.more {
			t.Errorf("kill %d: %d calls lost of %d and %d more that were in flight", i+1, k.lost, k.inFlight, k.more)
		}
		if gone[i] > r.plan.callers/2 {
			t.Errorf("kill %d: sessions were gone %d times, more than there were sessions", i+1, gone[i])
		}
	}
	if r.calls < 50*r.plan.kills || r.late > 0 {
		t.Errorf("%d calls, %d of them failed late", r.calls, r.late)
	}
}

// cause is the index of the latest kill that explains a failed call, and -1 where none does. Kills may be closer together than the two seconds
// in which a session learns that it is gone.
func (r *report) cause(a attempt) int {
	for i, k := range slices.Backward(r.kills) {
		switch {
		case a.end.Before(k.from):
		case a.code == "OUTCOME_UNKNOWN" && !a.start.After(k.to) && strings.Contains(a.text, k.addr):
			return i
		case a.stateful && strings.Contains(a.text, sessionGone) && a.start.Before(k.from.Add(2*time.Second)):
			return i
		}
	}
	return -1
}

// when tells a failed call's time relative to the kills.
func (r *report) when(a attempt) string {
	var b strings.Builder
	for i, k := range r.kills {
		fmt.Fprintf(&b, "begun %v and ended %v after kill %d of %s (dead %v later); ", a.start.Sub(k.from), a.end.Sub(k.from), i+1, k.addr, k.to.Sub(k.from))
	}
	return b.String()
}

// sessionGone is what a client is told that must begin a new session.
const sessionGone = "session not found"

// startCallers has n callers call until ctx ends. The function returned waits for them.
func startCallers(ctx context.Context, t *testing.T, url string, n int) (attempts func() []attempt) {
	var all []attempt
	var mu sync.Mutex
	var wg sync.WaitGroup
	var drivers []loadgen.Driver
	var ids atomic.Int64
	for _, protocol := range []string{driver.ProtocolStateful, driver.ProtocolStateless} {
		d, err := driver.HTTP(ctx, driver.HTTPConfig{URL: url, Client: driver.Client{Protocol: protocol}})
		if err != nil {
			t.Fatal(err)
		}
		drivers = append(drivers, d)
		for range n / 2 {
			wg.Go(func() {
				mine := callOn(ctx, d, protocol == driver.ProtocolStateful, &ids)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, mine...)
			})
		}
	}
	return func() []attempt {
		wg.Wait()
		for _, d := range drivers {
			_ = d.Close()
		}
		return all
	}
}

// callOn calls until ctx ends. Where its session is gone, it begins another, as the protocol wants of a client.
func callOn(ctx context.Context, d loadgen.Driver, stateful bool, ids *atomic.Int64) (all []attempt) {
	var session loadgen.Session
	for ctx.Err() == nil {
		a := attempt{stateful: stateful, start: time.Now()}
		var reply loadgen.Reply
		var err error
		if session == nil {
			if session, err = d.Open(context.WithoutCancel(ctx)); err != nil {
				a.end, a.text = time.Now(), "open: "+err.Error()
				all = append(all, a)
				continue
			}
		}
		reply, err = session.Call(context.WithoutCancel(ctx), loadgen.Call{Tool: "ssh_exec", Args: map[string]any{
			"profile_id": "fake", "command": fmt.Sprintf("once %d", ids.Add(1)),
		}})
		a.end, a.code, a.text = time.Now(), reply.Code, reply.Error
		if err != nil {
			a.text = err.Error()
		}
		if err != nil || strings.Contains(a.text, sessionGone) {
			_ = session.Close()
			session = nil
		}
		all = append(all, a)
	}
	if session != nil {
		_ = session.Close()
	}
	return all
}
