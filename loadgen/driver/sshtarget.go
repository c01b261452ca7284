package driver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/crypto/ssh"
)

// SSHTarget is a host and the login to it.
type SSHTarget struct {
	Profile string // id by which calls name it
	Address string // host:port
	User    string
	Auth    []ssh.AuthMethod
	HostKey ssh.PublicKey // the only one that is accepted
}

// profileFile is what is read of a server's profile, and secretFile of its secret.
type profileFile struct {
	Host     string `yaml:"host"`
	Port     int    `yaml:"port"`
	Username string `yaml:"username"`
	Auth     struct {
		Type string `yaml:"type"`
		Ref  string `yaml:"ref"`
	} `yaml:"auth"`
	HostKey string `yaml:"host_key"`
	Jump    string `yaml:"jump"`
	ViaVPN  string `yaml:"via_vpn"`
}

type secretFile struct {
	Username       string `yaml:"username"`
	PrivateKey     string `yaml:"private_key"`
	PrivateKeyPath string `yaml:"private_key_path"`
	Password       string `yaml:"password"`
	Passphrase     string `yaml:"passphrase"`
}

// ReadSSHTarget reads a profile of the server's and its secret, each a file named by its id in JSON or YAML. It understands hosts that are
// reached directly, pin their key, and have their secret in a file; others are an error that says so.
func ReadSSHTarget(profileDir, secretDir, id string) (SSHTarget, error) {
	var p profileFile
	file, err := readDoc(profileDir, id, &p)
	if err != nil {
		return SSHTarget{}, fmt.Errorf("raw-ssh: profile %s: %w", id, err)
	}
	problem := ""
	switch {
	case p.Host == "":
		problem = "host: it is missing"
	case p.Jump != "":
		problem = "jump: raw-ssh only reaches hosts directly"
	case p.ViaVPN != "":
		problem = "via_vpn: raw-ssh only reaches hosts directly"
	case p.Auth.Type != "file_ref":
		problem = fmt.Sprintf("auth.type: raw-ssh only reads secrets from files (file_ref), not %q", p.Auth.Type)
	case p.HostKey == "":
		problem = "host_key: raw-ssh only trusts a pinned key; add it"
	}
	if problem != "" {
		return SSHTarget{}, fmt.Errorf("%s: %s", file, problem)
	}
	t := SSHTarget{Profile: id, User: p.Username}
	if p.Port == 0 {
		p.Port = 22
	}
	t.Address = net.JoinHostPort(p.Host, strconv.Itoa(p.Port))
	if t.HostKey, _, _, _, err = ssh.ParseAuthorizedKey([]byte(p.HostKey)); err != nil {
		return SSHTarget{}, fmt.Errorf("%s: host_key: %w", file, err)
	}
	return t, t.readSecret(secretDir, p.Auth.Ref)
}

func (t *SSHTarget) readSecret(dir, ref string) error {
	var s secretFile
	file, err := readDoc(dir, ref, &s)
	if err != nil {
		return fmt.Errorf("raw-ssh: secret %s: %w", ref, err)
	}
	if t.User == "" {
		t.User = s.Username
	}
	key := []byte(s.PrivateKey)
	if s.PrivateKeyPath != "" {
		path := s.PrivateKeyPath
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if key, err = os.ReadFile(path); err != nil {
			return fmt.Errorf("%s: private_key_path: %w", file, err)
		}
	}
	if len(key) > 0 {
		signer, err := parseKey(key, s.Passphrase)
		if err != nil {
			return fmt.Errorf("%s: the private key: %w", file, err)
		}
		t.Auth = append(t.Auth, ssh.PublicKeys(signer))
	}
	if s.Password != "" {
		t.Auth = append(t.Auth, ssh.Password(s.Password))
	}
	if len(t.Auth) == 0 {
		return fmt.Errorf("%s: holds neither a key nor a password", file)
	}
	return nil
}

func parseKey(pem []byte, passphrase string) (ssh.Signer, error) {
	if passphrase != "" {
		return ssh.ParsePrivateKeyWithPassphrase(pem, []byte(passphrase))
	}
	return ssh.ParsePrivateKey(pem)
}

// readDoc decodes the file named id in dir, in one of the formats.
func readDoc(dir, id string, doc any) (file string, err error) {
	for _, ext := range []string{".json", ".yaml", ".yml"} {
		file = filepath.Join(dir, id+ext)
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return file, err
		}
		return file, plainError(file, yaml.Unmarshal(data, doc))
	}
	return file, fmt.Errorf("there is no %s.json, .yaml or .yml in %s", id, dir)
}

// plainError keeps the place of a YAML error and drops the rest, which quotes the file and so perhaps a secret.
func plainError(file string, err error) error {
	var bad yaml.Error
	if !errors.As(err, &bad) || bad.GetToken() == nil || bad.GetToken().Position == nil {
		return err
	}
	at := bad.GetToken().Position
	return fmt.Errorf("%s:%d:%d: what stands there is not the JSON or YAML of a profile or secret", file, at.Line, at.Column)
}

// sshHandshake bounds the key exchange and authentication of a connection.
const sshHandshake = 15 * time.Second

func (t *SSHTarget) dial(ctx context.Context) (*ssh.Client, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, sshHandshake)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	conn, channels, requests, err := ssh.NewClientConn(raw, t.Address, &ssh.ClientConfig{
		User: t.User, Auth: t.Auth, HostKeyCallback: ssh.FixedHostKey(t.HostKey), HostKeyAlgorithms: hostKeyAlgorithms(t.HostKey),
	})
	if !stop() && err == nil {
		conn.Close()
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", t.Address, ctx.Err())
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("%s: %w", t.Address, err)
	}
	return ssh.NewClient(conn, channels, requests), nil
}

// hostKeyAlgorithms asks the host for the pinned key, where it has several.
func hostKeyAlgorithms(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}
