package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/strictyaml"
)

// Token is one entry of a file of tokens. The token itself is nowhere: it is random, 256 bits of it, so its SHA-256 gives nobody a way back.
type Token struct {
	Name     string    `yaml:"name"`
	SHA256   string    `yaml:"sha256"`            // in hexadecimal, of the token's text
	Expires  time.Time `yaml:"expires,omitempty"` // zero is never
	Profiles []string  `yaml:"profiles,omitempty,flow"`
	Tools    []string  `yaml:"tools,omitempty,flow"`
	Roles    []string  `yaml:"roles,omitempty,flow"`
}

// tokenPrefix lets people and secret scanners see what a token is.
const tokenPrefix = "oamcp_"

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

// NewToken makes a token and the entry that admits it.
func NewToken(t Token) (token string, entry Token, err error) {
	if err := t.check(); err != nil {
		return "", t, err
	}
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(token))
	t.SHA256 = hex.EncodeToString(sum[:])
	return token, t, nil
}

// check looks at what an entry may do.
func (t *Token) check() error {
	if !tokenName.MatchString(t.Name) {
		return fmt.Errorf("name %q: use letters, digits and ._@-, at most 128", t.Name)
	}
	for _, p := range append(append([]string{}, t.Profiles...), t.Tools...) {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			return fmt.Errorf("token %s: %q is no name or pattern such as web-*", t.Name, p)
		}
	}
	return nil
}

// AddToken writes an entry behind those of a file, which is made where there is none.
func AddToken(file string, t Token) error {
	data, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("tokens:\n")
	}
	entry, err := yaml.Marshal([]Token{t})
	if err != nil {
		return err
	}
	if !bytes.HasSuffix(data, []byte("\n")) {
		data = append(data, '\n')
	}
	for line := range strings.Lines(string(entry)) {
		data = append(append(data, "  "...), line...)
	}
	if _, err := parseTokens(data); err != nil {
		return fmt.Errorf("%s cannot be added to: %w; add it by hand:\n%s", file, err, entry)
	}
	return replace(file, data)
}

// replace writes a file as a whole, readable by its owner only.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".tokens-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// parseTokens reads entries by the hash of their token.
func parseTokens(data []byte) (map[[sha256.Size]byte]*Token, error) {
	var doc struct {
		Tokens []Token `yaml:"tokens"`
	}
	if err := strictyaml.Decode(data, &doc); err != nil {
		return nil, fmt.Errorf("%w; the keys of a token are name, sha256, expires, profiles, tools and roles", err)
	}
	known, names := map[[sha256.Size]byte]*Token{}, map[string]bool{}
	for i := range doc.Tokens {
		t := &doc.Tokens[i]
		if err := t.check(); err != nil {
			return nil, err
		}
		var sum [sha256.Size]byte
		n, err := hex.Decode(sum[:], []byte(t.SHA256[:min(len(t.SHA256), 2*len(sum))]))
		switch {
		case err != nil || n != len(sum) || len(t.SHA256) != 2*len(sum):
			return nil, fmt.Errorf("token %s: sha256 must be 64 hexadecimal digits; `openaccess-mcp token new` makes entries", t.Name)
		case known[sum] != nil || names[t.Name]:
			return nil, fmt.Errorf("token %s is given twice; remove one", t.Name)
		}
		known[sum], names[t.Name] = t, true
	}
	return known, nil
}

// tokenFile is a file of tokens in use. An edit counts within a second.
type tokenFile struct {
	path   string
	logger *slog.Logger

	mu      sync.Mutex
	looked  time.Time
	seen    os.FileInfo
	known   map[[sha256.Size]byte]*Token
	missing bool
}

// lookInterval is the time between two looks at files that may be edited.
const lookInterval = time.Second

func openTokens(path string, logger *slog.Logger) (*tokenFile, error) {
	f := &tokenFile{path: path, logger: logger, looked: time.Now()}
	if err := f.read(); err != nil {
		return nil, fmt.Errorf("tokens %s: %w", path, err)
	}
	return f, nil
}

func (f *tokenFile) read() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return bare(err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 && runtime.GOOS != "windows" {
		return fmt.Errorf("mode %#o lets others write it: chmod 600 it", mode)
	}
	data, err := os.ReadFile(f.path)
	if err != nil {
		return bare(err)
	}
	f.seen = info
	known, err := parseTokens(data)
	if err != nil {
		return err
	}
	f.known = known
	return nil
}

// look reads the file again where it has changed. One that an edit has broken leaves its last good state in place; one that is gone, or open to
// others, admits nobody.
func (f *tokenFile) look(now time.Time) {
	if now.Sub(f.looked) < lookInterval {
		return
	}
	f.looked = now
	info, err := os.Stat(f.path)
	if err == nil && !f.missing && f.seen != nil && os.SameFile(info, f.seen) && info.ModTime().Equal(f.seen.ModTime()) &&
		info.Size() == f.seen.Size() && info.Mode() == f.seen.Mode() {
		return
	}
	before := f.seen
	err = f.read()
	if gone := err != nil && f.seen == before; gone {
		if !f.missing {
			f.logger.Error("the file of tokens cannot be used; nobody is let in", "path", f.path, "error", err)
		}
		f.known, f.missing = nil, true
		return
	}
	f.missing = false
	if err != nil {
		f.logger.Error("the file of tokens is broken; its last good state counts", "path", f.path, "error", err)
		return
	}
	f.logger.Info("tokens read again", "path", f.path, "tokens", len(f.known))
}

// find is the identity of a token; nothing at all where the token is unknown.
func (f *tokenFile) find(token string, now time.Time) (*Identity, *refusal) {
	sum := sha256.Sum256([]byte(token))
	f.mu.Lock()
	f.look(now)
	t := f.known[sum]
	f.mu.Unlock()
	switch {
	case t == nil:
		return nil, nil
	case !t.Expires.IsZero() && !now.Before(t.Expires):
		return nil, invalid("the token has expired")
	}
	return &Identity{Actor: "token:" + t.Name, Roles: t.Roles, Profiles: t.Profiles, Tools: t.Tools}, nil
}

// bare is a file system error without the path, which the caller names.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Op, e.Err)
	}
	return err
}
