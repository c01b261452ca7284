//go:build (proof || realssh) && linux

package main

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// outcome is what became of one cell.
type outcome struct {
	operation, fault, moment string
	answer
	deadline, took time.Duration
	deeds          deeds // of the host, until the call had ended
	next           int   // calls until one worked again
	failed         bool
}

func (o outcome) String() string { return o.operation + " | " + o.fault + " | " + o.moment }

// run makes one cell.
func (r *rig) run(t *testing.T, o operation, f fault) (result outcome) {
	r.cells++
	profile := fmt.Sprintf("cell-%d", r.cells)
	result = outcome{operation: o.name, fault: f.name, moment: f.moment, deadline: o.deadline()}
	defer func() { result.failed = t.Failed() }()
	if f.can != nil {
		if err := f.can(r); err != nil {
			result.answer = answer{noneCode, err.Error()}
			t.Logf("%v is not tried on this machine: %v", result, err)
			return result
		}
	}
	r.host.profile(t, r.dir, profile, r.wire.port(), f.name != "wrong key")
	r.await(t, profile)
	r.leadUp(t, o, f, profile)
	before := r.host.did(t, profile)
	result.answer, result.took = r.meet(t, o, f, profile)
	result.deeds = r.host.did(t, profile).since(before)
	if want := f.wants(r, o); !among(result.code, want) {
		t.Errorf("%v answers %s: %s; want %s", result, result.code, result.said, want)
	}
	if f.says != "" && o.uses() && !strings.Contains(result.said, f.says) {
		t.Errorf("%v: %s; want that %s", result, result.said, f.says)
	}
	if result.took > result.deadline {
		t.Errorf("%v ended after %v; its deadline is %v", result, result.took, result.deadline)
	}
	countOnce(t, o, f, result)
	r.wire.heal(t)
	if f.mend != nil {
		f.mend(t, r, o, profile)
	}
	result.next = r.works(t, o, profile)
	if o.end != nil {
		o.end(t, r, profile)
	}
	r.atRest(t)
	r.host.quiet(t)
	countAll(t, o, f, result, r.host.did(t, profile).since(before))
	must(t, os.Remove(filepath.Join(r.dir, "profiles", profile+".json")))
	return result
}

// leadUp does what comes before the fault.
func (r *rig) leadUp(t *testing.T, o operation, f fault, profile string) {
	t.Helper()
	if o.lead != nil {
		o.lead(t, r, profile)
	}
	if f.warm {
		if got := doExec(t, r, profile); got.code != "" {
			t.Fatalf("before the fault: %+v", got)
		}
	}
}

// await waits until the server has seen the profile.
func (r *rig) await(t *testing.T, profile string) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(10 * time.Millisecond) {
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
		return r.atOnce(t, o, f.calls(), profile), time.Since(start)
	}
	before := r.host.begun(profile)
	r.host.hold(t)
	answers := make(chan answer, 1)
	start := time.Now()
	go func() { answers <- o.do(t, r, profile) }()
	for r.host.begun(profile) == before {
		select {
		case got := <-answers: // by its deadline
			r.host.release(t)
			t.Errorf("the call ends before its command begins: %+v", got)
			return got, time.Since(start)
		case <-time.After(5 * time.Millisecond):
		}
	}
	f.strike(t, r, o, profile)
	r.host.release(t)
	return <-answers, time.Since(start)
}

// calls is how many there are at once.
func (f fault) calls() int { return max(f.times, 1) }

// atOnce makes n calls at once and returns the first answer that is no success.
func (r *rig) atOnce(t *testing.T, o operation, n int, profile string) answer {
	answers := make(chan answer, n)
	for range n - 1 {
		go func() { answers <- o.do(t, r, profile) }()
	}
	answers <- o.do(t, r, profile)
	var worst answer
	for range n {
		if got := <-answers; worst.code == "" {
			worst = got
		}
	}
	return worst
}

// most is what a number of calls of the operation may have the host do.
func (o operation) most(calls int) deeds {
	switch {
	case isExec(o):
		return deeds{begun: calls}
	case o.uses():
		return deeds{forwarded: calls}
	case o.name == "tunnel_create":
		return deeds{listened: calls}
	}
	return deeds{created: calls * o.files, renamed: calls * o.files}
}

func (d deeds) exceed(most deeds) bool {
	return d.begun > most.begun || d.created > most.created || d.renamed > most.renamed || d.listened > most.listened || d.forwarded > most.forwarded
}

// countOnce holds the answer against what the host has done by then.
func countOnce(t *testing.T, o operation, f fault, got outcome) {
	t.Helper()
	did, most := got.deeds, o.most(f.calls())
	switch code := got.code; {
	case did.exceed(most):
		t.Errorf("%v: something was done twice: %+v, %+v", got, did, got.answer)
	case code == "" && did != most:
		t.Errorf("%v: success, and the host did %+v of %+v", got, did, most)
	case code != "" && code != server.CodeOutcomeUnknown && did.begun > 0:
		t.Errorf("%v: the command began, and the call says %s: %s", got, code, got.said)
	case code != "" && code != server.CodeOutcomeUnknown && o.files == 1 && did.renamed > 0:
		t.Errorf("%v: the file got its name, and the call says %s: %s", got, code, got.said)
	}
}

// countAll holds all calls of a cell against what the host did, now that it does nothing any more.
func countAll(t *testing.T, o operation, f fault, got outcome, did deeds) {
	t.Helper()
	if most := o.most(f.calls() + got.next); got.next > 0 && did.exceed(most) {
		t.Errorf("%v: with the %d calls after it the host did %+v, more than %+v", got, got.next, did, most)
	}
}

// works repeats the operation until it works and returns how often that took: more than once only while the server keeps from a host that it could
// not reach.
func (r *rig) works(t *testing.T, o operation, profile string) int {
	t.Helper()
	var got answer
	n := 0
	for deadline := time.Now().Add(soon); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		n++
		if got = o.do(t, r, profile); got.code == "" {
			return n
		}
	}
	t.Errorf("%s does not work again: %+v", o.name, got)
	return 0
}

// runFaults makes all cells of the faults, or the short form's.
func runFaults(t *testing.T, r *rig, faults []fault, whole bool) []outcome {
	var outcomes []outcome
	for _, f := range faults {
		for _, o := range operations {
			if !f.meets(o) || !whole && !f.short {
				continue
			}
			cell(t, &outcomes, outcome{operation: o.name, fault: f.name, moment: f.moment, deadline: o.deadline(), failed: true},
				func(t *testing.T) outcome { return r.run(t, o, f) })
		}
	}
	return outcomes
}

// cell makes one cell as a subtest, and notes what became of it. unmade is what is noted of one that breaks off.
func cell(t *testing.T, outcomes *[]outcome, unmade outcome, run func(t *testing.T) outcome) {
	t.Run(strings.NewReplacer(" ", "_").Replace(unmade.operation+"/"+unmade.fault+"/"+unmade.moment), func(t *testing.T) {
		*outcomes = append(*outcomes, unmade)
		(*outcomes)[len(*outcomes)-1] = run(t)
	})
}

// faultReport is the table of all cells, in Markdown.
func faultReport(of string, r *rig, outcomes []outcome) string {
	var b strings.Builder
	held, none := 0, 0
	for _, o := range outcomes {
		if !o.failed {
			held++
		}
		if o.code == noneCode {
			none++
		}
	}
	fmt.Fprintf(&b, "## %s\n\n%d of %d cells held", of, held-none, len(outcomes))
	if none > 0 {
		fmt.Fprintf(&b, "; %d could not be tried on this machine", none)
	}
	if r.before != nil {
		fmt.Fprintf(&b, ".\n\nThe server at rest after the first cell: %v.\nAfter the last: %v", r.before, r.after)
	}
	b.WriteString(".\n\n| operation | fault | moment | answer | seconds, of at most | on the host | calls until it worked again |\n|---|---|---|---|---|---|---|\n")
	for _, o := range outcomes {
		code := string(o.code)
		switch {
		case o.failed:
			code = "FAILED: " + code
		case code == "":
			code = "ok"
		case code == noneCode:
			code += ": " + o.said
		}
		fmt.Fprintf(&b, "| %v | %s | %.1f of %.0f | %s | %d |\n", o, code, o.took.Seconds(), o.deadline.Seconds(), o.deeds, o.next)
	}
	return b.String()
}

// String says what a host did; nothing is a dash.
func (d deeds) String() string {
	var words []string
	for _, w := range []struct {
		n    int
		what string
	}{{d.begun, "begun"}, {d.created, "created"}, {d.renamed, "renamed"}, {d.listened, "listened"}, {d.forwarded, "forwarded"}} {
		if w.n != 0 {
			words = append(words, fmt.Sprint(w.n, " ", w.what))
		}
	}
	if words == nil {
		return "–"
	}
	return strings.Join(words, ", ")
}

// wholeFaults says whether every cell is asked for.
func wholeFaults() bool { return os.Getenv("PROOF") == "whole" }

// keepReport shows the table, and writes it to PROOF_DIR, where that is set.
func keepReport(t *testing.T, name, text string) {
	t.Log("\n" + text)
	if dir := os.Getenv("PROOF_DIR"); dir != "" {
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
