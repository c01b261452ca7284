//go:build realssh

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// TestRealCertificates logs in to an sshd that trusts an authority and knows no key of the user, and trusts that sshd by the authority of its host's
// certificate alone.
func TestRealCertificates(t *testing.T) {
	s := startSSHD(t)
	path := func(name string) string { return filepath.Join(s.dir, name) }
	for _, key := range []string{"ca", "other-ca", "user", "lonely"} {
		command(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path(key))
	}
	command(t, "ssh-keygen", "-q", "-s", path("ca"), "-I", "test", "-n", testUser, "-V", "-1h:+1h", path("user.pub"))
	command(t, "ssh-keygen", "-q", "-s", path("other-ca"), "-I", "test", "-n", testUser, "-V", "-1h:+1h", path("lonely.pub"))
	command(t, "ssh-keygen", "-q", "-s", path("ca"), "-I", "host", "-h", "-n", "127.0.0.1", "-V", "-1h:+1h", path("host.pub"))
	config, err := os.ReadFile(path("sshd_config"))
	must(t, err)
	s.stop()
	write(t, path("sshd_config"), string(config)+"TrustedUserCAKeys "+path("ca.pub")+"\nHostCertificate "+path("host-cert.pub")+"\n", 0o600)
	s.run(t)
	authority, err := os.ReadFile(path("ca.pub"))
	must(t, err)
	write(t, path("known_hosts"), "@cert-authority ["+"127.0.0.1]:"+strings.TrimPrefix(s.addr(), "127.0.0.1:")+" "+string(authority), 0o600)
	for name, fields := range map[string]map[string]any{
		"certified": {"private_key_path": path("user"), "certificate_path": path("user-cert.pub")},
		"bare":      {"private_key_path": path("user")},
		"stranger":  {"private_key_path": path("lonely"), "certificate_path": path("lonely-cert.pub")},
	} {
		s.secret(t, name, fields)
		s.profile(t, name, map[string]any{"auth": map[string]any{"type": "file_ref", "ref": name}, "host_key": ""})
	}
	s.profile(t, "pinned", map[string]any{"auth": map[string]any{"type": "file_ref", "ref": "certified"}})
	cmd := program("serve", "--profiles", path("profiles"), "--secrets", path("secrets"), "--set", "known_hosts="+path("known_hosts"))
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), &mcp.CommandTransport{Command: cmd}, nil)
	must(t, err)
	defer session.Close()
	for _, profile := range []string{"certified", "pinned"} {
		if e := exec1(t, session, profile, "id -un"); e.Data == nil || e.Data.Stdout != testUser+"\n" {
			t.Errorf("%s: %+v", profile, e)
		}
	}
	for _, profile := range []string{"bare", "stranger"} {
		if e := exec1(t, session, profile, "true"); e.Metadata.ErrorCode != server.CodeAuthenticationFailed {
			t.Errorf("%s: %+v", profile, e)
		}
	}
}
