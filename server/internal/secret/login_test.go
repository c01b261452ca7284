package secret

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// login runs one handshake between a host with the given rules and a client with
// the given methods, and returns the client's error.
func login(t *testing.T, host *ssh.ServerConfig, methods []ssh.AuthMethod) error {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	host.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if server, _, _, err := ssh.NewServerConn(conn, host); err == nil {
			server.Wait()
		}
	})
	defer served.Wait()
	defer listener.Close()
	client, err := ssh.Dial("tcp", listener.Addr().String(), &ssh.ClientConfig{
		User: "u", Auth: methods, HostKeyCallback: ssh.FixedHostKey(signer.PublicKey()),
	})
	if err == nil {
		client.Close()
	}
	return err
}

func accept(public ssh.PublicKey) *ssh.ServerConfig {
	return &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) == string(public.Marshal()) {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
}

// ask is a host that accepts the password by keyboard-interactive only.
func ask(questions []string, echos []bool) *ssh.ServerConfig {
	return &ssh.ServerConfig{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, challenge ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
		if _, err := challenge("", "welcome", nil, nil); err != nil {
			return nil, err
		}
		answers, err := challenge("", "", questions, echos)
		if err == nil && slices.Equal(answers, []string{hidden}) {
			return nil, nil
		}
		return nil, errors.New("no")
	}}
}

func TestLogin(t *testing.T) {
	key, public := keyText(t, 1, "")
	_, other := keyText(t, 2, "")
	env := map[string]string{"PASSWORD": hidden, "WRONG": "wrong", "KEY": key}
	r := &Resolver{LookupEnv: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	password := func() *ssh.ServerConfig {
		return &ssh.ServerConfig{PasswordCallback: func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			if string(p) == hidden {
				return nil, nil
			}
			return nil, errors.New("no")
		}}
	}
	tests := []struct {
		name, secret string
		host         *ssh.ServerConfig
		ok           bool
	}{
		{"password", "PASSWORD", password(), true},
		{"wrong password", "WRONG", password(), false},
		{"keyboard-interactive", "PASSWORD", ask([]string{"Password: "}, []bool{false}), true},
		{"echoed question", "PASSWORD", ask([]string{"Name: "}, []bool{true}), false},
		{"two questions", "PASSWORD", ask([]string{"Password: ", "Code: "}, []bool{false, false}), false},
		{"key", "KEY", accept(public), true},
		{"wrong key", "KEY", accept(other), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := r.Resolve(t.Context(), Ref{TypeEnv, tt.secret})
			if err != nil {
				t.Fatal(err)
			}
			err = login(t, tt.host, c.AuthMethods())
			if (err == nil) != tt.ok {
				t.Errorf("login: %v, want success %v", err, tt.ok)
			}
			if err != nil && strings.Contains(err.Error(), hidden) {
				t.Errorf("error shows the password: %v", err)
			}
		})
	}
}

// startAgent serves a keyring at a socket until the test ends.
func startAgent(t *testing.T, keyring agent.Agent) *Resolver {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				agent.ServeAgent(keyring, conn)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); served.Wait() })
	return &Resolver{LookupEnv: func(name string) (string, bool) { return socket, name == "SSH_AUTH_SOCK" }}
}

func TestAgent(t *testing.T) {
	keyring := agent.NewKeyring()
	r := startAgent(t, keyring)
	if _, err := r.Resolve(t.Context(), Ref{Type: TypeAgent}); err == nil || !strings.Contains(err.Error(), "SSH agent: holds no keys: ssh-add one") {
		t.Errorf("empty agent: %v", err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPublic, _ := ssh.NewPublicKey(rsaKey.Public())
	edPublic, _ := ssh.NewPublicKey(edKey.Public())
	keyring.Add(agent.AddedKey{PrivateKey: rsaKey, Comment: "old"})
	keyring.Add(agent.AddedKey{PrivateKey: edKey, Comment: "new"})
	rsaPrint, edPrint := ssh.FingerprintSHA256(rsaPublic), ssh.FingerprintSHA256(edPublic)
	tests := []struct {
		ref, want string
		accepts   ssh.PublicKey
		refuses   ssh.PublicKey
	}{
		{"", rsaPrint + "+" + edPrint, edPublic, nil},
		{"old", rsaPrint, rsaPublic, edPublic},
		{"new", edPrint, edPublic, rsaPublic},
		{edPrint, edPrint, edPublic, rsaPublic},
	}
	for _, tt := range tests {
		c, err := r.Resolve(t.Context(), Ref{TypeAgent, tt.ref})
		if err != nil {
			t.Fatal(err)
		}
		if c.Fingerprint() != tt.want {
			t.Errorf("ref %q: fingerprint %s, want %s", tt.ref, c.Fingerprint(), tt.want)
		}
		for range 2 { // each connection signs anew
			if err := login(t, accept(tt.accepts), c.AuthMethods()); err != nil {
				t.Errorf("ref %q: %v", tt.ref, err)
			}
		}
		if tt.refuses != nil && login(t, accept(tt.refuses), c.AuthMethods()) == nil {
			t.Errorf("ref %q logs in with a key it does not name", tt.ref)
		}
	}
	keyring.Add(agent.AddedKey{PrivateKey: edKey, Comment: "certified", Certificate: certificate(t, edPublic, "one")})
	keyring.Add(agent.AddedKey{PrivateKey: edKey, Comment: "certified again", Certificate: certificate(t, edPublic, "two")})
	seen := map[string]string{edPrint: "new"}
	for _, ref := range []string{"certified", "certified again"} { // by other authority of the same key
		c, err := r.Resolve(t.Context(), Ref{TypeAgent, ref})
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[c.Fingerprint()]; twice {
			t.Errorf("%q and %q have one fingerprint", ref, other)
		}
		seen[c.Fingerprint()] = ref
	}
	old, err := r.Resolve(t.Context(), Ref{TypeAgent, "old"})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512} {
		signature, err := old.signers[0].(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, []byte("x"), algorithm)
		if err != nil || signature.Format != algorithm {
			t.Errorf("signature %+v, %v, want %s", signature, err, algorithm)
		}
	}
	if _, err := r.Resolve(t.Context(), Ref{TypeAgent, "none"}); err == nil || !strings.Contains(err.Error(), `holds no key with comment or fingerprint "none"`) {
		t.Errorf("no such key: %v", err)
	}
	c, err := r.Resolve(t.Context(), Ref{TypeAgent, "new"})
	if err != nil {
		t.Fatal(err)
	}
	keyring.RemoveAll()
	if err := login(t, accept(edPublic), c.AuthMethods()); err == nil || !strings.Contains(err.Error(), "SSH agent: could not sign") {
		t.Errorf("key gone: %v", err)
	}
}

// certificate vouches for a key under a name, by an authority of its own.
func certificate(t *testing.T, key ssh.PublicKey, name string) *ssh.Certificate {
	t.Helper()
	_, authority, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(authority)
	if err != nil {
		t.Fatal(err)
	}
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: name, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAgentUnreachable(t *testing.T) {
	without := &Resolver{LookupEnv: func(string) (string, bool) { return "", false }}
	if _, err := without.Resolve(t.Context(), Ref{Type: TypeAgent}); err == nil || !strings.Contains(err.Error(), "SSH_AUTH_SOCK is not set") {
		t.Errorf("no socket: %v", err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	r := &Resolver{LookupEnv: func(string) (string, bool) { return socket, true }}
	if _, err := r.Resolve(t.Context(), Ref{Type: TypeAgent}); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("no agent: %v", err)
	}
	listener, err := net.Listen("unix", socket) // accepts and stays silent
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var accepted sync.WaitGroup
	accepted.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		cancel()
		conn.Read(make([]byte, 64))
		conn.Read(make([]byte, 64))
	})
	if _, err := r.Resolve(ctx, Ref{Type: TypeAgent}); !errors.Is(err, context.Canceled) {
		t.Errorf("silent agent: %v", err)
	}
	accepted.Wait()
}
