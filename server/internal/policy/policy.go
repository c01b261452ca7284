// Package policy answers one question: may this call happen on this host? It is
// pure. Compile turns the rules of one profile into a Policy, Policy.Decide
// takes a call and gives back the decision together with the rule that made it.
// Nothing here reads a file, a clock or the network.
//
// Start with Decide. How a command line is taken apart as a shell would is in
// syntax.go and words.go, which commands run others is in command.go and
// launcher.go, how commands are matched against patterns is in pattern.go and
// form.go, the search for privilege escalation is in sudo.go, where tunnels may
// listen and lead is in tunnel.go, and which paths of a host transfers may touch
// is in path.go.
package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DefaultConcurrency is the number of concurrent sessions that a profile admits
// when its rules do not set one.
const DefaultConcurrency = 10

var (
	knownProtocols   = []string{"ssh", "sftp", "rsync", "tunnel", "vpn"}
	defaultProtocols = []string{"ssh", "sftp"}
	knownActions     = []string{
		"ssh.exec", "ssh.sudo", "sftp.transfer", "sftp.upload", "sftp.download",
		"rsync.sync", "rsync.push", "rsync.pull", "rsync.delete",
		"tunnel.create", "tunnel.close", "vpn.wireguard_toggle",
	}
)

// Rules are the policy fields of one profile, as written. The zero value admits
// every ssh and sftp call with the default limits.
type Rules struct {
	// Protocols that the profile serves, of ssh, sftp, rsync, tunnel and vpn.
	// Empty means ssh and sftp.
	Protocols []string
	// CommandAllowlist holds regular expressions. When it is not empty, every
	// simple command of a command line must match one of them, those in
	// substitutions and those that other programs run included; what cannot be
	// judged before it runs is refused. Empty admits every command that no
	// other rule refuses.
	CommandAllowlist []string
	// CommandDenylist holds regular expressions; a command in which one is found
	// is refused, whatever the allow list says. It stops mistakes, it is no
	// boundary: a shell has endless ways to spell the same command.
	CommandDenylist []string
	// DenySudo refuses calls that ask for sudo and commands that start sudo,
	// sudoedit, doas, su, pkexec or run0. Like the deny list it is no boundary:
	// the account on the host should not have such rights in the first place.
	DenySudo bool
	// MaxSessionSeconds bounds one command or tunnel; 0 sets no bound.
	MaxSessionSeconds int
	// MaxConcurrentSessions bounds the calls that run at once; 0 means DefaultConcurrency.
	MaxConcurrentSessions int
	// RequireChangeTicketFor names operations or actions that need a change ticket.
	RequireChangeTicketFor []string
	// ReadOnlyCommands holds regular expressions for commands that change nothing.
	ReadOnlyCommands []string
	// TunnelTargets holds "host:port" patterns of what tunnels may lead to, as
	// parseAddress reads them: seen from the host for local and dynamic tunnels,
	// from this machine for remote ones. Empty admits everything.
	TunnelTargets []string
	// TunnelListenHosts are the addresses, besides those of loopback, that tunnels
	// may listen on.
	TunnelListenHosts []string
	// MaxTunnels bounds the tunnels open at once; 0 means DefaultTunnels.
	MaxTunnels int
	// RemoteRoots are the absolute folders of the host that transfers may name.
	// Empty admits all that the account may reach.
	RemoteRoots []string
	// RemoteDenylist holds regular expressions; a path of the host in which one
	// is found is refused, and is left out where a whole folder is moved.
	RemoteDenylist []string
	// ChangeTicketFormat is a regular expression for the whole of a change
	// ticket, where one is needed. Empty admits any text that is not blank.
	ChangeTicketFormat string
}

// Call is what a caller wants to do.
type Call struct {
	Operation    string   // the dotted operation: "ssh.exec", "sftp.transfer"
	Protocol     string   // the protocol it needs: "ssh", "sftp"
	Command      string   // the shell command, for operations that run one
	Sudo         bool     // the command is to run under sudo
	ChangeTicket string   // blank is none
	Listen       string   // the host that a tunnel listens on
	Target       string   // host:port that a tunnel leads to
	RemotePath   string   // the path of the host that a transfer names
	Actions      []string // further names a ticket rule may use: "sftp.upload"; "ssh.sudo" goes without saying
}

// Decision is the answer to a Call. Rule and Reason are empty when it is allowed.
type Decision struct {
	Allowed bool
	Rule    string // the deciding rule as a profile writes it: command_denylist[0] "rm\s+-rf"
	Reason  string // why, in words fit for the caller
	Ticket  string // the rule that needed the change ticket of an allowed call; empty where none was needed
}

// RuleError is one rule that cannot be used.
type RuleError struct {
	Field   string // as in the profile's policy, with its index: "command_allowlist[2]"
	Message string // what is wrong
	Remedy  string // what to write instead
}

func (e *RuleError) Error() string {
	return e.Field + ": " + e.Message + ": " + e.Remedy
}

// Policy is a compiled set of rules. What it decides never changes; it is safe for concurrent use. It must not be copied.
type Policy struct {
	protocols   []string
	allow       patterns
	deny        patterns
	readOnly    patterns
	denySudo    bool
	tickets     []string
	session     time.Duration
	concurrency int
	targets     []address
	listenHosts []string
	tunnels     int
	remote      remoteRules
	ticket      ticketRules
	memory      memory
}

// Compile checks the rules and prepares them. Its error joins one *RuleError for
// every rule that cannot be used; Mistakes takes them apart.
func Compile(r Rules) (*Policy, error) {
	c := compiler{}
	p := &Policy{
		protocols:   c.names("protocols", "protocol", r.Protocols, knownProtocols),
		allow:       c.patterns("command_allowlist", r.CommandAllowlist),
		deny:        c.patterns("command_denylist", r.CommandDenylist),
		readOnly:    c.patterns("read_only_commands", r.ReadOnlyCommands),
		denySudo:    r.DenySudo,
		tickets:     c.names("require_change_ticket_for", "operation", r.RequireChangeTicketFor, knownActions),
		session:     time.Duration(c.limit("max_session_seconds", r.MaxSessionSeconds)) * time.Second,
		concurrency: c.limit("max_concurrent_sessions", r.MaxConcurrentSessions),
		targets:     c.addresses("tunnel_targets", r.TunnelTargets),
		listenHosts: c.listenHosts("tunnel_listen_hosts", r.TunnelListenHosts),
		tunnels:     c.limit("max_tunnels", r.MaxTunnels),
		remote:      remoteRules{c.roots("remote_roots", r.RemoteRoots), c.patterns("remote_denylist", r.RemoteDenylist)},
		ticket:      c.format("change_ticket_format", r.ChangeTicketFormat),
	}
	if len(c.mistakes) > 0 {
		return nil, errors.Join(c.mistakes...)
	}
	if len(p.protocols) == 0 {
		p.protocols = defaultProtocols
	}
	if p.concurrency == 0 {
		p.concurrency = DefaultConcurrency
	}
	if p.tunnels == 0 {
		p.tunnels = DefaultTunnels
	}
	return p, nil
}

// Mistakes returns every *RuleError in an error of Compile, in order; nil for nil.
func Mistakes(err error) []*RuleError {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*RuleError
		for _, e := range joined.Unwrap() {
			all = append(all, Mistakes(e)...)
		}
		return all
	}
	if e, ok := errors.AsType[*RuleError](err); ok {
		return []*RuleError{e}
	}
	return nil
}

// Decide says whether the call may happen. Rules that refuse outright are asked
// before the one that only wants a ticket, so that nobody fetches a ticket in vain.
func (p *Policy) Decide(c Call) Decision {
	// What is open may be closed even where no more would be opened.
	if !slices.Contains(p.protocols, c.Protocol) && c.Operation != "tunnel.close" {
		return refuse("protocols", "this profile serves %s, not %q", strings.Join(p.protocols, ", "), c.Protocol)
	}
	if p.denySudo && c.Sudo {
		return refuse("deny_sudo", "sudo is not allowed on this profile")
	}
	if c.Command != "" || c.Operation == "ssh.exec" {
		if d := p.decideCommand(c.Command); !d.Allowed {
			return d
		}
	}
	if d := p.decideTunnel(c); !d.Allowed {
		return d
	}
	if d := p.DecideRemote(c.RemotePath); !d.Allowed {
		return d
	}
	return p.decideTicket(c)
}

func (p *Policy) decideCommand(command string) Decision {
	r := p.read(command)
	switch {
	case p.denySudo && r.escalates != "":
		return refuse("deny_sudo", "the command starts %s, which is not allowed on this profile", r.escalates)
	case r.denied != "":
		return refuse(r.denied, "the command matches the deny list")
	case r.admitted:
		return Decision{Allowed: true}
	}
	return refuse("command_allowlist", "%s", r.refusal)
}

func (p *Policy) decideTicket(c Call) Decision {
	for i, name := range p.tickets {
		if name != c.Operation && !slices.Contains(c.Actions, name) && (name != "ssh.sudo" || !c.Sudo && p.read(c.Command).escalates == "") {
			continue
		}
		rule := fmt.Sprintf("require_change_ticket_for[%d] %q", i, name)
		if strings.TrimSpace(c.ChangeTicket) == "" {
			return refuse(rule, "%s needs a change_ticket on this profile", name)
		}
		if bad := p.ticket.bad(c.ChangeTicket); bad != "" {
			return refuse("change_ticket_format", "the change_ticket cannot be one: %s", bad)
		}
		return Decision{Allowed: true, Ticket: rule}
	}
	return Decision{Allowed: true}
}

// ReadOnly says whether a pattern of read_only_commands declares the command to
// change nothing: each of its simple commands must match one, as under an allow list.
func (p *Policy) ReadOnly(command string) bool { return p.read(command).readOnly }

// SessionLimit is the longest a command or tunnel may last; 0 is no limit.
func (p *Policy) SessionLimit() time.Duration { return p.session }

// ConcurrencyLimit is the number of calls that may run at once; at least 1.
func (p *Policy) ConcurrencyLimit() int { return p.concurrency }

func refuse(rule, format string, args ...any) Decision {
	return Decision{Rule: rule, Reason: fmt.Sprintf(format, args...)}
}
