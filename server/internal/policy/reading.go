package policy

import "sync"

// reading is what the rules say of a command, whoever calls it.
type reading struct {
	escalates string // the program by which it would gain other rights; only where a rule asks
	denied    string // the rule of the deny list that it matches
	admitted  bool   // by the allow list
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
	r = reading{denied: p.deny.search(command)}
	if p.denySudo || len(p.tickets) > 0 {
		r.escalates = escalation(command)
	}
	r.admitted = len(p.allow) == 0 || p.allow.admit(command)
	r.readOnly = len(p.readOnly) > 0 && p.readOnly.admit(command)
	if len(command) <= maxReadable {
		p.memory.keep(command, r)
	}
	return r
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
