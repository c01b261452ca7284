package profile

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

var (
	validID   = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	validHost = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9._-]{0,252})$`)
	protocols = []string{"ssh", "sftp", "rsync", "tunnel", "vpn"}
)

// validate checks the decoded values, sets the defaults, and records every
// mistake. id is the one that the file's name gives.
func (d *document) validate(id string, extra func(*Profile) []FieldError) {
	p := d.profile
	d.identity(id)
	d.address()
	for i, protocol := range p.Protocols {
		if !slices.Contains(protocols, protocol) {
			d.problem(fmt.Sprintf("protocols[%d]", i), fmt.Sprintf("unknown protocol %q", protocol), "use "+strings.Join(protocols, ", "))
		}
	}
	d.auth()
	d.pin()
	d.vpn()
	d.defaults()
	for i, root := range p.Policy.LocalRoots {
		if strings.TrimSpace(root) == "" {
			d.problem(fmt.Sprintf("policy.local_roots[%d]", i), "empty", `name a folder; "." is the server's working folder`)
		}
	}
	if extra != nil && len(d.problems) == 0 {
		for _, e := range extra(p) {
			d.problem(e.Field, e.Message, e.Remedy)
		}
	}
}

func (d *document) defaults() {
	p := d.profile
	if !d.has("port") {
		p.Port = 22
	}
	if len(p.Protocols) == 0 {
		p.Protocols = []string{"ssh", "sftp"}
	}
	if !d.has("policy.local_roots") {
		p.Policy.LocalRoots = []string{"."}
	}
}

func (d *document) identity(id string) {
	switch p := d.profile; {
	case !validID.MatchString(id):
		d.problem("id", fmt.Sprintf("the file's name gives the id %q", id),
			"name the file with at most 64 lower-case letters, digits, dots, dashes and underscores, a letter or digit first")
	case p.ID == "":
		d.problem("id", "missing", fmt.Sprintf("set it to %q, as the file's name says", id))
	case p.ID != id:
		d.problem("id", fmt.Sprintf("%q is not what the file's name says", p.ID), fmt.Sprintf("set it to %q or rename the file", id))
	}
}

func (d *document) address() {
	p := d.profile
	_, ipErr := netip.ParseAddr(p.Host)
	switch {
	case p.Host == "":
		d.problem("host", "missing", "set a host name or an IP address")
	case ipErr != nil && !validHost.MatchString(p.Host):
		d.problem("host", fmt.Sprintf("%q is neither a host name nor an IP address", p.Host),
			"write the bare name or address; user and port have fields of their own")
	}
	if d.has("port") && (p.Port < 1 || p.Port > 65535) {
		d.problem("port", fmt.Sprintf("%d is not a port", p.Port), "use 1 to 65535, or leave it out for 22")
	}
	if strings.ContainsAny(p.Username, " \t\r\n\x00") {
		d.problem("username", "holds blanks or control characters", "write the bare user name")
	}
}

func (d *document) auth() {
	if !d.has("auth") {
		d.problem("auth", "missing", fmt.Sprintf(`set it to {"type": "file_ref", "ref": %q}, for example`, d.profile.ID))
		return
	}
	if e, ok := errors.AsType[*secret.Error](secret.CheckRef(d.profile.Auth)); ok {
		d.problem("auth."+e.Field, e.Message, e.Remedy)
	}
}

func (d *document) pin() {
	text := strings.TrimSpace(d.profile.HostKey)
	if text == "" {
		return
	}
	key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil || len(options) > 0 || len(rest) > 0 {
		d.problem("host_key", "not one public key", `write "ssh-ed25519 AAAA…", as ssh-keyscan prints it after the host's name`)
		return
	}
	d.profile.hostKey = key
}
