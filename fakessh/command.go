package fakessh

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh/memfs"
)

// Handler runs one command and returns its exit status, 0 to 255. The context is
// cancelled when the client sends a signal (TERM, KILL, INT, HUP, QUIT or ABRT),
// closes the channel or loses the connection; the client is told of a signal at
// once, whenever the handler returns. Reads of standard input then fail, and so
// do writes.
type Handler func(ctx context.Context, c *Command) int

// Command is what a handler is given. It is good until the handler returns.
type Command struct {
	Args   []string // the words of the command, its name first, without sudo
	Line   string   // as the client sent it
	User   string   // who logged in
	Sudo   bool     // run through sudo
	PTY    bool     // a terminal was asked for; Stderr is Stdout then
	Dir    string   // where relative paths start
	FS     *memfs.FS
	Stdin  io.Reader
	Stdout io.Writer // Stdout and Stderr are safe for concurrent use
	Stderr io.Writer
}

// Path returns the absolute path in FS of a name given to the command.
func (c *Command) Path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(c.Dir, name)
}

// commandTable holds handlers by name.
type commandTable struct {
	mu       sync.RWMutex
	handlers map[string]Handler
}

func (t *commandTable) init(extra map[string]Handler) {
	t.handlers = maps.Clone(builtins)
	maps.Copy(t.handlers, extra)
}

func (t *commandTable) get(name string) Handler {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.handlers[name]
}

// Handle registers the handler of a command, in place of one of that name, for
// commands that start from now on. A nil handler removes the command. The name
// is the first word of the line, or the first after sudo.
func (h *Host) Handle(name string, handler Handler) {
	h.commands.mu.Lock()
	defer h.commands.mu.Unlock()
	if handler == nil {
		delete(h.commands.handlers, name)
		return
	}
	h.commands.handlers[name] = handler
}

// lockedWriter makes writes to one stream of a channel safe for concurrent use.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// exec runs a command line, asked for at arrived, to its end.
func (s *session) exec(line string, arrived time.Time) int {
	stdout := &lockedWriter{w: s.ch}
	c := &Command{
		Line: line, User: s.user, PTY: s.pty, Dir: s.host.home, FS: s.host.fs,
		Stdin: s.ch, Stdout: stdout, Stderr: stdout,
	}
	if !s.pty {
		c.Stderr = &lockedWriter{w: s.ch.Stderr()}
	}
	words, err := Words(line)
	if err != nil {
		fmt.Fprintf(c.Stderr, "sh: syntax error: %v\n", err)
		return 2
	}
	if c.Args, c.Sudo = stripSudo(words); len(c.Args) == 0 {
		return 0
	}
	name, handler := c.Args[0], s.host.commands.get(c.Args[0])
	if handler == nil {
		name, handler = "", notFound
	}
	s.host.stats.commandStarted(name)
	defer func() { s.host.stats.commandEnded(name, s.ctx.Err() != nil) }()
	if !s.host.inject.exec(s.ctx, name, arrived) {
		return 0 // nobody asks any more
	}
	return handler(s.ctx, c)
}

func notFound(_ context.Context, c *Command) int {
	fmt.Fprintf(c.Stderr, "sh: %s: not found\n", c.Args[0])
	return 127
}

// stripSudo takes a leading sudo and its options off.
func stripSudo(words []string) (rest []string, sudo bool) {
	if len(words) == 0 || words[0] != "sudo" {
		return words, false
	}
	for words = words[1:]; len(words) > 0 && strings.HasPrefix(words[0], "-"); {
		option := words[0]
		words = words[1:]
		switch option {
		case "--":
			return words, true
		case "-u", "-g", "-p":
			words = words[min(1, len(words)):]
		}
	}
	return words, true
}
