//go:build (proof || realssh) && linux

package main

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// fault is something that goes wrong at a moment. warm has the server be connected to the host before; strike makes it happen, or arms it, and is called
// before the operation unless started says that it waits for the command to have begun; mend ends it.
type fault struct {
	name, moment  string
	warm, started bool
	of            func(o operation) bool // nil is every operation
	strike        func(t *testing.T, r *rig, o operation, profile string)
	mend          func(t *testing.T, r *rig, o operation, profile string) // beside the wire, which always heals
	want          string                                                  // codes that are true
	short         bool                                                    // belongs to the short form
}

const (
	notDone = "CONNECTION_FAILED TIMEOUT" // nothing was done, and the server says so
	unsure  = "OUTCOME_UNKNOWN " + notDone
)

func moves(o operation) bool { return o.payload >= 0 }

func sends(o operation) bool { return o.payload == up }

func isExec(o operation) bool { return o.name == "ssh_exec" }

func wireNow(what int) func(*testing.T, *rig, operation, string) {
	return func(_ *testing.T, r *rig, _ operation, _ string) { r.wire.now(what) }
}

func wireAfter(direction int, bytes int64, what int) func(*testing.T, *rig, operation, string) {
	return func(_ *testing.T, r *rig, _ operation, _ string) { r.wire.arm(direction, bytes, what) }
}

// midway arms the wire for the middle of a transfer.
func midway(what int) func(*testing.T, *rig, operation, string) {
	return func(_ *testing.T, r *rig, o operation, _ string) { r.wire.arm(o.payload, payload/2, what) }
}

var faultTable = []fault{
	{name: "refuse", moment: "before dial", strike: func(_ *testing.T, r *rig, _ operation, _ string) { r.wire.refuse() }, want: notDone, short: true},
	{name: "stall", moment: "before dial", strike: wireNow(stalls), want: notDone},
	{name: "cut", moment: "before dial", strike: wireNow(cuts), want: notDone},
	{name: "slow", moment: "before dial", strike: wireNow(slows), want: "ok"},
	{name: "stall", moment: "in handshake", strike: wireAfter(down, 300, stalls), want: notDone},
	{name: "cut", moment: "in handshake", strike: wireAfter(down, 300, cuts), want: notDone, short: true},
	{name: "wrong key", moment: "in handshake", want: "HOST_KEY_MISMATCH", short: true,
		strike: func(t *testing.T, r *rig, _ operation, profile string) {
			r.host.profile(t, r.dir, profile, r.wire.port(), false)
		},
		mend: func(t *testing.T, r *rig, _ operation, profile string) {
			r.host.profile(t, r.dir, profile, r.wire.port(), true)
		}},
	{name: "stall", moment: "channel open", warm: true, strike: wireAfter(up, 1, stalls), want: "ok " + unsure},
	{name: "cut", moment: "channel open", warm: true, strike: wireAfter(up, 1, cuts), want: "ok " + unsure, short: true},
	{name: "slow", moment: "channel open", warm: true, strike: wireNow(slows), want: "ok"},
	{name: "stall", moment: "mid-transfer", warm: true, of: moves, strike: midway(stalls), want: "ok " + unsure},
	{name: "cut", moment: "mid-transfer", warm: true, of: moves, strike: midway(cuts), want: "ok " + unsure, short: true},
	{name: "slow", moment: "mid-transfer", warm: true, of: moves, strike: midway(slows), want: "ok"},
	{name: "full disk", moment: "mid-transfer", warm: true, of: sends, want: "INTERNAL_ERROR CONNECTION_FAILED INVALID_PARAMETERS", short: true,
		strike: func(t *testing.T, r *rig, _ operation, _ string) { r.host.fill(t) },
		mend:   func(t *testing.T, r *rig, _ operation, _ string) { r.host.drain(t) }},
	{name: "stall", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(stalls), want: "OUTCOME_UNKNOWN", short: true},
	{name: "cut", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(cuts), want: "OUTCOME_UNKNOWN"},
	{name: "slow", moment: "after start", warm: true, started: true, of: isExec, strike: wireNow(slows), want: "ok"},
	{name: "kill", moment: "before dial", warm: true, want: notDone, strike: killHost, mend: reviveHost},
	{name: "kill", moment: "channel open", warm: true, want: "ok " + unsure, strike: func(t *testing.T, r *rig, o operation, p string) { killHost(t, r, o, p); r.host.revive(t) }},
	{name: "kill", moment: "after start", warm: true, started: true, of: isExec, want: "OUTCOME_UNKNOWN", strike: killHost, mend: reviveHost, short: true},
	{name: "clock jump", moment: "channel open", warm: true, want: "ok", strike: func(t *testing.T, r *rig, _ operation, _ string) { r.jump(t) }},
	{name: "clock jump", moment: "after start", warm: true, started: true, of: isExec, want: "ok", strike: func(t *testing.T, r *rig, _ operation, _ string) { r.jump(t) }},
	{name: "no descriptors", moment: "before dial", want: "LIMIT_EXCEEDED", short: true,
		strike: func(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, true) },
		mend:   func(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, false) }},
	{name: "no descriptors", moment: "channel open", warm: true, want: "ok LIMIT_EXCEEDED", short: true,
		strike: func(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, true) },
		mend:   func(t *testing.T, r *rig, _ operation, _ string) { r.descriptors(t, false) }},
	{name: "no memory", moment: "before dial", want: "LIMIT_EXCEEDED", strike: func(t *testing.T, r *rig, _ operation, _ string) { r.starve(t, true) },
		mend: func(t *testing.T, r *rig, _ operation, _ string) { r.starve(t, false) }},
}

func killHost(t *testing.T, r *rig, _ operation, _ string) { r.host.kill(t) }

func reviveHost(t *testing.T, r *rig, _ operation, _ string) { r.host.revive(t) }

// jump stops the server for longer than its keepalive waits: to it, the clock jumps, as when a machine was suspended.
func (r *rig) jump(t *testing.T) {
	r.signal(t, syscall.SIGSTOP)
	time.Sleep(3 * time.Second)
	r.signal(t, syscall.SIGCONT)
}

// starve has the server find that it has far too little memory, or enough again.
func (r *rig) starve(t *testing.T, starve bool) {
	r.memory(t, map[bool]int{true: 1, false: 1024}[starve])
	r.signal(t, syscall.SIGHUP)
	for deadline := time.Now().Add(cellDeadline); r.stats(t).Memory.Refusing != starve; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the server refuses for want of memory: want %v, %+v", starve, r.stats(t).Memory)
		}
	}
}

// outcome is what became of one cell.
type outcome struct {
	cell string
	answer
	begun int
	took  time.Duration
	next  int // calls until one worked again
}

// run makes one cell.
func (r *rig) run(t *testing.T, o operation, f fault) outcome {
	r.cells++
	profile := fmt.Sprintf("cell-%d", r.cells)
	r.host.profile(t, r.dir, profile, r.wire.port(), f.name != "wrong key")
	r.await(t, profile)
	if f.warm {
		if got := operations[0].do(t, r, profile); got.code != "" {
			t.Fatalf("before the fault: %+v", got)
		}
	}
	before := r.host.begun(profile)
	got, took := r.meet(t, o, f, profile)
	result := outcome{cell: o.name + " | " + f.name + " | " + f.moment, answer: got, begun: r.host.begun(profile) - before, took: took}
	if !among(got.code, f.want) {
		t.Errorf("%s answers %s: %s; want %s", result.cell, got.code, got.said, f.want)
	}
	r.countOnce(t, o, f, result)
	r.wire.heal(t)
	if f.mend != nil {
		f.mend(t, r, o, profile)
	}
	result.next = r.works(t, o, profile)
	r.atRest(t)
	must(t, os.Remove(filepath.Join(r.dir, "profiles", profile+".json")))
	return result
}

// await waits until the server has seen the profile.
func (r *rig) await(t *testing.T, profile string) {
	t.Helper()
	for deadline := time.Now().Add(cellDeadline); ; time.Sleep(10 * time.Millisecond) {
		env := call[server.ProfilesData](t.Context(), t, r.session, "profile_list", map[string]any{})
		if env.Data != nil && slices.ContainsFunc(env.Data.Profiles, func(p server.ProfileInfo) bool { return p.ID == profile }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the server does not see profile %s", profile)
		}
	}
}

// meet has the operation meet the fault.
func (r *rig) meet(t *testing.T, o operation, f fault, profile string) (answer, time.Duration) {
	if !f.started {
		f.strike(t, r, o, profile)
		start := time.Now()
		got := o.do(t, r, profile)
		return got, time.Since(start)
	}
	before := r.host.begun(profile)
	r.host.hold()
	answers := make(chan answer, 1)
	start := time.Now()
	go func() { answers <- o.do(t, r, profile) }()
	for deadline := time.Now().Add(cellDeadline); r.host.begun(profile) == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command does not begin")
		}
	}
	f.strike(t, r, o, profile)
	r.host.release()
	return <-answers, time.Since(start)
}

// countOnce holds the answer against what the host saw.
func (r *rig) countOnce(t *testing.T, o operation, f fault, got outcome) {
	if !isExec(o) {
		return
	}
	switch code := got.code; {
	case got.begun > 1:
		t.Errorf("%s: the command began %d times", got.cell, got.begun)
	case got.begun == 0 && code == "":
		t.Errorf("%s: success, and the command never began", got.cell)
	case got.begun == 1 && code != "" && code != server.CodeOutcomeUnknown:
		t.Errorf("%s: the command began, and the call says %s: %s", got.cell, code, got.said)
	}
}

// works repeats the operation until it works and returns how often that took: more than once only while the server keeps from a host that it could
// not reach.
func (r *rig) works(t *testing.T, o operation, profile string) int {
	t.Helper()
	var got answer
	for n := 1; n <= 20; n++ {
		if got = o.do(t, r, profile); got.code == "" {
			return n
		}
		time.Sleep(500 * time.Millisecond)
	}
	t.Errorf("%s does not work again: %+v", o.name, got)
	return 0
}

// faultReport is the table of all cells.
func faultReport(of string, outcomes []outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\noperation | fault | moment | answer | commands begun | seconds | calls until it worked again\n", of)
	for _, o := range outcomes {
		code := o.code
		if code == "" {
			code = "ok"
		}
		fmt.Fprintf(&b, "%s | %s | %d | %.1f | %d\n", o.cell, code, o.begun, o.took.Seconds(), o.next)
	}
	return b.String()
}

// runFaults makes all cells, or the short form's.
func runFaults(t *testing.T, r *rig, whole bool) []outcome {
	var outcomes []outcome
	for _, f := range faultTable {
		for _, o := range operations {
			if f.of != nil && !f.of(o) || !whole && !f.short {
				continue
			}
			t.Run(strings.NewReplacer(" ", "_").Replace(o.name+"/"+f.name+"/"+f.moment), func(t *testing.T) {
				outcomes = append(outcomes, r.run(t, o, f))
			})
		}
	}
	return outcomes
}

// wholeFaults says whether every cell is asked for.
func wholeFaults() bool { return os.Getenv("PROOF") == "whole" }

// keepReport writes the table to PROOF_DIR.
func keepReport(t *testing.T, name, text string) {
	t.Log("\n" + text)
	if dir := os.Getenv("PROOF_DIR"); dir != "" && wholeFaults() && !t.Failed() {
		write(t, filepath.Join(dir, name), text, 0o644)
	}
}

// strangersKey is a host key that nobody has.
func strangersKey(t *testing.T) string {
	_, key, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromSigner(key)
	must(t, err)
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

// port is where the wire listens.
func (w *wire) port() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, port, _ := net.SplitHostPort(w.addr)
	n, _ := strconv.Atoi(port)
	return n
}
