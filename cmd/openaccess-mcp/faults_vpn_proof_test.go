//go:build proof && linux

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/wgpeer"
)

// vpnFault is a cell of a WireGuard peer. up has it be up before.
type vpnFault struct {
	operation, fault, moment string
	up, started, short       bool
	wrong                    bool   // the profile names another peer's key
	action                   string // of the toggle; "" runs a command on the host behind the peer
	strike                   func(v *vpnRig, t *testing.T, id string)
	want                     string
}

var vpnFaults = []vpnFault{
	{operation: "vpn up", fault: "silent peer", moment: "in handshake", action: "up", strike: (*vpnRig).silence, want: "TIMEOUT"},
	{operation: "vpn up", fault: "dead peer", moment: "in handshake", action: "up", strike: (*vpnRig).die, want: notDone},
	{operation: "vpn up", fault: "wrong key", moment: "in handshake", action: "up", wrong: true, strike: func(*vpnRig, *testing.T, string) {}, want: "TIMEOUT", short: true},
	{operation: "vpn up", fault: "dead peer", moment: "when up", up: true, action: "up", strike: (*vpnRig).die, want: "ok", short: true}, // it stays so
	{operation: "vpn down", fault: "silent peer", moment: "when up", up: true, action: "down", strike: (*vpnRig).silence, want: "ok", short: true},
	{operation: "vpn down", fault: "dead peer", moment: "when up", up: true, action: "down", strike: (*vpnRig).die, want: "ok"},
	{operation: "ssh_exec inside", fault: "silent peer", moment: "channel open", up: true, strike: (*vpnRig).silence, want: unsure},
	{operation: "ssh_exec inside", fault: "dead peer", moment: "channel open", up: true, strike: (*vpnRig).die, want: unsure, short: true},
	{operation: "ssh_exec inside", fault: "silent peer", moment: "after start", up: true, started: true, strike: (*vpnRig).silence, want: "OUTCOME_UNKNOWN", short: true},
	{operation: "ssh_exec inside", fault: "dead peer", moment: "after start", up: true, started: true, strike: (*vpnRig).die, want: "OUTCOME_UNKNOWN"},
}

// vpnRig is a WireGuard peer behind a relay of packets, with a host behind it, which is all that the faults of its cells concern.
type vpnRig struct {
	*rig
	outer   *fakeHost
	inside  *counter
	peer    *wgpeer.Peer
	packets *relay
}

// runVPNFaults makes the cells of the WireGuard peer, or the short form's.
func runVPNFaults(t *testing.T, r *rig, outer *fakeHost, whole bool) []outcome {
	v := &vpnRig{rig: r, outer: outer, inside: newCounter()}
	v.peer = wgpeer.Start(wgpeer.Options{Host: fakessh.Options{Handlers: map[string]fakessh.Handler{"count": v.inside.handle}}})
	t.Cleanup(func() {
		if err := v.peer.Close(); err != nil {
			t.Error(err)
		}
	})
	v.packets = newRelay(t, v.peer.Endpoint())
	var outcomes []outcome
	for _, f := range vpnFaults {
		if whole || f.short {
			unmade := outcome{operation: f.operation, fault: f.fault, moment: f.moment, deadline: patience + slack, failed: true}
			cell(t, &outcomes, unmade, func(t *testing.T) outcome { return v.run(t, f, unmade) })
		}
	}
	return outcomes
}

func (v *vpnRig) run(t *testing.T, f vpnFault, result outcome) outcome {
	v.cells++
	id := fmt.Sprintf("vpn-%d", v.cells)
	key := v.peer.PublicKey()
	if f.wrong {
		key = strangersPeer(t)
	}
	v.write(t, id, key)
	v.await(t, id+"-inside")
	if f.up {
		if up := v.toggle(t, id, "up"); up.code != "" {
			t.Fatalf("before the fault: %+v", up)
		}
		if got := v.exec(t, id); got.code != "" {
			t.Fatalf("before the fault: %+v", got)
		}
	}
	before := v.inside.begun(id)
	result.answer, result.took = v.meetVPN(t, f, id)
	result.deeds.begun = v.inside.begun(id) - before
	if !among(result.code, f.want) {
		t.Errorf("%v answers %s: %s; want %s", result, result.code, result.said, f.want)
	}
	if n := result.deeds.begun; n > 1 || n > 0 != f.started || f.action != "" && n > 0 {
		t.Errorf("%v: the command began %d times", result, n)
	}
	v.packets.heal(t)
	v.write(t, id, v.peer.PublicKey())
	again := operation{name: "the whole way through the peer", do: func(t *testing.T, _ *rig, id string) answer {
		if up := v.toggle(t, id, "up"); up.code != "" {
			return up
		}
		return v.exec(t, id)
	}}
	result.next = v.works(t, again, id)
	if n := v.inside.begun(id) - before; result.next > 0 && n > 1+result.next {
		t.Errorf("%v: with the %d calls after it the command began %d times", result, result.next, n)
	}
	if down := v.toggle(t, id, "down"); down.code != "" {
		t.Errorf("down: %+v", down)
	}
	v.atRest(t)
	for _, name := range []string{id, id + "-inside"} {
		must(t, os.Remove(filepath.Join(v.dir, "profiles", name+".json")))
	}
	result.failed = t.Failed()
	return result
}

// meetVPN has the cell's operation meet its fault.
func (v *vpnRig) meetVPN(t *testing.T, f vpnFault, id string) (answer, time.Duration) {
	do := func() answer { return v.exec(t, id) }
	if f.action != "" {
		do = func() answer { return v.toggle(t, id, f.action) }
	}
	if !f.started {
		f.strike(v, t, id)
		start := time.Now()
		return do(), time.Since(start)
	}
	before := v.inside.begun(id)
	v.inside.hold(t)
	answers := make(chan answer, 1)
	start := time.Now()
	go func() { answers <- do() }()
	for v.inside.begun(id) == before {
		select {
		case got := <-answers:
			v.inside.release(t)
			t.Errorf("the call ends before its command begins: %+v", got)
			return got, time.Since(start)
		case <-time.After(5 * time.Millisecond):
		}
	}
	f.strike(v, t, id)
	v.inside.release(t)
	return <-answers, time.Since(start)
}

func (v *vpnRig) toggle(t *testing.T, id, action string) answer {
	got, _ := v.tool(t, "vpn_wireguard_toggle", id, map[string]any{"peer_id": wgpeer.PeerID, "action": action})
	return got
}

// exec runs the command on the host behind the peer.
func (v *vpnRig) exec(t *testing.T, id string) answer {
	got, data := v.tool(t, "ssh_exec", id+"-inside", map[string]any{"command": "count " + id, "timeout_seconds": patience.Seconds()})
	if got.code == "" && data["stdout"] != "done\n" {
		t.Errorf("ssh_exec says %v", data)
	}
	return got
}

// write writes the cell's profiles, with the relay in the peer's place.
func (v *vpnRig) write(t *testing.T, id, publicKey string) {
	t.Helper()
	draft, err := os.MkdirTemp("", "draft")
	must(t, err)
	defer os.RemoveAll(draft)
	must(t, v.peer.WriteProfile(draft, id, v.outer.host, v.dir))
	for _, name := range []string{"secrets/" + id + "-wireguard", "secrets/" + id, "secrets/" + id + "-inside", "profiles/" + id, "profiles/" + id + "-inside"} {
		text, err := os.ReadFile(filepath.Join(draft, name+".json"))
		must(t, err)
		if name == "profiles/"+id {
			text = v.relayed(t, text, publicKey)
		}
		place := filepath.Join(v.dir, name+".json")
		write(t, place+".new", string(text), 0o600)
		must(t, os.Rename(place+".new", place))
	}
}

func (v *vpnRig) relayed(t *testing.T, profile []byte, publicKey string) []byte {
	t.Helper()
	var doc map[string]any
	must(t, json.Unmarshal(profile, &doc))
	peer := doc["vpn"].(map[string]any)["peers"].([]any)[0].(map[string]any)
	peer["endpoint"], peer["public_key"] = v.packets.addr, publicKey
	text, err := json.Marshal(doc)
	must(t, err)
	return text
}

func (v *vpnRig) silence(*testing.T, string) { v.packets.mute(true) }

func (v *vpnRig) die(*testing.T, string) { v.packets.close() }

// strangersPeer is the public key of a peer that is not there.
func strangersPeer(t *testing.T) string {
	other := wgpeer.Start(wgpeer.Options{})
	must(t, other.Close())
	return other.PublicKey()
}

// relay is a UDP relay in front of a WireGuard peer.
type relay struct {
	addr string
	to   net.Addr

	mu    sync.Mutex
	muted bool
	near  *net.UDPConn // nil while it is closed
	wg    sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	addr, err := net.ResolveUDPAddr("udp", to)
	must(t, err)
	w := &relay{addr: steadyAddr(t), to: addr}
	w.heal(t)
	t.Cleanup(w.close)
	return w
}

// heal has all packets pass, also after close.
func (w *relay) heal(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted = false
	if w.near != nil {
		return
	}
	at, err := net.ResolveUDPAddr("udp", w.addr)
	must(t, err)
	near, err := net.ListenUDP("udp", at)
	must(t, err)
	far, err := net.DialUDP("udp", nil, w.to.(*net.UDPAddr))
	must(t, err)
	w.near = near
	w.wg.Go(func() { w.pass(near, far) })
}

// mute drops all packets, or none.
func (w *relay) mute(muted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.muted = muted
}

func (w *relay) drops() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.muted
}

// close has nobody listen any more.
func (w *relay) close() {
	w.mu.Lock()
	if w.near != nil {
		w.near.Close()
		w.near = nil
	}
	w.mu.Unlock()
	w.wg.Wait()
}

// pass passes packets on until near is closed. They go back to who sent the latest.
func (w *relay) pass(near, far *net.UDPConn) {
	var mu sync.Mutex
	var client *net.UDPAddr
	var back sync.WaitGroup
	back.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := far.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			to := client
			mu.Unlock()
			if to != nil && !w.drops() {
				_, _ = near.WriteToUDP(b[:n], to)
			}
		}
	})
	b := make([]byte, 1<<16)
	for {
		n, from, err := near.ReadFromUDP(b)
		if err != nil {
			break
		}
		mu.Lock()
		client = from
		mu.Unlock()
		if !w.drops() {
			_, _ = far.Write(b[:n])
		}
	}
	far.Close()
	back.Wait()
}
