package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mvdan.cc/sh/v3/syntax"
)

// Bounds of what is read as shell: bytes of a command line, and how deep command lines may hold others, as in sh -c 'sh -c …'.
const (
	maxLine  = 16 << 10
	maxDepth = 8
)

// simple is one simple command of a command line: a program's name with its arguments.
type simple struct {
	name  string   // as the shell resolves it; empty for a redirection without a command
	args  []word   // behind the name
	text  string   // what patterns are held against: the name resolved, the other words as written, one blank between them
	split string   // text with every expansion that a shell would split into words standing apart; empty where there is none
	whole string   // split, or text, with "_" for every blank inside a word; empty where there is none
	files []string // redirections that read or write files, as "2> /tmp/x"
	inner []simple // the commands that the command runs, where it is a launcher that can be read
	risk  string   // why only a pattern that spells out the whole command may admit it; empty where any pattern may
}

// full is the text with the redirections behind it.
func (s *simple) full() string {
	if len(s.files) == 0 {
		return s.text
	}
	return strings.TrimSpace(s.text + " " + strings.Join(s.files, " "))
}

// readLine takes a command line apart as a POSIX shell and as Bash would. It fails where either could not, where the two would not run the
// same, and where something in it cannot be judged before it runs.
func readLine(line string, depth int) ([]simple, error) {
	if words := plainWords(line); words != nil && depth <= maxDepth {
		s, err := command(words, nil, depth)
		if err != nil {
			return nil, err
		}
		return []simple{s}, nil
	}
	if err := readable(line, depth); err != nil {
		return nil, err
	}
	posix, err := readAs(syntax.LangPOSIX, line, depth)
	if err != nil {
		return nil, err
	}
	bash, err := readAs(syntax.LangBash, line, depth)
	if err != nil {
		return nil, err
	}
	if !slices.EqualFunc(posix, bash, sameCommand) {
		return nil, errors.New("sh and bash would read it differently")
	}
	return posix, nil
}

func sameCommand(a, b simple) bool {
	return a.name == b.name && a.full() == b.full() && a.risk == b.risk && slices.EqualFunc(a.inner, b.inner, sameCommand)
}

// readable refuses what shells and people read differently before any grammar counts.
func readable(line string, depth int) error {
	switch {
	case len(line) > maxLine:
		return fmt.Errorf("it is longer than %d bytes", maxLine)
	case depth > maxDepth:
		return fmt.Errorf("it holds command lines within command lines more than %d deep", maxDepth)
	case !utf8.ValidString(line):
		return errors.New("it is not valid UTF-8")
	}
	for _, r := range line {
		if r == '\n' || r == '\t' || r == ' ' {
			continue
		}
		if unicode.IsControl(r) || unicode.IsSpace(r) || unicode.In(r, unicode.Cf, unicode.Zs, unicode.Zl, unicode.Zp) || r == utf8.RuneError {
			return fmt.Errorf("it holds the character %U, which is invisible or read differently by shells", r)
		}
	}
	return continued(line)
}

// continued refuses lines that a backslash joins where the grammar and shells do not agree on it: within a word or an operator, as in "$\" before
// "(reboot)", behind a comment, which no backslash prolongs, and in here-documents.
func continued(line string) error {
	joined := strings.Count(line, "\\\n")
	blank := strings.Count(line, " \\\n") + strings.Count(line, "\t\\\n")
	switch {
	case joined > blank:
		return errors.New("a backslash joins two lines within a word; put a blank before it")
	case joined > 0 && (strings.Contains(line, "#") || strings.Contains(line, "<<")):
		return errors.New("a backslash joins two lines beside a comment or a here-document; write it without")
	}
	return nil
}

func readAs(lang syntax.LangVariant, line string, depth int) ([]simple, error) {
	file, err := syntax.NewParser(syntax.Variant(lang)).Parse(strings.NewReader(line), "")
	if err != nil {
		return nil, fmt.Errorf("it cannot be read as %s: %v", shellName(lang), err)
	}
	r := reader{line: line, depth: depth}
	r.statements(file.Stmts)
	return r.found, r.err
}

func shellName(lang syntax.LangVariant) string {
	if lang == syntax.LangPOSIX {
		return "sh"
	}
	return "bash"
}

// reader gathers the simple commands of one command line. It knows every node that it lets through; any other is an error.
type reader struct {
	line  string
	depth int
	found []simple
	err   error // the first
}

func (r *reader) refuse(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) source(n syntax.Node) string {
	from, to := n.Pos().Offset(), n.End().Offset()
	if from > to || to > uint(len(r.line)) {
		r.refuse("it cannot be read")
		return ""
	}
	return strings.ReplaceAll(r.line[from:to], "\\\n", "")
}

func (r *reader) statements(list []*syntax.Stmt) {
	for _, s := range list {
		r.statement(s)
	}
}

func (r *reader) statement(s *syntax.Stmt) {
	if s.Coprocess || s.Disown {
		r.refuse("it starts a coprocess")
	}
	files := r.redirections(s.Redirs)
	switch c := s.Cmd.(type) {
	case nil:
		if len(files) > 0 {
			r.found = append(r.found, simple{files: files})
		}
		return
	case *syntax.CallExpr:
		r.call(c, files)
		return
	case *syntax.TimeClause:
		r.timed(c, files)
		return
	}
	if len(files) > 0 {
		r.refuse("it redirects a group of commands; redirect each of them")
	}
	r.compound(s.Cmd)
}

// compound reads a command that is made of others.
func (r *reader) compound(c syntax.Command) {
	switch c := c.(type) {
	case *syntax.BinaryCmd:
		if c.Op == syntax.PipeAll {
			r.refuse("it holds |&, which not every shell knows")
		}
		r.statement(c.X)
		r.statement(c.Y)
	case *syntax.Subshell:
		r.statements(c.Stmts)
	case *syntax.Block:
		r.statements(c.Stmts)
	case *syntax.IfClause:
		for ; c != nil; c = c.Else {
			r.statements(c.Cond)
			r.statements(c.Then)
		}
	case *syntax.WhileClause:
		r.statements(c.Cond)
		r.statements(c.Do)
	case *syntax.ForClause:
		r.loop(c)
	case *syntax.CaseClause:
		r.choice(c)
	case *syntax.FuncDecl:
		r.refuse("it declares a function, which gives a name another meaning")
	default:
		r.refuse("it holds a construct that not every shell knows (%s)", strings.TrimPrefix(fmt.Sprintf("%T", c), "*syntax."))
	}
}

func (r *reader) loop(c *syntax.ForClause) {
	items, ok := c.Loop.(*syntax.WordIter)
	if !ok || c.Select || c.Braces {
		r.refuse("it holds a loop that not every shell knows")
		return
	}
	r.variable(items.Name.Value)
	for _, w := range items.Items {
		r.word(w)
	}
	r.statements(c.Do)
}

func (r *reader) choice(c *syntax.CaseClause) {
	if c.Braces {
		r.refuse("it holds a case that not every shell knows")
	}
	r.word(c.Word)
	for _, item := range c.Items {
		if item.Op != syntax.Break {
			r.refuse("it holds a case that falls through, which not every shell knows")
		}
		for _, w := range item.Patterns {
			r.word(w)
		}
		r.statements(item.Stmts)
	}
}

// call reads a simple command: assignments, name and arguments.
func (r *reader) call(c *syntax.CallExpr, files []string) {
	words := make([]word, 0, len(c.Args))
	for _, a := range c.Assigns {
		r.assignment(a, len(c.Args) > 0)
	}
	for _, w := range c.Args {
		words = append(words, r.word(w))
	}
	if len(words) == 0 {
		if len(files) > 0 {
			r.found = append(r.found, simple{files: files})
		}
		return
	}
	s, err := command(words, files, r.depth)
	if err != nil {
		r.refuse("%w", err)
	}
	r.found = append(r.found, s)
}

// timed reads bash's word time as the program that it is to sh.
func (r *reader) timed(c *syntax.TimeClause, files []string) {
	words := []word{literal("time")}
	if c.PosixFormat {
		words = append(words, literal("-p"))
	}
	if c.Stmt != nil {
		files = append(files, r.redirections(c.Stmt.Redirs)...)
		call, ok := c.Stmt.Cmd.(*syntax.CallExpr)
		if !ok || len(call.Assigns) > 0 || c.Stmt.Negated || c.Stmt.Background {
			r.refuse("it times more than a simple command")
			return
		}
		for _, w := range call.Args {
			words = append(words, r.word(w))
		}
	}
	s, err := command(words, files, r.depth)
	if err != nil {
		r.refuse("%w", err)
	}
	r.found = append(r.found, s)
}

// assignment admits the variables that change how a program speaks, before a command; and plain ones of the shell's own alone.
func (r *reader) assignment(a *syntax.Assign, before bool) {
	if a.Append || a.Naked || a.Index != nil || a.Array != nil || a.Name == nil {
		r.refuse("it holds an assignment that not every shell knows")
		return
	}
	value := literal("")
	if a.Value != nil {
		value = r.word(a.Value)
	}
	if before {
		if !harmless(a.Name.Value, value) {
			r.refuse("it sets %s for a command, which can change what runs", a.Name.Value)
		}
		return
	}
	r.variable(a.Name.Value)
	if !value.static || strings.ContainsAny(value.text, "$`[(") {
		r.refuse("it sets %s to what cannot be judged before it runs", a.Name.Value)
	}
}

// harmless says whether a variable may be set for a program: language, time zone and the size of the screen, to plain values.
func harmless(name string, value word) bool {
	known := strings.HasPrefix(name, "LC_") || slices.Contains([]string{"LANG", "TZ", "COLUMNS", "LINES", "NO_COLOR"}, name)
	return known && value.static && strings.Trim(value.text, plainValue) == ""
}

const plainValue = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-@,"

// variable admits lower-case names that no shell and no program gives a meaning of its own.
func (r *reader) variable(name string) {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" || strings.HasSuffix(name, "_proxy") || slices.Contains(takenNames, name) {
		r.refuse("it sets %s, which can change what runs", name)
	}
}

// takenNames are variables with a meaning in zsh, ksh or csh.
var takenNames = []string{
	"path", "cdpath", "fpath", "manpath", "mailpath", "module_path", "psvar", "watch", "prompt", "argv", "status", "pipestatus", "home", "term",
	"shell", "user", "cwd", "fignore", "histchars", "nullcmd", "readnullcmd", "zsh_eval_context", "functions", "aliases", "commands", "options",
	"parameters", "modules", "_",
}

// redirections gives those that touch files, in the way that patterns name them. Descriptors may be joined and /dev/null may be used.
func (r *reader) redirections(list []*syntax.Redirect) (files []string) {
	for _, d := range list {
		if d.N != nil && (len(d.N.Value) != 1 || d.N.Value < "0" || d.N.Value > "9") {
			r.refuse("it redirects a descriptor in a way that not every shell knows")
			continue
		}
		target := r.word(d.Word)
		number := ""
		if d.N != nil {
			number = d.N.Value
		}
		switch d.Op {
		case syntax.DplIn, syntax.DplOut:
			if !target.static || target.quoted || strings.Trim(target.text, "0123456789-") != "" || len(target.text) != 1 {
				r.refuse("it joins descriptors in a way that not every shell knows")
			}
		case syntax.Hdoc, syntax.DashHdoc:
			r.document(d, target)
		case syntax.RdrOut, syntax.AppOut, syntax.RdrIn, syntax.RdrInOut, syntax.RdrClob:
			r.file(number+d.Op.String(), target, &files)
		default:
			r.refuse("it holds the redirection %s, which not every shell knows", d.Op)
		}
	}
	return files
}

func (r *reader) file(operator string, target word, files *[]string) {
	switch {
	case !target.fixed() || target.text == "":
		r.refuse("it redirects to a file whose name only the shell would know")
	case target.text == "/dev/null":
	case slices.Contains(strings.Split(target.text, "/"), ".."):
		r.refuse("it redirects to a file through ..")
	default:
		*files = append(*files, operator+" "+target.source)
	}
}

// document reads a here-document, whose substitutions run.
func (r *reader) document(d *syntax.Redirect, end word) {
	if !end.static || end.text == "" || strings.Trim(end.text, plainValue) != "" || strings.Contains(end.source, `\`) {
		r.refuse("it holds a here-document whose end is not a plain word")
	}
	if d.Hdoc == nil || end.quoted {
		return
	}
	var w word
	for _, p := range d.Hdoc.Parts {
		r.part(p, &w, true)
	}
}
