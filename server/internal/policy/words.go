package policy

import (
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// word is one word of a command line as the shell would hand it on.
type word struct {
	source string // as written
	text   string // what it is once quotes are gone; of one that is not static, what stands before the first expansion
	static bool   // text is all of it
	quoted bool   // it holds quotes or backslashes
	globs  bool   // it may stand for any number of file names
	splits bool   // it holds an expansion that may become any number of words
	braces bool   // it holds {} outside quotes
	tilde  bool   // it begins with a home directory
	apart  string // source with the splitting expansions apart
	whole  string // apart with "_" for every blank of the source, since those inside a word do not end it
}

func literal(text string) word {
	return word{source: text, text: text, static: true, apart: text, whole: text}
}

// fixed says whether the program gets exactly text.
func (w word) fixed() bool { return w.static && !w.tilde }

// operand says whether the word cannot be an option, whatever it expands to.
func (w word) operand() bool { return !w.splits && w.text != "" && w.text[0] != '-' }

func (r *reader) word(w *syntax.Word) word {
	out := word{source: r.source(w), static: true}
	for i, p := range w.Parts {
		before := out.splits
		out.splits = false
		r.part(p, &out, false)
		edge := ""
		if out.splits {
			edge = " "
		}
		out.apart += edge + r.source(p) + edge
		out.whole += edge + unblank.Replace(r.source(p)) + edge
		out.splits = out.splits || before
		if lit, ok := p.(*syntax.Lit); ok && i == 0 && strings.HasPrefix(lit.Value, "~") {
			out.tilde = true
		}
	}
	if out.source == "[" {
		return literal("[")
	}
	if out.braces && (strings.Contains(out.source, ",") || strings.Contains(out.source, "..")) {
		r.refuse("it holds braces outside quotes, which some shells expand")
	}
	return out
}

// unblank takes away what separates words.
var unblank = strings.NewReplacer(" ", "_", "\t", "_", "\n", "_")

// add appends known text to a word that has been known so far.
func (w *word) add(text string) {
	if w.static {
		w.text += text
	}
}

// part reads a part of a word, or with double set one of a text in double quotes or of a here-document.
func (r *reader) part(p syntax.WordPart, w *word, double bool) {
	switch p := p.(type) {
	case *syntax.Lit:
		r.text(p.Value, w, double)
	case *syntax.SglQuoted:
		r.single(p, w)
	case *syntax.DblQuoted:
		r.double(p, w)
	case *syntax.ParamExp:
		many := r.parameter(p)
		w.static = false
		w.splits = w.splits || many || !double
	case *syntax.CmdSubst:
		if p.Backquotes || p.TempFile || p.ReplyVar {
			r.refuse("it holds backquotes or a substitution that not every shell knows; write $(…)")
			return
		}
		r.statements(p.Stmts)
		w.static = false
		w.splits = w.splits || !double
	case *syntax.ArithmExp:
		r.refuse("it holds arithmetic, in which some shells run what variables hold")
	default:
		r.refuse("it holds an expansion that not every shell knows")
	}
}

// text takes a literal part, from which backslashes go.
func (r *reader) text(value string, w *word, double bool) {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '`':
			r.refuse("it holds a backquote")
		case c == '\\' && i+1 < len(value):
			i++
			switch {
			case value[i] == '\n':
			case double && strings.IndexByte("$`\"\\", value[i]) < 0:
				w.add(value[i-1 : i+1])
			default:
				w.add(value[i : i+1])
			}
			w.quoted = true
		case c == '\\':
			r.refuse("it ends in a backslash")
		case double:
			w.add(value[i : i+1])
		case c == '{' && (i+1 == len(value) || value[i+1] != '}'):
			r.refuse("it holds an open brace outside quotes, which some shells expand")
		case strings.IndexByte("*?[", c) >= 0:
			w.globs, w.static = true, false
		default:
			w.braces = w.braces || c == '{'
			w.add(value[i : i+1])
		}
	}
}

func (r *reader) single(p *syntax.SglQuoted, w *word) {
	switch {
	case p.Dollar:
		r.refuse("it holds $'…', which shells read differently")
	case strings.HasSuffix(p.Value, `\`):
		r.refuse("it holds a quotation that ends in a backslash, which some shells read on")
	}
	w.quoted = true
	w.add(p.Value)
}

func (r *reader) double(p *syntax.DblQuoted, w *word) {
	if p.Dollar {
		r.refuse(`it holds $"…", which shells read differently`)
	}
	w.quoted = true
	for _, part := range p.Parts {
		lit, ok := part.(*syntax.Lit)
		if ok && strings.Contains(lit.Value, `\"`) && strings.ContainsAny(lit.Value, ";&|<>()\n") {
			r.refuse("it holds an escaped quote beside control characters, which some shells read differently")
		}
		r.part(part, w, true)
	}
}

// parameter admits the expansions that every shell knows, and that set nothing. many says that it may become several words even in quotes.
func (r *reader) parameter(p *syntax.ParamExp) (many bool) {
	plain := p.Param != nil && p.NestedParam == nil && p.Flags == nil && p.Index == nil && p.Slice == nil && p.Repl == nil && p.Names == 0 &&
		len(p.Modifiers) == 0 && !p.Excl && !p.Width && !p.IsSet && p.Split == 0 && p.GlobSubst == 0 && p.RcExpand == 0
	if !plain {
		r.refuse("it holds an expansion that not every shell knows: %s", r.source(p))
		return false
	}
	many = p.Param.Value == "@"
	if p.Exp == nil {
		return many
	}
	switch p.Exp.Op {
	case syntax.AlternateUnset, syntax.AlternateUnsetOrNull, syntax.DefaultUnset, syntax.DefaultUnsetOrNull, syntax.ErrorUnset, syntax.ErrorUnsetOrNull,
		syntax.RemSmallPrefix, syntax.RemLargePrefix, syntax.RemSmallSuffix, syntax.RemLargeSuffix:
	default:
		r.refuse("it holds an expansion that sets a variable or that not every shell knows: %s", r.source(p))
		return many
	}
	if p.Exp.Word == nil {
		return many
	}
	for _, part := range p.Exp.Word.Parts {
		switch part := part.(type) {
		case *syntax.Lit:
			if strings.ContainsAny(part.Value, "\\`'\"{}") {
				r.refuse("it holds quotes inside ${…}, which shells read differently")
			}
		case *syntax.ParamExp, *syntax.CmdSubst:
			var inner word
			r.part(part, &inner, true)
			many = many || inner.splits
		default:
			r.refuse("it holds quotes inside ${…}, which shells read differently")
		}
	}
	return many
}
