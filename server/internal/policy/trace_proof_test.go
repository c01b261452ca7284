//go:build proof && linux

package policy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// TestProofTracedShell runs commands that are admitted in real shells, with every execution traced: the seeds of the fuzz target, the everyday commands,
// and generated ones. Every program that ran was admitted. With PROOF=whole it runs 20,000 generated ones; what it saw goes to PROOF_DIR.
func TestProofTracedShell(t *testing.T) {
	enough, seed := 100, uint64(1)
	whole := os.Getenv("PROOF") == "whole"
	if whole {
		enough, seed = 20_000, rand.Uint64()
	}
	var report strings.Builder
	traceTables(t, &report)
	traceGenerated(t, &report, enough, seed)
	t.Log("\n" + report.String())
	if dir := os.Getenv("PROOF_DIR"); dir != "" && whole && !t.Failed() {
		must(t, os.WriteFile(filepath.Join(dir, "traced.txt"), []byte(report.String()), 0o644))
	}
}

// everydayPrograms are those that the everyday commands name, and the one that the bypass attempts want to run.
var everydayPrograms = strings.Fields("ls cat grep wc sort head tail df uptime date git tar systemctl docker ip kubectl rpm dpkg python3 sudo rm time busybox reboot")

// traceTables runs what the tables hold. Of a bypass attempt that is admitted, there being none, the trace would tell the rest.
func traceTables(t *testing.T, report *strings.Builder) {
	for _, table := range []struct {
		name     string
		rules    Rules
		programs []string
		commands []string
		least    int // of them are admitted
	}{
		{"seeds of the fuzz target", shellRules, letters(), shellSeeds(), 50},
		{"everyday commands", bypassRules, everydayPrograms, everyday, len(everyday)},
		{"bypass attempts", bypassRules, everydayPrograms, bypasses, 0},
	} {
		w, err := newTracer(t, table.rules, table.programs...)
		if err != nil {
			t.Fatalf("%v: install the package strace", err)
		}
		p := compile(t, table.rules)
		admitted, programs := 0, 0
		for _, command := range table.commands {
			if !p.Decide(exec(command)).Allowed {
				continue
			}
			admitted++
			command = strings.ReplaceAll(command, "find /var", "find .") // which may be large
			for _, shell := range w.shells {
				n, err := w.check(t, shell, command)
				if err != nil {
					t.Error(err)
				}
				programs += n
			}
		}
		if admitted < table.least {
			t.Errorf("%s: only %d are admitted", table.name, admitted)
		}
		fmt.Fprintf(report, "%s: %d, of which %d are admitted; run in %s, they executed %d programs, all of them admitted\n",
			table.name, len(table.commands), admitted, strings.Join(w.shells, " and "), programs)
	}
}

// traceGenerated generates command lines until enough that are admitted have run.
func traceGenerated(t *testing.T, report *strings.Builder, enough int, seed uint64) {
	w, err := newTracer(t, shellRules, letters()...)
	if err != nil {
		t.Fatalf("%v: install the package strace", err)
	}
	p := compile(t, shellRules)
	var made, admitted, programs atomic.Int64
	var workers sync.WaitGroup
	for i := range 2 {
		workers.Go(func() {
			g := &lineMaker{rand.New(rand.NewPCG(seed, uint64(i)))}
			for admitted.Load() < int64(enough) && made.Load() < 50*int64(enough) && !t.Failed() {
				command := g.made()
				made.Add(1)
				if !p.Decide(exec(command)).Allowed {
					continue
				}
				n, err := w.check(t, w.shells[g.IntN(len(w.shells))], command)
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				admitted.Add(1)
				programs.Add(int64(n))
			}
		})
	}
	workers.Wait()
	if n := admitted.Load(); n < int64(enough) || programs.Load() < n {
		t.Errorf("of %d commands %d were admitted, and they executed %d programs", made.Load(), n, programs.Load())
	}
	fmt.Fprintf(report, "generated commands (seed %d): %d, of which %d are admitted; run in %s, they executed %d programs, all of them admitted\n",
		seed, made.Load(), admitted.Load(), strings.Join(w.shells, " or "), programs.Load())
}

// lineMaker makes command lines, many of which shellRules admit, and some of which only look as if.
type lineMaker struct{ *rand.Rand }

// made is one command line; every third has been damaged.
func (g *lineMaker) made() string {
	text := g.list(3)
	if g.IntN(3) > 0 {
		return text
	}
	for range 1 + g.IntN(2) {
		at := g.IntN(len(text) + 1)
		switch end := min(len(text), at+1+g.IntN(3)); g.IntN(4) {
		case 0:
			text = text[:at] + text[end:]
		case 1:
			text = text[:at] + text[at:end] + text[at:]
		default:
			text = text[:at] + g.pick(damage) + text[at:]
		}
	}
	return text
}

// damage is what shells give a meaning, and letters that no rule admits.
var damage = []string{
	";", "&", "|", "&&", "||", "\n", "(", ")", "$(", "`", "'", `"`, `\`, "$", "{", "}", "<", ">", "<<E\n", "\nE\n", "#", " ", "\t", "*", "?", "[", "]", "~", "=", "!", "-", ",", "$x", "${x}", "b", " b ", ";b", "b;", "$(b)", "\\\n", " \\\n", " # x \\\n", " #", "0", "1>",
}

func (g *lineMaker) pick(of []string) string { return of[g.IntN(len(of))] }

// list is one or several commands.
func (g *lineMaker) list(depth int) string {
	text := g.command(depth)
	for g.IntN(3) == 0 {
		text += g.pick([]string{"; ", " && ", " || ", " | ", "\n", " & ", ";", "|", "&&"}) + g.command(depth)
	}
	return text
}

// command is a command, which with depth may hold others.
func (g *lineMaker) command(depth int) string {
	if depth == 0 || g.IntN(3) == 0 {
		return g.simple()
	}
	depth--
	switch g.IntN(14) {
	case 0:
		return "(" + g.list(depth) + ")"
	case 1:
		return "{ " + g.list(depth) + "; }"
	case 2:
		return "! " + g.command(depth)
	case 3:
		return "if " + g.list(depth) + "; then " + g.list(depth) + "; else " + g.list(depth) + "; fi"
	case 4:
		return "for i in 1 '2 3' $x; do " + g.list(depth) + "; done"
	case 5:
		return "case " + g.word(depth) + " in " + g.pick([]string{"a", "1|2", "*", "[ab]", "(x"}) + ") " + g.list(depth) + ";; *) " + g.list(depth) + ";; esac"
	case 6:
		return g.pick([]string{"sh -c ", "bash -c ", "eval ", "sh -ec ", "env sh -c ", "exec sh -c "}) + g.quote(g.list(depth))
	case 7:
		return "trap " + g.quote(g.list(depth)) + " EXIT"
	case 8:
		return "a <<E\n" + g.pick([]string{"x", "$x", "$(" + g.list(depth) + ")", "`b`", `\$(b)`}) + "\nE\n"
	case 9:
		return "a <<'E'\n$(" + g.list(depth) + ")\nE\n"
	default:
		return g.pick(launching) + "a " + g.word(depth) + g.pick([]string{"", " " + g.word(depth), " >/dev/null", " 2>&1", " </dev/null", " # b"})
	}
}

// launching stands before a command and runs it.
var launching = []string{
	"", "", "", "env ", "env LANG=C ", "LANG=C ", "timeout 5 ", "nice -n 1 ", "nohup ", "setsid ", "stdbuf -oL ", "command ", "exec ", "xargs ", "xargs -n1 ", "xargs -I{} ", "env nice ", "timeout -s KILL 5 env ", "command -p env ",
}

// simple is a command that holds no other but by name.
func (g *lineMaker) simple() string {
	name := "a"
	if g.IntN(25) == 0 {
		name = string(rune('b' + g.IntN(25)))
	}
	return g.pick(launching) + g.pick([]string{
		name, name, name + " 1", name + " " + g.word(0), "q 1", "r x 2", `r "$x" 2`, "r " + g.word(0) + " 2", `find . -maxdepth 0 -exec ` + name + ` {} \;`, "find . -exec " + name + " {} +", "test -f x", "[ -d . ]", "printf '%s' b", "true", "false", ":",
		"x=1", "x='b 1'", "cd .", "sed -n 1p", name + " | xargs " + name, `'` + name + `' b`, `\` + name, `"` + name + `" "$x"`,
	})
}

// word is an argument.
func (g *lineMaker) word(depth int) string {
	if depth > 0 && g.IntN(2) == 0 {
		inner := "$(" + g.list(depth-1) + ")"
		return g.pick([]string{inner, `"` + inner + `"`, "x" + inner, "${x:-" + inner + "}", `"${x#` + inner + `}"`})
	}
	return g.pick([]string{
		"1", "b", "-x", "'x y'", `"b; b"`, "'$(b)'", `"\$(b)"`, `\;`, `'b' "b"`, `$x`, `"$x"`, "${x:-b}", `"${x:-b c}"`, "*", "[b]", "~", "a=b", "x#b", `"it's"`, `'"'`, "''", `"\\"`, `\\`, "!b", "{}", "-", "--", "$1", "$@", `"$@"`, "$#", "$?", "a\\ b", "%s",
	})
}

// quote makes one word of a text.
func (g *lineMaker) quote(text string) string {
	if g.IntN(2) == 0 {
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(text) + `"`
}
