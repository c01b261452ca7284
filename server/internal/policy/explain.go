package policy

// ReadCommand is one simple command of a command line and what the allow list says of it.
type ReadCommand struct {
	Text   string // its name resolved, the rest as written, with redirections of files
	Depth  int    // 0 is one of the line's own; 1 is one that such a command runs, as env does; and so on
	Rule   string // that admits it; or empty
	Reason string // why no rule admits it; or empty
}

// Explanation is how a command line is read and judged.
type Explanation struct {
	Decision Decision
	Commands []ReadCommand // none where the line cannot be read
	Unread   string        // why it cannot be read as a shell would; or empty
	Exact    string        // the rule that is this very command line, whatever it holds; or empty
}

// Explain decides a call of ssh.exec as Decide does and says how the command was read.
func (p *Policy) Explain(c Call) Explanation {
	e := Explanation{Decision: p.Decide(c), Exact: p.allow.exact(c.Command)}
	commands, err := readLine(c.Command, 0)
	if err != nil {
		e.Unread = err.Error()
		return e
	}
	visit := func(r ReadCommand) {
		if len(p.allow) == 0 {
			r.Rule, r.Reason = "", ""
		}
		e.Commands = append(e.Commands, r)
	}
	p.allow.admitAll(commands, 0, visit)
	return e
}
