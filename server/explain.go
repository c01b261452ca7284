package server

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// Explanation is how a command is read and judged by the policy of a profile.
type Explanation struct {
	Profile  string
	Command  string
	Allowed  bool
	Rule     string // that refuses it; or empty
	Reason   string // why; or empty
	Exact    string // the allow list's rule that is this very command; or empty
	Unread   string // why it cannot be taken apart as a shell would; or empty
	Commands []ExplainedCommand
	listed   bool // the profile has an allow list
}

// ExplainedCommand is one simple command of a command line.
type ExplainedCommand struct {
	Text   string // its name resolved, the rest as written
	Depth  int    // 0 is one of the line's own, 1 one that such a command runs, and so on
	Rule   string // that admits it; or empty
	Reason string // why no rule admits it; or empty
}

// Explain says how ssh_exec would judge a command under a profile of cfg, were a change ticket given. No host is contacted. Errors are those of
// the configuration and of a profile that is not there.
func Explain(cfg Config, id, command string) (*Explanation, error) {
	cfg = cfg.withDefaults()
	store, err := profile.Open(cfg.profileConfig())
	if err != nil {
		return nil, err
	}
	p, err := store.Get(id)
	if err != nil {
		return nil, err
	}
	compiled, err := policy.Compile(rules(p))
	if err != nil {
		return nil, err
	}
	if command == "" {
		return nil, errors.New("no command is given")
	}
	e := compiled.Explain(policy.Call{Operation: "ssh.exec", Protocol: "ssh", Command: command})
	out := &Explanation{
		Profile: id, Command: command, Allowed: e.Decision.Allowed, Rule: e.Decision.Rule, Reason: e.Decision.Reason,
		Exact: e.Exact, Unread: e.Unread, listed: len(p.Policy.CommandAllowlist) > 0,
	}
	for _, c := range e.Commands {
		out.Commands = append(out.Commands, ExplainedCommand(c))
	}
	return out, nil
}

// Write prints the reading, a simple command a line, and then the decision.
func (e *Explanation) Write(w io.Writer) error {
	var b strings.Builder
	switch {
	case e.Exact != "":
		fmt.Fprintf(&b, "the whole command is what %s spells out\n", e.Exact)
	case e.Unread != "":
		fmt.Fprintf(&b, "the command cannot be judged: %s\n", e.Unread)
	}
	for _, c := range e.Commands {
		if e.Exact != "" {
			break
		}
		verdict := "read"
		switch {
		case c.Rule != "":
			verdict = "admitted by " + c.Rule
		case e.listed:
			verdict = "refused: " + c.Reason
		}
		fmt.Fprintf(&b, "%s%q: %s\n", strings.Repeat("  ", c.Depth), c.Text, verdict)
	}
	if e.Allowed {
		fmt.Fprintf(&b, "admitted on profile %s\n", e.Profile)
	} else {
		fmt.Fprintf(&b, "refused on profile %s by rule %s: %s\n", e.Profile, e.Rule, e.Reason)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
