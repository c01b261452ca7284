//go:build realssh

package fakessh_test

import (
	"io"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestOpenSSHMeetsFaults has the OpenSSH client fail in the ways it knows from real networks and hosts.
func TestOpenSSHMeetsFaults(t *testing.T) {
	o := newOpenSSH(t)
	for _, test := range []struct {
		name, faults string
		line         string
		want         string // in what the client says, one of these, split by |
	}{
		{"refused", "connect: {refuse: 100%}", "true", "Connection reset by"},
		{"mute", "connect: {mute: 100%}", "true", "timed out during banner exchange"},
		{"slow", "connect: {delay: 5s}", "true", "timed out during banner exchange"},
		{"auth", "auth: {fail: 100%}", "true", "Permission denied"},
		{"cut", "cut: {after_bytes: 200KiB}", "bytes 10000000", "Connection reset by|Broken pipe"},
		{"corrupt", "network: {corrupt: 0.001%}", "bytes 10000000", "message authentication code incorrect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			setFaults(t, o.host, test.faults)
			cmd := o.command("ssh", "-o", "ConnectTimeout=1", "-o", "Ciphers=aes128-ctr", "127.0.0.1", test.line)
			cmd.Args = slices.Insert(cmd.Args, 1, "-o", "LogLevel=VERBOSE") // the first that is given counts
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = io.Discard, &said
			err := cmd.Run()
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 255 {
				t.Errorf("ssh ends with %v", err)
			}
			if !slices.ContainsFunc(strings.Split(test.want, "|"), func(want string) bool { return strings.Contains(said.String(), want) }) {
				t.Errorf("ssh says %q, want %q", said.String(), test.want)
			}
		})
	}
	setFaults(t, o.host, "")
	if out, err := o.command("ssh", "127.0.0.1", "echo well").CombinedOutput(); err != nil || string(out) != "well\n" {
		t.Errorf("without faults: %q, %v", out, err)
	}
}

func TestOpenSSHMeetsMaxStartups(t *testing.T) {
	o := newOpenSSH(t)
	setFaults(t, o.host, "connect: {max_startups: 1}")
	idle, err := net.Dial("tcp", o.host.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	io.ReadFull(idle, make([]byte, 4))
	out, err := o.command("ssh", "127.0.0.1", "true").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "kex_exchange_identification") {
		t.Errorf("ssh says %q, %v", out, err)
	}
}
