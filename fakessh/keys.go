package fakessh

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/gliderlabs/ssh"
	gossh "golang.org/x/crypto/ssh"
)

// newKey makes an ed25519 key and its signer. It panics where the system has no
// randomness.
func newKey() (gossh.Signer, ed25519.PrivateKey) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	signer, err := gossh.NewSignerFromKey(key)
	if err != nil {
		panic(err)
	}
	return signer, key
}

// profileKey is a client key that the host makes for the profiles it writes and
// accepts for each of its users. There is none before the first of them.
type profileKey struct {
	mu     sync.Mutex
	pem    string
	public gossh.PublicKey
}

// private returns the key in OpenSSH's format.
func (k *profileKey) private() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.public == nil {
		signer, key := newKey()
		block, err := gossh.MarshalPrivateKey(key, "fakessh")
		if err != nil {
			panic(err)
		}
		k.pem, k.public = string(pem.EncodeToMemory(block)), signer.PublicKey()
	}
	return k.pem
}

// is reports whether key is the profile key.
func (k *profileKey) is(key gossh.PublicKey) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.public != nil && ssh.KeysEqual(k.public, key)
}

// ParseAuthorizedKeys reads public keys in the format of authorized_keys and of
// the .pub files of ssh-keygen. Lines that hold no key are passed over; it fails
// where there is none at all.
func ParseAuthorizedKeys(text []byte) ([]gossh.PublicKey, error) {
	var keys []gossh.PublicKey
	for len(bytes.TrimSpace(text)) > 0 {
		key, _, _, rest, err := gossh.ParseAuthorizedKey(text)
		if err != nil {
			break // only other lines are left
		}
		keys, text = append(keys, key), rest
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key in it; give a file such as id_ed25519.pub")
	}
	return keys, nil
}

// HostKeyLine returns the public host key in one line, "ssh-ed25519 AAAA…", as a
// profile pins it.
func (h *Host) HostKeyLine() string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(h.HostKey())))
}

// KnownHostsLine returns a line for a known_hosts file, without its newline.
func (h *Host) KnownHostsLine() string {
	host, port := h.dialAddr()
	return fmt.Sprintf("[%s]:%d %s", host, port, h.HostKeyLine())
}

// dialAddr is Addr with loopback in the place of an unspecified address.
func (h *Host) dialAddr() (host string, port int) {
	addr := h.listener.Addr().(*net.TCPAddr)
	if addr.IP.IsUnspecified() {
		return "127.0.0.1", addr.Port
	}
	return addr.IP.String(), addr.Port
}
