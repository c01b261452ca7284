package policy

import (
	"slices"
	"strconv"
	"strings"
	"sync"
)

// reading is what the rules say of a command, whoever calls it.
type reading struct {
	escalates string // the program by which it would gain other rights; only where a rule asks
	denied    string // the rule of the deny list that it matches
	admitted  bool   // by the allow list
	refusal   string // why it is not
	readOnly  bool
}

// memory keeps the readings of commands, since callers repeat themselves: a command whose result is remembered is one that was read before.
type memory struct {
	mu       sync.RWMutex
	readings map[string]reading
}

// Bounds of a memory: commands in it, and bytes of each.
const (
	maxReadings = 256
	maxReadable = 1024
)

// read judges a command, or remembers what it found before.
func (p *Policy) read(command string) reading {
	p.memory.mu.RLock()
	r, known := p.memory.readings[command]
	p.memory.mu.RUnlock()
	if known {
		return r
	}
	r = p.judge(command)
	if len(command) <= maxReadable {
		p.memory.keep(command, r)
	}
	return r
}

// judge reads a command for the first time.
func (p *Policy) judge(command string) reading {
	var r reading
	var commands []simple
	var err error
	if len(p.allow) > 0 || len(p.readOnly) > 0 || len(p.deny) > 0 {
		commands, err = readLine(command, 0)
	}
	if r.denied = p.deny.search(command); r.denied == "" {
		r.denied = p.deny.among(commands, command)
	}
	if p.denySudo || len(p.tickets) > 0 {
		r.escalates = escalation(command)
	}
	r.admitted = len(p.allow) == 0
	if !r.admitted {
		r.admitted, r.refusal = p.allow.admitLine(command, commands, err, nil)
	}
	if len(p.readOnly) > 0 {
		r.readOnly, _ = p.readOnly.admitLine(command, commands, err, nil)
	}
	return r
}

// admitLine says whether every command of a command line is admitted, or why the first that is not is refused. It tells each of them to
// visit, unless that is nil.
func (ps patterns) admitLine(line string, commands []simple, unread error, visit func(ReadCommand)) (bool, string) {
	if ps.exact(line) != "" {
		return true, ""
	}
	if unread != nil {
		return false, "the command cannot be judged: " + unread.Error()
	}
	if len(commands) == 0 {
		return false, "there is no command in it"
	}
	return ps.admitAll(commands, 0, visit)
}

func (ps patterns) admitAll(commands []simple, depth int, visit func(ReadCommand)) (ok bool, reason string) {
	ok = true
	for i := range commands {
		s := &commands[i]
		a, spelled := ps.admit(s)
		if visit != nil {
			visit(ReadCommand{Text: s.full(), Depth: depth, Rule: a.rule, Reason: a.reason})
		}
		if a.rule == "" && ok {
			ok, reason = false, s.shown()+": "+a.reason
		}
		if spelled {
			continue
		}
		if inner, why := ps.admitAll(s.inner, depth+1, visit); !inner && ok {
			ok, reason = false, why
		}
		if !ok && visit == nil {
			return false, reason
		}
	}
	return ok, reason
}

// shown is the command as a message names it.
func (s *simple) shown() string {
	text := s.full()
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return strconv.Quote(text)
}

const maxShown = 80

// among returns the rule of the first pattern that is found in one of the commands, or in one that they run. searched is a text in which none is.
func (ps patterns) among(commands []simple, searched string) string {
	if len(ps) == 0 {
		return ""
	}
	for i := range commands {
		s := &commands[i]
		for _, text := range []string{s.full(), s.plainText()} {
			if text == searched {
				continue
			}
			if rule := ps.search(text); rule != "" {
				return rule
			}
			searched = text
		}
		if rule := ps.among(s.inner, searched); rule != "" {
			return rule
		}
	}
	return ""
}

// plainText is the command with all quotes gone.
func (s *simple) plainText() string {
	if !slices.ContainsFunc(s.args, func(w word) bool { return w.static && w.text != w.source }) {
		return s.text
	}
	words := []string{s.name}
	for _, w := range s.args {
		if w.static {
			words = append(words, w.text)
		} else {
			words = append(words, w.source)
		}
	}
	return strings.Join(words, " ")
}

// keep remembers a reading, and nothing older when it is full.
func (m *memory) keep(command string, r reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.readings == nil || len(m.readings) >= maxReadings {
		m.readings = make(map[string]reading)
	}
	m.readings[command] = r
}
