//go:build (proof || realssh) && linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// strike makes a fault happen, arms it, or ends it.
type strike func(t *testing.T, r *rig, o operation, profile string)

// fault is something that goes wrong at a moment. warm has the server be connected to the host before; strike is called before the operation unless started
// says that it waits for the command to have begun.
type fault struct {
	name, moment  string
	warm, started bool
	times         int                    // calls at once; 0 is one
	of            func(o operation) bool // nil is every operation
	can           func(r *rig) error     // why this machine does not let it be made; nil is never
	strike        strike
	mend          strike // beside the wire, which always heals
	want          string // codes that are true
	says          string // what the tunnel says of itself, where it is used
	short         bool   // belongs to the short form
}

const (
	notDone = "CONNECTION_FAILED TIMEOUT" // nothing was done, and the server says so
	unsure  = "OUTCOME_UNKNOWN " + notDone
	full    = "LIMIT_EXCEEDED"
)

func moves(o operation) bool { return o.payload >= 0 }

func stores(o operation) bool { return o.files > 0 }

func fetches(o operation) bool { return o.payload == down }

func isExec(o operation) bool { return o.name == "ssh_exec" }

// meets reports whether the fault makes sense for the operation. A tunnel is used over a connection that is there, and its client waits for the server to
// accept it, which one without descriptors does not.
func (f fault) meets(o operation) bool {
	if o.uses() && (!f.warm || f.name == "no descriptors") {
		return false
	}
	return f.of == nil || f.of(o)
}

// wants are the codes that are true for the operation. What goes through a tunnel has no code: the connection ends.
func (f fault) wants(r *rig, o operation) string {
	switch {
	case o.uses() && among("CONNECTION_FAILED", f.want):
		return f.want + " " + closedCode
	case f.name == "full disk":
		return string(r.host.fullCode())
	}
	return f.want
}

func wireNow(what int) strike {
	return func(_ *testing.T, r *rig, _ operation, _ string) { r.wire.now(what) }
}

func wireAfter(direction int, bytes int64, what int) strike {
	return func(_ *testing.T, r *rig, _ operation, _ string) { r.wire.arm(direction, bytes, what, nil) }
}

// midway arms the wire for the middle of a transfer.
func midway(what int) strike {
	return func(_ *testing.T, r *rig, o operation, _ string) { r.wire.arm(o.payload, payload/2, what, nil) }
}

func refuse(_ *testing.T, r *rig, _ operation, _ string) { r.wire.refuse() }

func wrongKey(t *testing.T, r *rig, _ operation, profile string) {
	r.host.profile(t, r.dir, profile, r.wire.port(), false)
}

func rightKey(t *testing.T, r *rig, _ operation, profile string) {
	r.host.profile(t, r.dir, profile, r.wire.port(), true)
}

func fillDisk(t *testing.T, r *rig, _ operation, _ string) { r.host.fill(t, r) }

func drainDisk(t *testing.T, r *rig, _ operation, _ string) { r.host.drain(t) }

func killHost(t *testing.T, r *rig, _ operation, _ string) { r.host.kill(t) }

func reviveHost(t *testing.T, r *rig, _ operation, _ string) { r.host.revive(t) }

func restartHost(t *testing.T, r *rig, _ operation, _ string) {
	r.host.kill(t)
	r.host.revive(t)
}

// toSmall has downloads go to a file system that has no room for them.
func toSmall(t *testing.T, r *rig, _ operation, _ string) {
	var err error
	r.into, err = r.small()
	must(t, err)
}

func toRoomy(_ *testing.T, r *rig, _ operation, _ string) { r.into = r.dir }

func canMount(r *rig) error {
	_, err := r.small()
	return err
}

// jump stops the server for longer than its keepalive waits: to it, the clock jumps, as when a machine was suspended.
func jump(t *testing.T, r *rig, _ operation, _ string) {
	r.signal(t, syscall.SIGSTOP)
	time.Sleep(silence + 2*time.Second)
	r.signal(t, syscall.SIGCONT)
}

func noDescriptors(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, true) }

func someDescriptors(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, false) }

func noMemory(t *testing.T, r *rig, _ operation, _ string) { r.starve(t, true) }

func someMemory(t *testing.T, r *rig, _ operation, _ string) { r.starve(t, false) }

// starve has the output of a command take more memory than the server may use, or ends that.
func (r *rig) starve(t *testing.T, starve bool) {
	t.Helper()
	megabytes := plenty
	if starve {
		r.sate = r.devour(t)
		megabytes = scarce
	} else {
		r.sate()
	}
	r.memory(t, megabytes)
	r.signal(t, syscall.SIGHUP)
	r.until(t, fmt.Sprintf("the server refuses for want of memory: %v", starve), func(s *server.StatsData) bool { return s.Memory.Refusing == starve })
}

// devour has a command run whose output the server holds until the returned function is called.
func (r *rig) devour(t *testing.T) (sate func()) {
	t.Helper()
	const id = "greedy"
	r.host.profile(t, r.dir, id, r.wire.port(), true)
	r.await(t, id)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		call[server.ExecData](ctx, t, r.session, "ssh_exec", map[string]any{"profile_id": id, "command": r.host.greedy(), "max_output_bytes": greed, "timeout_seconds": 600})
	}()
	r.until(t, "the command runs that takes the memory", func(s *server.StatsData) bool { return s.Running > 0 })
	return func() {
		cancel()
		<-ended
		must(t, os.Remove(filepath.Join(r.dir, "profiles", id+".json")))
	}
}

// faultTable are the faults that every host meets.
var faultTable = []fault{
	{name: "refuse", moment: "before dial", strike: refuse, want: notDone, short: true},
	{name: "stall", moment: "before dial", strike: wireNow(stalls), want: notDone},
	{name: "cut", moment: "before dial", strike: wireNow(cuts), want: notDone},
	{name: "slow", moment: "before dial", strike: wireNow(slows), want: "ok"},
	{name: "stall", moment: "in handshake", strike: wireAfter(down, 300, stalls), want: notDone},
	{name: "cut", moment: "in handshake", strike: wireAfter(down, 300, cuts), want: notDone, short: true},
	{name: "wrong key", moment: "in handshake", strike: wrongKey, mend: rightKey, want: "HOST_KEY_MISMATCH", short: true},
	{name: "stall", moment: "channel open", warm: true, strike: wireAfter(up, 1, stalls), want: "ok " + unsure},
	{name: "cut", moment: "channel open", warm: true, strike: wireAfter(up, 1, cuts), want: "ok " + unsure, short: true},
	{name: "slow", moment: "channel open", warm: true, strike: wireNow(slows), want: "ok"},
	{name: "stall", moment: "mid-transfer", warm: true, of: moves, strike: midway(stalls), want: "ok " + unsure},
	{name: "cut", moment: "mid-transfer", warm: true, of: moves, strike: midway(cuts), want: "ok " + unsure, short: true},
	{name: "slow", moment: "mid-transfer", warm: true, of: moves, strike: midway(slows), want: "ok"},
	{name: "full disk", moment: "mid-transfer", warm: true, of: stores, strike: fillDisk, mend: drainDisk, short: true}, // wants tells what it wants
	{name: "full disk here", moment: "mid-transfer", warm: true, of: fetches, can: canMount, strike: toSmall, mend: toRoomy, want: full, short: true},
	{name: "stall", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(stalls), want: "OUTCOME_UNKNOWN", short: true},
	{name: "cut", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(cuts), want: "OUTCOME_UNKNOWN"},
	{name: "slow", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(slows), want: "ok"},
	// The server may call before it has learnt that the connection it has is dead, and then cannot know what became of a command.
	{name: "kill", moment: "before dial", warm: true, want: unsure, says: "the tunnel is reconnecting", strike: killHost, mend: reviveHost},
	{name: "kill", moment: "channel open", warm: true, want: "ok " + unsure, strike: restartHost},
	{name: "kill", moment: "mid-transfer", warm: true, of: moves, want: "ok " + unsure, mend: restartHost, short: true,
		strike: func(t *testing.T, r *rig, o operation, _ string) {
			r.wire.arm(o.payload, payload/2, cuts, func() { r.host.kill(t) })
		}},
	{name: "kill", moment: "after start", warm: true, started: true, of: isExec, want: "OUTCOME_UNKNOWN", strike: killHost, mend: reviveHost, short: true},
	{name: "clock jump", moment: "channel open", warm: true, want: "ok", strike: jump},
	{name: "clock jump", moment: "after start", warm: true, started: true, of: isExec, want: "ok", strike: jump},
	{name: "no descriptors", moment: "before dial", want: full, short: true, strike: noDescriptors, mend: someDescriptors},
	{name: "no descriptors", moment: "channel open", warm: true, want: "ok " + full, short: true, strike: noDescriptors, mend: someDescriptors},
	{name: "no memory", moment: "before dial", want: full, strike: noMemory, mend: someMemory},
}
