package profile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyError says that a host's key is not the expected one, or that nothing
// says which to expect.
type HostKeyError struct {
	Host   string   // host:port
	Want   []string // SHA256 fingerprints that would do; empty: none is known
	Got    string   // SHA256 fingerprint of the key that the host shows
	Reason string
	Remedy string
}

func (e *HostKeyError) Error() string {
	msg := fmt.Sprintf("host key of %s: %s: it shows %s", e.Host, e.Reason, e.Got)
	if len(e.Want) > 0 {
		msg += ", expected " + strings.Join(e.Want, " or ")
	}
	return msg + ": " + e.Remedy
}

// hostKeys is the rule for one host: how to check, what to negotiate, and a text
// that changes when the rule does.
type hostKeys struct {
	callback   ssh.HostKeyCallback
	algorithms []string
	identity   string
}

// pinned trusts one key.
func pinned(addr string, want ssh.PublicKey) hostKeys {
	fingerprint := ssh.FingerprintSHA256(want)
	return hostKeys{
		identity:   "pinned " + fingerprint,
		algorithms: preferring(algorithmsFor(want.Type())),
		callback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if bytes.Equal(got.Marshal(), want.Marshal()) {
				return nil
			}
			return &HostKeyError{Host: addr, Want: []string{fingerprint}, Got: ssh.FingerprintSHA256(got),
				Reason: "not the host_key of the profile",
				Remedy: "find out why it changed before trusting it, then correct host_key"}
		},
	}
}

// algorithmsFor lists the signature algorithms of a key type. An RSA key must
// not be left to sign with SHA-1.
func algorithmsFor(keyType string) []string {
	switch keyType {
	case ssh.KeyAlgoRSA:
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	case ssh.CertAlgoRSAv01:
		return []string{ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}
	}
	return []string{keyType}
}

// preferring puts the algorithms of the keys that would be trusted first, so that
// the host shows such a key if it has one, and all other plain keys behind, so
// that a host which has none shows what it has and is refused by name. Certificates
// are asked for only where an authority is known.
func preferring(trusted []string) []string {
	return append(trusted, slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(name string) bool {
		return slices.Contains(trusted, name) || strings.Contains(name, "-cert-")
	})...)
}

var certificateAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// knownHosts is the content of the known_hosts files at one time.
type knownHosts struct {
	check     ssh.HostKeyCallback // nil when there is nothing to check against
	authority bool                // some line trusts a certificate authority
	marked    string              // stands for the lines that trust an authority or revoke a key
	files     string              // for messages
	err       error               // why the files cannot be used
	broken    bool                // err is of what they say
}

// loadKnownHosts reads those of the files that exist.
func loadKnownHosts(files []string) *knownHosts {
	k := &knownHosts{files: strings.Join(files, ", ")}
	var present, marked []string
	for _, file := range files {
		data, err := os.ReadFile(file)
		switch {
		case err == nil:
			present = append(present, file)
			k.authority = k.authority || bytes.Contains(data, []byte("@cert-authority"))
			for line := range bytes.Lines(data) {
				if line = bytes.TrimSpace(line); bytes.HasPrefix(line, []byte("@")) {
					marked = append(marked, string(line))
				}
			}
		case !errors.Is(err, fs.ErrNotExist):
			k.err = err
			return k
		}
	}
	k.marked = fingerprintOf(marked...)
	if len(present) > 0 {
		k.check, k.err = knownhosts.New(present...)
		k.broken = k.err != nil
	}
	return k
}

// unasked is the peer address given to the files' check, which then goes by the
// host's name alone: behind a jump or a tunnel the peer says nothing.
var unasked = &net.TCPAddr{}

// rule returns what the files say about a host.
func (k *knownHosts) rule(addr string) hostKeys {
	if k.check == nil || k.err != nil {
		return hostKeys{identity: "unknown", algorithms: preferring(nil), callback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			return k.unusable(addr, got)
		}}
	}
	known := k.known(addr)
	rule := hostKeys{callback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
		return k.explain(addr, got, k.check(addr, unasked, got))
	}}
	if k.authority && len(known) > 0 {
		rule.algorithms = slices.Clone(certificateAlgorithms)
	}
	prints := make([]string, 0, len(known))
	for _, key := range known {
		prints = append(prints, ssh.FingerprintSHA256(key.Key))
		rule.algorithms = append(rule.algorithms, algorithmsFor(key.Key.Type())...)
	}
	rule.algorithms = preferring(rule.algorithms)
	rule.identity = "known " + strings.Join(prints, " ") + " " + k.marked
	return rule
}

// probe is a key that no host has. Asked about it, the files name those that
// they would trust.
var probe = func() ssh.PublicKey {
	seed := sha256.Sum256([]byte("a key that no host has"))
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(seed[:]).Public())
	if err != nil {
		panic(err) // an ed25519 key always converts
	}
	return key
}()

// known lists the keys that the files hold for a host, in a stable order.
func (k *knownHosts) known(addr string) []knownhosts.KnownKey {
	if k.check == nil {
		return nil
	}
	e, ok := errors.AsType[*knownhosts.KeyError](k.check(addr, unasked, probe))
	if !ok {
		return nil
	}
	slices.SortFunc(e.Want, func(a, b knownhosts.KnownKey) int {
		return strings.Compare(a.Key.Type(), b.Key.Type())
	})
	return e.Want
}

// explain turns the error of the files' check into a *HostKeyError.
func (k *knownHosts) explain(addr string, got ssh.PublicKey, err error) error {
	if err == nil {
		return nil
	}
	e := &HostKeyError{Host: addr, Got: ssh.FingerprintSHA256(got)}
	keyErr, isKey := errors.AsType[*knownhosts.KeyError](err)
	_, isRevoked := errors.AsType[*knownhosts.RevokedError](err)
	switch {
	case isRevoked:
		e.Reason = "the key is marked as revoked in " + k.files
		e.Remedy = "do not trust this host until its key is replaced"
	case isKey && len(keyErr.Want) > 0:
		first := keyErr.Want[0]
		e.Reason = fmt.Sprintf("not the key at %s:%d", first.Filename, first.Line)
		e.Remedy = "find out why it changed before trusting it, then correct that line"
		for _, want := range keyErr.Want {
			e.Want = append(e.Want, ssh.FingerprintSHA256(want.Key))
		}
	case isKey:
		e.Reason = "no key is known for it in " + k.files
		e.Remedy = trustRemedy(addr, got)
	default: // of a certificate
		e.Reason = err.Error()
		e.Remedy = "have the host's certificate renewed, or pin its key as host_key in the profile"
	}
	return e
}

func (k *knownHosts) unusable(addr string, got ssh.PublicKey) error {
	e := &HostKeyError{Host: addr, Got: ssh.FingerprintSHA256(got)}
	if k.err != nil {
		e.Reason = "known hosts cannot be read: " + k.err.Error()
		e.Remedy = "correct the file, or pin the key as host_key in the profile"
		return e
	}
	e.Reason = "there is no known_hosts file at " + k.files
	e.Remedy = trustRemedy(addr, got)
	return e
}

// trustRemedy shows the key that was seen as what it is: unverified.
func trustRemedy(addr string, got ssh.PublicKey) string {
	return fmt.Sprintf("compare the fingerprint with the host's own, then set host_key in the profile to %q, or add the output of `%s` to known_hosts",
		strings.TrimSpace(string(ssh.MarshalAuthorizedKey(got))), scanCommand(addr))
}

func scanCommand(addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	if port == "22" {
		return "ssh-keyscan " + host
	}
	return "ssh-keyscan -p " + port + " " + host
}

// hostKeyFiles caches the parsed files and notices when they change.
type hostKeyFiles struct {
	files []string
	log   *slog.Logger

	mu      sync.Mutex
	age     age
	stamps  []stamp
	young   bool // they may have changed without other stamps
	current *knownHosts
	problem error // why current is the last good one
}

func newHostKeyFiles(files []string, log *slog.Logger) *hostKeyFiles {
	if len(files) == 0 {
		if home, err := os.UserHomeDir(); err == nil {
			files = []string{filepath.Join(home, ".ssh", "known_hosts")}
		}
	}
	return &hostKeyFiles{files: files, log: log}
}

// get returns the files' content, which is the same pointer until one changes.
// What an edit has broken counts as it was before. a is the age of what is
// looked at now.
func (h *hostKeyFiles) get(now time.Time, a age) *knownHosts {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.current != nil && h.age.turn == a.turn && now.Before(h.age.until) {
		return h.current
	}
	stamps := stampFiles(h.files)
	if h.current == nil || h.young || !slices.EqualFunc(stamps, h.stamps, stamp.same) {
		next := loadKnownHosts(h.files)
		if next.err == nil || !next.broken || h.current == nil || h.current.err != nil {
			h.current = next
		}
		if text(next.err) != text(h.problem) && next.err != nil {
			h.log.Warn("known hosts cannot be used as they are now", "error", next.err, "last_good_stays", h.current.err == nil)
		}
		h.problem = next.err
	}
	h.age, h.stamps = a, stamps
	h.young = slices.ContainsFunc(stamps, func(s stamp) bool { return s.young(now) })
	return h.current
}

// broken is why the files cannot be used as they are now, or nil, and whether
// what they said before counts.
func (h *hostKeyFiles) broken() (err error, kept bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.problem, h.problem != nil && h.current.err == nil
}

// fingerprintOf shortens a text that is only ever compared.
func fingerprintOf(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
