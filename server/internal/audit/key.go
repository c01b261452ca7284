package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// PEM types of key files.
const (
	privateType = "PRIVATE KEY"
	publicType  = "PUBLIC KEY"
)

// signer holds the private key that signs batches. It prints as nothing.
type signer struct {
	private ed25519.PrivateKey
	fresh   bool // made just now
}

func (*signer) String() string   { return "[private key]" }
func (*signer) GoString() string { return "[private key]" }

func (s *signer) public() ed25519.PublicKey { return s.private.Public().(ed25519.PublicKey) }

// openKey reads the private key of a file, or makes one, readable by its owner only, with its public half in a file beside it that ends in
// .pub.
func openKey(path string) (*signer, error) {
	s, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if err := makeKey(path); err != nil {
		return nil, bare(err)
	}
	if s, err = readKey(path); err != nil {
		return nil, err
	}
	s.fresh = true
	if err := os.WriteFile(path+".pub", PublicPEM(s.public()), 0o644); err != nil {
		return nil, fmt.Errorf("its public half %s.pub: %w", path, bare(err))
	}
	return s, nil
}

// makeKey puts a new key into place as a whole. Where another process was faster, its key stays.
func makeKey(path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // readable by its owner only
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(pem.Encode(f, &pem.Block{Type: privateType, Bytes: der}), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func readKey(path string) (*signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, bare(err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("mode %#o lets others read the key: chmod 600 it", mode)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, bare(err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != privateType {
		return nil, errors.New("holds no PEM block PRIVATE KEY: make one with `openssl genpkey -algorithm ed25519`, or name a file that is not there yet")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := key.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("holds no Ed25519 key in PKCS #8: make one with `openssl genpkey -algorithm ed25519`")
	}
	return &signer{private: private}, nil
}

// PublicKey reads the public half of a private key's file, or a file with the public key alone.
func PublicKey(path string) (ed25519.PublicKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM block: give the file that `openaccess-mcp audit key` prints", path)
	}
	var key any
	if block.Type == privateType {
		if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if private, ok := key.(ed25519.PrivateKey); ok {
				key = private.Public()
			}
		}
	} else {
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	public, ok := key.(ed25519.PublicKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s holds no Ed25519 key: give the file that `openaccess-mcp audit key` prints", path)
	}
	return public, nil
}

// PublicPEM is a public key as a PEM file holds it.
func PublicPEM(key ed25519.PublicKey) []byte {
	der, _ := x509.MarshalPKIXPublicKey(key) // an Ed25519 key never fails
	return pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: der})
}
