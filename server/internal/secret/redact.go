package secret

import (
	"io"
	"slices"
	"strings"
	"sync/atomic"
)

// Mark stands where a Redactor took a secret out.
const Mark = redacted

// The least length of what a Redactor takes out. The marks in place of something shorter would tell it, and spoil what has nothing to do with it.
const (
	minText    = 6
	minKeyLine = 8
)

// Patterns are the pieces by which a Redactor knows secrets: the texts, and of private keys each line, so that they are found however the
// lines are indented, ended or escaped.
func Patterns(texts []string) (patterns []string) {
	for _, text := range texts {
		if !strings.Contains(text, "-----BEGIN ") {
			if len(text) >= minText {
				patterns = append(patterns, text)
			}
			continue
		}
		for line := range strings.Lines(text) {
			if line = strings.TrimSpace(line); len(line) >= minKeyLine && !strings.Contains(line, "-----") && !strings.Contains(line, ": ") {
				patterns = append(patterns, line)
			}
		}
	}
	slices.SortFunc(patterns, func(a, b string) int { return len(b) - len(a) })
	return slices.Compact(patterns)
}

// Redactor takes secrets out of a stream. It is immutable and safe for concurrent use; a nil one takes nothing out.
type Redactor struct {
	patterns func() []string // the longest first; a function, of which fmt shows at most an address
	begins   [64]uint64
}

// NewRedactor makes one of what Patterns returned; nil where that is nothing.
func NewRedactor(patterns []string) *Redactor {
	if len(patterns) == 0 {
		return nil
	}
	r := &Redactor{patterns: func() []string { return patterns }}
	for _, p := range patterns {
		at := begin(p[0], p[1])
		r.begins[at/64] |= 1 << (at % 64)
	}
	return r
}

// begin is a number below 4096 for two bytes: few of those in a text are those that a pattern begins with.
func begin(a, b byte) uint32 { return (uint32(a)<<8 | uint32(b)) * 0x9e3779b1 >> 20 }

// Longest is the length of the longest text that is taken out.
func (r *Redactor) Longest() int {
	if r == nil {
		return 0
	}
	return len(r.patterns()[0])
}

// Clean returns b with every secret replaced by Mark, and how many there were. Where more is to come, rest is the end of b that may be the begin of a
// secret, and is not in clean. Both may share memory with b, which is not changed.
func (r *Redactor) Clean(b []byte, more bool) (clean, rest []byte, count int) {
	if r == nil {
		return b, nil, 0
	}
	var out []byte
	from := 0 // of what is not in out yet
	for i := 0; i < len(b); {
		if i+1 < len(b) {
			if at := begin(b[i], b[i+1]); r.begins[at/64]&(1<<(at%64)) == 0 {
				i++
				continue
			}
		}
		length, open := r.match(b[i:])
		if open && more {
			return join(out, b[from:i]), b[i:], count
		}
		if length == 0 {
			i++
			continue
		}
		out = append(append(out, b[from:i]...), Mark...)
		count++
		i += length
		from = i
	}
	return join(out, b[from:]), nil, count
}

// join saves a copy where nothing was replaced.
func join(out, tail []byte) []byte {
	if out == nil {
		return tail
	}
	return append(out, tail...)
}

// match is the length of the longest pattern that b begins with; open says that b is the begin of a longer one.
func (r *Redactor) match(b []byte) (length int, open bool) {
	for _, p := range r.patterns() {
		switch {
		case p[0] != b[0]:
		case len(p) > len(b):
			open = open || p[:len(b)] == string(b)
		case length == 0 && string(b[:len(p)]) == p:
			return len(p), open
		}
	}
	return 0, open
}

// Writer takes the secrets out of what is written through it, also those that come in pieces. It is not safe for concurrent use, but for Count.
type Writer struct {
	redactor *Redactor
	to       io.Writer
	held     []byte // may be the begin of a secret
	count    atomic.Int64
}

// Writer writes to to. Close writes what it holds back.
func (r *Redactor) Writer(to io.Writer) *Writer { return &Writer{redactor: r, to: to} }

// Write passes on what cannot be part of a secret any more.
func (w *Writer) Write(p []byte) (int, error) {
	b := p
	if len(w.held) > 0 {
		b = append(w.held, p...)
	}
	err := w.pass(b, true)
	return len(p), err
}

func (w *Writer) pass(b []byte, more bool) error {
	clean, rest, n := w.redactor.Clean(b, more)
	w.held = slices.Clone(rest)
	w.count.Add(int64(n))
	if len(clean) == 0 {
		return nil
	}
	_, err := w.to.Write(clean)
	return err
}

// Close writes the rest. It does not close what it writes to.
func (w *Writer) Close() error { return w.pass(w.held, false) }

// Count is how many secrets were taken out so far.
func (w *Writer) Count() int64 { return w.count.Load() }
