package secret

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// authority signs certificates.
func authority(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// certified gives the line of a certificate of a key, changed before it is signed.
func certified(t *testing.T, by ssh.Signer, key ssh.PublicKey, change func(*ssh.Certificate)) string {
	t.Helper()
	c := &ssh.Certificate{Key: key, CertType: ssh.UserCert, KeyId: "u", ValidPrincipals: []string{"u"}, ValidBefore: ssh.CertTimeInfinity}
	if change != nil {
		change(c)
	}
	if err := c.SignCert(rand.Reader, by); err != nil {
		t.Fatal(err)
	}
	return string(ssh.MarshalAuthorizedKey(c))
}

// trusting is a host that lets in whom an authority vouches for.
func trusting(ca ssh.PublicKey) *ssh.ServerConfig {
	checker := &ssh.CertChecker{IsUserAuthority: func(key ssh.PublicKey) bool { return string(key.Marshal()) == string(ca.Marshal()) }}
	return &ssh.ServerConfig{PublicKeyCallback: checker.Authenticate}
}

func TestCertificateLogin(t *testing.T) {
	key, public := keyText(t, 1, "")
	ca, other := authority(t), authority(t)
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	line := certified(t, ca, public, nil)
	write("u-cert.pub", line, 0o644)
	write("u", key, 0o600)
	quoted := func(text string) string { return strings.ReplaceAll(text, "\n", `\n`) }
	write("file.json", `{"private_key_path":"u","certificate_path":"u-cert.pub"}`, 0o600)
	write("text.json", `{"private_key":"`+quoted(key)+`","certificate":"`+quoted(line)+`"}`, 0o600)
	write("key.json", `{"private_key_path":"u"}`, 0o600)
	r := &Resolver{Dir: dir}
	prints := map[string]bool{}
	for name, want := range map[string][3]bool{"file": {true, false, true}, "text": {true, false, true}, "key": {false, false, true}} {
		c, err := r.Resolve(t.Context(), Ref{TypeFile, name})
		if err != nil {
			t.Fatal(err)
		}
		prints[c.Fingerprint()] = true
		for i, host := range []*ssh.ServerConfig{trusting(ca.PublicKey()), trusting(other.PublicKey()), accept(public)} {
			if err := login(t, host, c.AuthMethods()); (err == nil) != want[i] {
				t.Errorf("%s at host %d: %v", name, i, err)
			}
		}
	}
	if len(prints) != 2 {
		t.Errorf("%d fingerprints for one key with and without a certificate", len(prints))
	}
	c, err := r.Resolve(t.Context(), Ref{TypeFile, "file"})
	if err != nil || len(c.Files) != 3 {
		t.Errorf("files %v, %v: a new certificate would not be noticed", c.Files, err)
	}
}

func TestCertificateMistakes(t *testing.T) {
	key, public := keyText(t, 1, "")
	_, another := keyText(t, 2, "")
	ca := authority(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "u"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ fields, want string }{
		{`"certificate":"nonsense"`, "not a certificate"},
		{`"certificate":"` + strings.TrimSpace(string(ssh.MarshalAuthorizedKey(public))) + `"`, "not a certificate"},
		{`"certificate":"` + strings.TrimSpace(certified(t, ca, another, nil)) + `"`, "for another key"},
		{`"certificate":"` + strings.TrimSpace(certified(t, ca, public, func(c *ssh.Certificate) { c.CertType = ssh.HostCert })) + `"`, "of a host"},
		{`"certificate":"` + strings.TrimSpace(certified(t, ca, public, func(c *ssh.Certificate) { c.ValidBefore = uint64(time.Now().Unix()) - 60 })) + `"`, "expired at"},
		{`"certificate_path":"none"`, "no such file"},
		{`"certificate":"x","certificate_path":"y"`, "keep one of them"},
	} {
		file := filepath.Join(dir, "s.json")
		if err := os.WriteFile(file, []byte("{\n"+`"private_key_path":"u",`+"\n"+tc.fields+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := (&Resolver{Dir: dir}).Resolve(t.Context(), Ref{TypeFile, "s"})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.fields, err, tc.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "s.json"), []byte(`{"password":"hunter2","certificate":"x"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Resolver{Dir: dir}).Resolve(t.Context(), Ref{TypeFile, "s"}); err == nil || !strings.Contains(err.Error(), "no key that it is for") {
		t.Errorf("no key: %v", err)
	}
}

// TestAnswers has hosts ask by keyboard-interactive.
func TestAnswers(t *testing.T) {
	asking := func(questions []string, echos []bool, want ...string) *ssh.ServerConfig {
		return &ssh.ServerConfig{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, challenge ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := challenge("", "", questions, echos)
			if err == nil && strings.Join(answers, "|") == strings.Join(want, "|") {
				return nil, nil
			}
			return nil, errors.New("no")
		}}
	}
	r := &Resolver{LookupEnv: func(name string) (string, bool) {
		return map[string]string{
			"JSON": `{"password":"hunter2-Xyzzy","answers":{"Verification code":"123456","PIN for token":"9876","PIN":"1111"}}`,
			"YAML": "{password: hunter2-Xyzzy, answers: {Verification code: \"123456\", PIN for token: \"9876\", PIN: \"1111\"}}",
			"ONLY": `{"answers":{"code":"123456"}}`,
			"BAD":  `{"answers":{"code":123456}}`,
			"LIST": `{"answers":["123456"]}`,
		}[name], true
	}}
	two, hide := []string{"Password: ", "Verification code: "}, []bool{false, false}
	for _, tc := range []struct {
		secret string
		host   *ssh.ServerConfig
		ok     bool
	}{
		{"JSON", asking(two, hide, hidden, "123456"), true},
		{"YAML", asking(two, hide, hidden, "123456"), true},
		{"JSON", asking([]string{"pin FOR Token 7:"}, []bool{true}, "9876"), true},
		{"JSON", asking([]string{"PIN:"}, []bool{false}, "1111"), true},
		{"JSON", asking([]string{"Your secret:"}, []bool{false}, hidden), true},
		{"JSON", asking([]string{"Name:"}, []bool{true}, ""), false},
		{"ONLY", asking([]string{"Code:"}, []bool{false}, "123456"), true},
		{"ONLY", asking(two, hide, hidden, "123456"), false},
	} {
		c, err := r.Resolve(t.Context(), Ref{TypeEnv, tc.secret})
		if err != nil {
			t.Fatal(err)
		}
		err = login(t, tc.host, c.AuthMethods())
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v, want success %v", tc.secret, err, tc.ok)
		}
		for _, text := range []string{hidden, "123456", "9876"} {
			if err != nil && strings.Contains(err.Error(), text) {
				t.Errorf("the error shows an answer: %v", err)
			}
		}
	}
	for _, name := range []string{"BAD", "LIST"} {
		if _, err := r.Resolve(t.Context(), Ref{TypeEnv, name}); err == nil || !strings.Contains(err.Error(), "answers: must be an object") || strings.Contains(err.Error(), "123456") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if texts := r.Texts(Ref{TypeEnv, "JSON"}); len(texts) != 4 {
		t.Errorf("%d texts to hide, want the password and three answers", len(texts))
	}
}
