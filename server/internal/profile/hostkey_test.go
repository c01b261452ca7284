package profile

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestHostKeys(t *testing.T) {
	ed, other, rsaKey := newKey(t), newKey(t), newRSAKey(t)
	hashed := func(host string) string { return knownhosts.HashHostname(knownhosts.Normalize(host)) }
	tests := []struct {
		name       string
		port       int
		pin        ssh.PublicKey
		known      string // "" is no file
		shows      ssh.PublicKey
		err        string // "" is trusted
		want       []string
		algorithms []string
	}{
		{"pinned", 22, ed, "", ed, "", nil, []string{"ssh-ed25519"}},
		{"pinned, changed", 22, ed, "", other, "not the host_key of the profile", []string{ssh.FingerprintSHA256(ed)}, []string{"ssh-ed25519"}},
		{"pinned RSA", 22, rsaKey, "", rsaKey, "", nil, []string{"rsa-sha2-512", "rsa-sha2-256"}},
		{"the pin goes before the file", 22, ed, "10.0.0.1 " + line(other) + "\n", other, "not the host_key", []string{ssh.FingerprintSHA256(ed)}, []string{"ssh-ed25519"}},
		{"known", 22, nil, "10.0.0.1 " + line(ed) + "\n", ed, "", nil, []string{"ssh-ed25519"}},
		{"known, changed", 22, nil, "# comment\n10.0.0.1 " + line(ed) + "\n", other, ":2: it shows", []string{ssh.FingerprintSHA256(ed)}, []string{"ssh-ed25519"}},
		{"known by hash", 22, nil, hashed("10.0.0.1") + " " + line(ed) + "\n", ed, "", nil, []string{"ssh-ed25519"}},
		{"known on a port", 2222, nil, "[10.0.0.1]:2222 " + line(ed) + "\n", ed, "", nil, []string{"ssh-ed25519"}},
		{"known by hash on a port", 2222, nil, hashed("10.0.0.1:2222") + " " + line(ed) + "\n", ed, "", nil, []string{"ssh-ed25519"}},
		{"known on another port", 2222, nil, "10.0.0.1 " + line(ed) + "\n", ed, "no key is known for it", nil, nil},
		{"two types", 22, nil, "10.0.0.1 " + line(rsaKey) + "\n10.0.0.1 " + line(ed) + "\n", ed, "", nil, []string{"ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"}},
		{"another host", 22, nil, "10.0.0.2 " + line(ed) + "\n", ed, "no key is known for it", nil, nil},
		{"no file", 22, nil, "", ed, "there is no known_hosts file", nil, nil},
		{"empty file", 22, nil, "\n", ed, "no key is known for it", nil, nil},
		{"revoked", 22, nil, "10.0.0.1 " + line(ed) + "\n@revoked 10.0.0.1 " + line(ed) + "\n", ed, "revoked", nil, []string{"ssh-ed25519"}},
		{"broken file", 22, nil, "10.0.0.1 ssh-ed25519 AAAA\n", ed, "known hosts cannot be read", nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			if tt.known != "" {
				f.write(f.cfg.KnownHosts[0], tt.known)
			}
			pinned := ""
			if tt.pin != nil {
				pinned = line(tt.pin)
			}
			f.secret("s.json", `{"password": "x"}`)
			f.profile("web.json", fmt.Sprintf(`{"id": "web", "host": "10.0.0.1", "port": %d, "username": "u", "auth": {"type": "file_ref", "ref": "s"}, "host_key": %q}`, tt.port, pinned))
			target, err := f.open().Resolve(t.Context(), "web")
			if err != nil {
				t.Fatal(err)
			}
			preferred := target.HostKeyAlgorithms[:len(tt.algorithms)]
			if !slices.Equal(preferred, tt.algorithms) {
				t.Errorf("algorithms %q, want %q first", target.HostKeyAlgorithms, tt.algorithms)
			}
			all := slices.Sorted(slices.Values(target.HostKeyAlgorithms))
			if !slices.Contains(all, ssh.KeyAlgoED25519) || !slices.Contains(all, ssh.KeyAlgoRSASHA256) || !slices.Contains(all, ssh.KeyAlgoECDSA256) {
				t.Errorf("algorithms %q: a host with another key could not be refused by name", all)
			}
			if len(slices.Compact(all)) != len(target.HostKeyAlgorithms) || slices.Contains(all, ssh.CertAlgoED25519v01) || slices.Contains(all, ssh.KeyAlgoRSA) {
				t.Errorf("algorithms %q hold one twice, a certificate or SHA-1", target.HostKeyAlgorithms)
			}
			err = target.HostKeyCallback("another name:1", nil, tt.shows)
			if tt.err == "" {
				if err != nil {
					t.Errorf("not trusted: %v", err)
				}
				return
			}
			e, ok := errors.AsType[*HostKeyError](err)
			if !ok || !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			if e.Host != target.Addr || e.Got != ssh.FingerprintSHA256(tt.shows) || !slices.Equal(e.Want, tt.want) || e.Remedy == "" {
				t.Errorf("details: %+v", e)
			}
		})
	}
}

func TestHostCertificates(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certify := func(principal string) *ssh.Certificate {
		cert := &ssh.Certificate{Key: newKey(t), CertType: ssh.HostCert, ValidPrincipals: []string{principal}, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, authority); err != nil {
			t.Fatal(err)
		}
		return cert
	}
	f := newFolder(t)
	f.write(f.cfg.KnownHosts[0], "@cert-authority 10.0.0.* "+line(authority.PublicKey())+"\n")
	f.secret("s.json", `{"password": "x"}`)
	f.profile("web.json", strings.Replace(minimal("web", ""), pin, "", 1))
	target, err := f.open().Resolve(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if target.HostKeyAlgorithms[0] != ssh.CertAlgoED25519v01 {
		t.Errorf("algorithms %q do not start with certificates", target.HostKeyAlgorithms)
	}
	if err := target.HostKeyCallback("", nil, certify("10.0.0.1")); err != nil {
		t.Errorf("certificate of the authority: %v", err)
	}
	for name, key := range map[string]ssh.PublicKey{"for another host": certify("10.0.0.2"), "no certificate": newKey(t)} {
		if _, ok := errors.AsType[*HostKeyError](target.HostKeyCallback("", nil, key)); !ok {
			t.Errorf("%s is trusted", name)
		}
	}
}

// A host whose key is of another kind than the expected one fails by a
// HostKeyError that the handshake passes on, not for want of an algorithm.
func TestHostKeyOfAnotherKind(t *testing.T) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	host, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	config := &ssh.ServerConfig{NoClientAuth: true}
	config.AddHostKey(host)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var served sync.WaitGroup
	served.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			ssh.NewServerConn(conn, config)
		}
	})
	rule := pinned("10.0.0.1:22", newKey(t))
	_, err = ssh.Dial("tcp", listener.Addr().String(), &ssh.ClientConfig{User: "u", HostKeyCallback: rule.callback, HostKeyAlgorithms: rule.algorithms})
	if e, ok := errors.AsType[*HostKeyError](err); !ok || e.Got != ssh.FingerprintSHA256(host.PublicKey()) {
		t.Errorf("error %v", err)
	}
	served.Wait()
}

func TestUnknownHostRemedy(t *testing.T) {
	key := newKey(t)
	f := newFolder(t)
	f.secret("s.json", `{"password": "x"}`)
	f.profile("web.json", `{"id": "web", "host": "10.0.0.1", "port": 2222, "username": "u", "auth": {"type": "file_ref", "ref": "s"}}`)
	target, err := f.open().Resolve(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	err = target.HostKeyCallback("", nil, key)
	for _, want := range []string{"10.0.0.1:2222", f.cfg.KnownHosts[0], line(key), "ssh-keyscan -p 2222 10.0.0.1", ssh.FingerprintSHA256(key)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestDefaultKnownHosts(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	key := newKey(t)
	if err := os.Mkdir(home+"/.ssh", 0o700); err != nil {
		t.Fatal(err)
	}
	f := newFolder(t)
	f.cfg.KnownHosts = nil
	f.write(home+"/.ssh/known_hosts", "10.0.0.1 "+line(key)+"\n")
	f.secret("s.json", `{"password": "x"}`)
	f.profile("web.json", `{"id": "web", "host": "10.0.0.1", "username": "u", "auth": {"type": "file_ref", "ref": "s"}}`)
	target, err := f.open().Resolve(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if err := target.HostKeyCallback("", nil, key); err != nil {
		t.Error(err)
	}
}
