package secret

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Credential can log in. It is immutable, safe for concurrent use, and holds
// nothing open, so there is nothing to close.
type Credential struct {
	// Username is the one that the secret names; "" leaves it to the profile.
	Username string
	// Files are those it was read from; a change in one calls for a new Resolve.
	Files []string

	signers  []ssh.Signer
	password Value
	answers  []answer
}

// AuthMethods returns what to offer a host, in order: the keys, then the
// password, then keyboard-interactive, which gives the secret's answers to the
// questions they are for, and the password to a single one that does not echo.
// They may be used for any number of connections.
func (c *Credential) AuthMethods() []ssh.AuthMethod {
	var methods []ssh.AuthMethod
	if len(c.signers) > 0 {
		methods = append(methods, ssh.PublicKeys(c.signers...))
	}
	if !c.password.IsZero() {
		methods = append(methods, ssh.Password(c.password.Reveal()))
	}
	if !c.password.IsZero() || len(c.answers) > 0 {
		methods = append(methods, ssh.KeyboardInteractive(c.answer))
	}
	return methods
}

var fingerprintKey = func() []byte {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return key
}()

// Fingerprint identifies the credential within this process: equal for equal
// credentials, different for others, and of no use to log in. Keys show their
// public fingerprint, passwords a hash under a key that dies with the process.
func (c *Credential) Fingerprint() string {
	parts := make([]string, 0, len(c.signers)+1)
	for _, s := range c.signers {
		parts = append(parts, ssh.FingerprintSHA256(s.PublicKey()))
	}
	if !c.password.IsZero() {
		mac := hmac.New(sha256.New, fingerprintKey)
		mac.Write([]byte(c.password.Reveal()))
		parts = append(parts, "password:"+base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
	}
	for _, a := range c.answers {
		mac := hmac.New(sha256.New, fingerprintKey)
		mac.Write([]byte(a.prompt + "\x00" + a.text.Reveal()))
		parts = append(parts, "answer:"+base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
	}
	return strings.Join(parts, "+")
}

// credential checks the document and opens its key. dir is the folder of the
// file it came from, where a relative private_key_path starts; "" is no file.
func (d *document) credential(source, dir string) (*Credential, error) {
	fail := func(field, message, remedy string) error {
		at := d.place(field)
		return &Error{Source: source, Line: at.line, Column: at.column, Field: field, Message: message, Remedy: remedy}
	}
	hasKey := !d.PrivateKey.IsZero()
	switch {
	case hasKey && d.PrivateKeyPath != "":
		return nil, fail("private_key_path", "private_key is set as well", "keep one of them")
	case !hasKey && d.PrivateKeyPath == "" && d.Password.IsZero() && len(d.Answers) == 0:
		return nil, fail("", "holds neither a key nor a password", "set private_key, private_key_path or password")
	case d.Certificate != "" && d.CertificatePath != "":
		return nil, fail("certificate_path", "certificate is set as well", "keep one of them")
	case !hasKey && d.PrivateKeyPath == "" && d.Certificate != "":
		return nil, fail("certificate", "there is no key that it is for", "remove it or set private_key")
	case !hasKey && d.PrivateKeyPath == "" && d.CertificatePath != "":
		return nil, fail("certificate_path", "there is no key that it is for", "remove it or set private_key")
	case !hasKey && d.PrivateKeyPath == "" && !d.Passphrase.IsZero():
		return nil, fail("passphrase", "there is no key that it could open", "remove it or set private_key")
	}
	c := &Credential{Username: d.Username, password: d.Password, answers: d.Answers}
	if dir != "" {
		c.Files = []string{source}
	}
	pem, from := d.PrivateKey.Reveal(), source
	if d.PrivateKeyPath != "" {
		path, err := keyPath(dir, d.PrivateKeyPath)
		if err != nil {
			return nil, fail("private_key_path", err.Error(), "write the absolute path")
		}
		data, err := readPrivate(path)
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, path)
		pem = string(data)
		source, hasKey = path, true
	}
	if hasKey {
		signer, err := openKey(source, pem, d.Passphrase.Reveal())
		if err != nil {
			return nil, err
		}
		c.signers = []ssh.Signer{signer}
	}
	if d.Certificate != "" || d.CertificatePath != "" {
		if err := c.certify(d, from, dir); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func keyPath(dir, path string) (string, error) {
	switch {
	case filepath.IsAbs(path):
		return path, nil
	case dir == "":
		return "", errors.New("a relative path has no folder to start from here")
	}
	return filepath.Join(dir, path), nil
}

// openKey parses a private key. The parser's own errors are not passed on, since
// they may quote what they read.
func openKey(source, pem, passphrase string) (ssh.Signer, error) {
	fail := func(field, message, remedy string) (ssh.Signer, error) {
		return nil, &Error{Source: source, Field: field, Message: message, Remedy: remedy, Err: ErrUnreadable}
	}
	signer, err := ssh.ParsePrivateKey([]byte(pem))
	if err == nil {
		return signer, nil
	}
	if _, encrypted := errors.AsType[*ssh.PassphraseMissingError](err); !encrypted {
		return fail("private_key", "not a private key in a known format", "use the whole text of an OpenSSH or PEM key file, line breaks included")
	}
	if passphrase == "" {
		return fail("passphrase", "missing, and the key is encrypted", "add the key's passphrase")
	}
	signer, err = ssh.ParsePrivateKeyWithPassphrase([]byte(pem), []byte(passphrase))
	switch {
	case err == nil:
		return signer, nil
	case errors.Is(err, x509.IncorrectPasswordError):
		return fail("passphrase", "does not open the key", "correct it")
	}
	return fail("private_key", "encrypted in a way that is not known", "convert it: ssh-keygen -p -f FILE")
}
