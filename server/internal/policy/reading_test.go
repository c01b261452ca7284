package policy

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestReadingsAreRemembered asks twice for each command, in several goroutines and for more commands than are remembered: what is remembered is what
// a policy that never saw the command finds.
func TestReadingsAreRemembered(t *testing.T) {
	rules := Rules{
		CommandDenylist: []string{`rm\s+-rf`}, CommandAllowlist: []string{`^(ls|echo|rm|sudo)\b`}, DenySudo: true,
		ReadOnlyCommands: []string{`^ls\b`}, RequireChangeTicketFor: []string{"ssh.sudo"},
	}
	compile := func() *Policy {
		p, err := Compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	shared := compile()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 40 {
				n := i / 2 * 7
				for _, command := range []string{"ls", "rm -rf /", "echo", "sudo ls", "cat", "ls; reboot"} {
					command = fmt.Sprintf("%s %d", command, n)
					call := Call{Operation: "ssh.exec", Protocol: "ssh", Command: command}
					fresh := compile()
					if got, want := shared.Decide(call), fresh.Decide(call); got != want {
						t.Errorf("%s: %+v, want %+v", command, got, want)
					}
					if got, want := shared.ReadOnly(command), fresh.ReadOnly(command); got != want {
						t.Errorf("%s: read-only %v, want %v", command, got, want)
					}
				}
			}
		})
	}
	wg.Wait()
	for i := range 3 * maxReadings {
		shared.ReadOnly(fmt.Sprint("ls ", i))
	}
	shared.ReadOnly(strings.Repeat("x", maxReadable+1))
	if n := len(shared.memory.readings); n == 0 || n > maxReadings {
		t.Errorf("%d readings are remembered", n)
	}
	for command := range shared.memory.readings {
		if len(command) > maxReadable {
			t.Errorf("a command of %d bytes is remembered", len(command))
		}
	}
}
