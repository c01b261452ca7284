//go:build realssh

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// doctor runs the command on a profile of s, and wants this exit code.
func (s *sshd) doctor(t *testing.T, code int, args ...string) *server.Diagnosis {
	t.Helper()
	args = append([]string{"doctor", "--json", "--profiles", filepath.Join(s.dir, "profiles"), "--secrets", filepath.Join(s.dir, "secrets")}, args...)
	var out, errs bytes.Buffer
	if got := run(args, strings.NewReader(""), &out, &errs); got != code {
		t.Errorf("exit code %d, want %d: %s\n%s", got, code, errs.String(), out.String())
	}
	d := new(server.Diagnosis)
	must(t, json.Unmarshal(out.Bytes(), d))
	t.Logf("%s", out.String())
	return d
}

// configure starts the server again with further lines in its configuration, where DIR stands for its folder.
func (s *sshd) configure(t *testing.T, lines []string) {
	t.Helper()
	file := filepath.Join(s.dir, "sshd_config")
	config, err := os.ReadFile(file)
	must(t, err)
	s.stop()
	write(t, file, string(config)+strings.ReplaceAll(strings.Join(lines, "\n"), "DIR", s.dir)+"\n", 0o600)
	s.run(t)
}

// wantFindings wants exactly these, as KIND/STEP.
func wantFindings(t *testing.T, d *server.Diagnosis, want ...string) {
	t.Helper()
	var got []string
	for _, f := range d.Findings {
		got = append(got, f.Kind+"/"+f.Step)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v: %+v", got, want, d.Findings)
	}
}

// TestRealDoctor has OpenSSH's server well at first, and then slow or short of one thing at a time.
func TestRealDoctor(t *testing.T) {
	for name, tc := range map[string]struct {
		config []string
		code   int
		want   []string
	}{
		"well": {nil, 0, nil},
		"authentication": {[]string{"Match User " + testUser, "  AuthorizedKeysFile none", `  AuthorizedKeysCommand /bin/sh -c "sleep 1; cat DIR/client.pub"`,
			"  AuthorizedKeysCommandUser root"}, 0, []string{"high_latency/authentication"}},
		"command":  {[]string{"Match User " + testUser, "  ForceCommand sleep 0.8"}, 1, []string{"high_latency/command"}},
		"nologin":  {[]string{"Match User " + testUser, "  ForceCommand echo not here; exit 1"}, 1, []string{"failure/command", "failure/pooled_sftp", "failure/sftp"}},
		"sessions": {[]string{"MaxSessions 2"}, 0, []string{"exhaustion/channel"}},
		"no login": {[]string{"DenyUsers " + testUser}, 1, []string{"failure/authentication"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := startSSHD(t)
			s.configure(t, tc.config)
			d := s.doctor(t, tc.code, "real", "--iterations", "3")
			if name == "command" { // the forced command answers no SFTP
				d.Findings = slices.DeleteFunc(d.Findings, func(f server.Finding) bool { return f.Kind == server.FindingFailure })
			}
			wantFindings(t, d, tc.want...)
		})
	}
}

// TestRealDoctorOnAFullHost has all of sshd's places for those who log in taken.
func TestRealDoctorOnAFullHost(t *testing.T) {
	s := startSSHD(t, "MaxStartups 1:100:1", "LoginGraceTime 60")
	defer takePlace(t, s.addr()).Close()
	d := s.doctor(t, 1, "real", "--iterations", "1")
	if len(d.Findings) != 1 || !strings.Contains(d.Findings[0].Remedy, "MaxStartups") {
		t.Errorf("found %+v", d.Findings)
	}
}

// takePlace connects until sshd lets it begin to log in: until then the connection that found sshd awake may have the place.
func takePlace(t *testing.T, addr string) net.Conn {
	t.Helper()
	for range 100 {
		c, err := net.Dial("tcp", addr)
		must(t, err)
		banner := make([]byte, 4)
		if _, err := io.ReadFull(c, banner); err == nil && string(banner) == "SSH-" {
			return c
		}
		c.Close()
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("sshd has no place")
	return nil
}

// TestRealDoctorThroughJump reaches sshd through itself.
func TestRealDoctorThroughJump(t *testing.T) {
	s := startSSHD(t)
	s.profile(t, "jumped", map[string]any{"jump": "real"})
	d := s.doctor(t, 0, "jumped", "--iterations", "3")
	wantFindings(t, d)
	for _, step := range d.Steps {
		if slices.Contains([]string{"tcp", "banner", "key_exchange", "authentication", "round_trip"}, step.Step) && (step.Count != 3 || step.MinS <= 0) {
			t.Errorf("%+v", step)
		}
	}
}
