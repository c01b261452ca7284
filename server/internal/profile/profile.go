// Package profile knows the hosts by name. A profile is a file that says where a
// host is, who logs in with which credential, which host key to expect and what
// is allowed; this package loads them, finds every mistake in them, and resolves
// one to a Target that is ready to dial.
//
// Start with Open and Store.Resolve. Reading a file is in decode.go and
// validate.go, the host key rules are in hostkey.go, caching and reloading in
// resolve.go.
package profile

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// Profile is one host as its file describes it. Those that a Store gives out
// are shared and must not be changed; a changed file yields a new pointer, so a
// pointer can be the key of whatever is derived from a profile.
type Profile struct {
	// ID is the name of the file without its extension: lower-case letters,
	// digits, dot, dash and underscore, at most 64, first a letter or digit.
	ID string `json:"id" yaml:"id"`
	// Host is a name or an IP address, without port.
	Host string `json:"host" yaml:"host"`
	// Port is 22 where the file names none.
	Port int `json:"port" yaml:"port"`
	// Username logs in; empty takes that of the credential.
	Username string `json:"username,omitempty" yaml:"username"`
	// Protocols of ssh, sftp, rsync, tunnel, vpn; ssh and sftp where the file names none.
	Protocols []string   `json:"protocols" yaml:"protocols"`
	Auth      secret.Ref `json:"auth" yaml:"auth"`
	// HostKey is the one key the host may show, as in authorized_keys; empty
	// leaves it to known_hosts.
	HostKey string `json:"host_key,omitempty" yaml:"host_key"`
	// Jump is the profile through which the host is reached; empty is directly.
	Jump string `json:"jump,omitempty" yaml:"jump"`
	// ViaVPN is the WireGuard peer through whose tunnel the host is reached:
	// PEER of this profile, or PROFILE/PEER; empty is directly.
	ViaVPN      string   `json:"via_vpn,omitempty" yaml:"via_vpn"`
	VPN         VPN      `json:"vpn" yaml:"vpn"`
	Policy      Policy   `json:"policy" yaml:"policy"`
	Tags        []string `json:"tags,omitempty" yaml:"tags"`
	Description string   `json:"description,omitempty" yaml:"description"`

	hostKey ssh.PublicKey // HostKey, parsed; or nil
}

// Policy is the policy section of a profile, as written but for defaults.
type Policy struct {
	Roles                  []string `json:"roles,omitempty" yaml:"roles"`
	CommandAllowlist       []string `json:"command_allowlist,omitempty" yaml:"command_allowlist"`
	CommandDenylist        []string `json:"command_denylist,omitempty" yaml:"command_denylist"`
	DenySudo               bool     `json:"deny_sudo" yaml:"deny_sudo"`
	MaxSessionSeconds      int      `json:"max_session_seconds" yaml:"max_session_seconds"`
	MaxConcurrentSessions  int      `json:"max_concurrent_sessions" yaml:"max_concurrent_sessions"`
	RequireChangeTicketFor []string `json:"require_change_ticket_for,omitempty" yaml:"require_change_ticket_for"`
	ReadOnlyCommands       []string `json:"read_only_commands,omitempty" yaml:"read_only_commands"`
	// TunnelTargets are host:port patterns of what tunnels may lead to, such as
	// "*.internal:443" or "10.0.0.0/8:*"; empty admits everything.
	TunnelTargets []string `json:"tunnel_targets,omitempty" yaml:"tunnel_targets"`
	// TunnelListenHosts are addresses besides loopback that tunnels may listen on.
	TunnelListenHosts []string `json:"tunnel_listen_hosts,omitempty" yaml:"tunnel_listen_hosts"`
	// MaxTunnels bounds the tunnels open at once; 0 is 256.
	MaxTunnels int `json:"max_tunnels,omitempty" yaml:"max_tunnels"`
	// LocalRoots bounds the local paths of transfers; the working folder of the
	// server, ".", where the file has no such field. An empty list admits none.
	LocalRoots []string `json:"local_roots" yaml:"local_roots"`
	// RemoteRoots bounds the paths of the host that transfers may name; empty admits all that the account may reach.
	RemoteRoots []string `json:"remote_roots,omitempty" yaml:"remote_roots"`
	// RemoteDenylist holds regular expressions for paths of the host that transfers may not touch.
	RemoteDenylist []string `json:"remote_denylist,omitempty" yaml:"remote_denylist"`
	// ChangeTicketFormat is a regular expression for a whole change ticket; empty admits any.
	ChangeTicketFormat string `json:"change_ticket_format,omitempty" yaml:"change_ticket_format"`
	// ChangeTicketCheck is the program, by its absolute path, or the http or https address that is asked about a ticket; empty asks nobody.
	ChangeTicketCheck string `json:"change_ticket_check,omitempty" yaml:"change_ticket_check"`
}

// Addr is host and port, ready for net.Dial.
func (p *Profile) Addr() string { return net.JoinHostPort(p.Host, strconv.Itoa(p.Port)) }

// ErrNotFound is matched by the error for an id that no profile has.
var ErrNotFound = errors.New("no such profile")

// Problem is one mistake in a profile or in what it refers to.
type Problem struct {
	File         string // a path, or "environment variable NAME", or "SSH agent"
	Line, Column int    // 1-based; 0 is unknown
	Field        string // dotted: "policy.command_allowlist[2]"; or empty
	Message      string
	Remedy       string
}

// Error gives, for example:
//
//	profiles/web.json:7:3: auth.type: unknown type "foo": use file_ref, env_ref or agent
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	for _, part := range []string{p.Field, p.Message, p.Remedy} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	return b.String()
}

// FieldError is what Config.Validate finds wrong with one field.
type FieldError struct {
	Field   string // dotted, as in Problem
	Message string
	Remedy  string
}

// CredentialError says that the credential of a profile cannot be used. It wraps
// the errors of package secret and holds no secret text.
type CredentialError struct {
	Profile string
	Err     error
}

func (e *CredentialError) Error() string {
	return "profile " + e.Profile + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *CredentialError) Unwrap() error { return e.Err }

// Target is a host ready to dial. Targets are shared and must not be changed.
// They hold nothing open.
type Target struct {
	Profile *Profile
	// Addr is host:port; dial it through Jump where that is set.
	Addr string
	// User logs in.
	User string
	// Key is equal for targets that can share a connection: same address, user,
	// credential, host key rule, WireGuard peer and jump chain. It reveals no secret.
	Key string
	// Jump is the host to go through; nil is none.
	Jump *Target
	// VPN is the WireGuard peer, as PROFILE/PEER, through whose tunnel to dial
	// Addr; empty is none. A Target with a Jump has none of its own.
	VPN string
	// Auth, HostKeyCallback and HostKeyAlgorithms belong into ssh.ClientConfig.
	// The callback fails with a *HostKeyError; it trusts nothing unseen. It
	// judges Addr, whatever name it is called with.
	Auth              []ssh.AuthMethod
	HostKeyCallback   ssh.HostKeyCallback
	HostKeyAlgorithms []string // those of the expected keys first
}
