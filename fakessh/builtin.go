package fakessh

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// builtins are the commands of every host.
var builtins = map[string]Handler{
	"echo":      echo,
	"true":      func(context.Context, *Command) int { return 0 },
	"false":     func(context.Context, *Command) int { return 1 },
	"sleep":     sleep,
	"exit":      exit,
	"bytes":     writeBytes,
	"seq":       seq,
	"cat":       cat,
	"sha256sum": sha256sum,
	"rm":        rm,
	"mkdir":     mkdir,
	"pwd":       func(_ context.Context, c *Command) int { return c.say(c.Dir) },
	"uname":     uname,
}

func (c *Command) say(line string) int {
	if _, err := io.WriteString(c.Stdout, line+"\n"); err != nil {
		return 1
	}
	return 0
}

// fail reports an error the way the usual tools do.
func (c *Command) fail(code int, format string, args ...any) int {
	fmt.Fprintf(c.Stderr, c.Args[0]+": "+format+"\n", args...)
	return code
}

// echo writes its arguments; it knows no options.
func echo(_ context.Context, c *Command) int { return c.say(strings.Join(c.Args[1:], " ")) }

// sleep waits for a number of seconds, such as 0.25.
func sleep(ctx context.Context, c *Command) int {
	if len(c.Args) != 2 {
		return c.fail(1, "want one number of seconds")
	}
	seconds, err := strconv.ParseFloat(c.Args[1], 64)
	if err != nil || seconds < 0 || seconds > 1e9 {
		return c.fail(1, "invalid time interval '%s'", c.Args[1])
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0
	case <-ctx.Done():
		return 143
	}
}

// exit returns the status given, 0 if none is.
func exit(_ context.Context, c *Command) int {
	if len(c.Args) == 1 {
		return 0
	}
	code, err := strconv.Atoi(c.Args[1])
	if err != nil {
		return c.fail(2, "%s: numeric argument required", c.Args[1])
	}
	return code & 0xff
}

// patternLine is repeated to make the output of bytes.
const patternLine = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n"

var patternBlock = bytes.Repeat([]byte(patternLine), 32<<10/len(patternLine))

// Pattern returns the first n bytes of what the command bytes writes: one line
// of 64 bytes, the newline included, over and over.
func Pattern(n int) []byte {
	return bytes.Repeat([]byte(patternLine), n/len(patternLine)+1)[:n]
}

// writeBytes writes N bytes of the pattern: bytes [--stderr] N.
func writeBytes(ctx context.Context, c *Command) int {
	args, out := c.Args[1:], c.Stdout
	if len(args) > 0 && args[0] == "--stderr" {
		args, out = args[1:], c.Stderr
	}
	if len(args) != 1 {
		return c.fail(2, "usage: bytes [--stderr] N")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || n < 0 {
		return c.fail(2, "invalid number '%s'", args[0])
	}
	for n > 0 && ctx.Err() == nil {
		part := patternBlock[:min(n, int64(len(patternBlock)))]
		if _, err := out.Write(part); err != nil {
			return 1
		}
		n -= int64(len(part))
	}
	return 0
}

// seq writes the numbers from 1 to N, each on a line: seq N.
func seq(ctx context.Context, c *Command) int {
	if len(c.Args) != 2 {
		return c.fail(1, "want one number")
	}
	n, err := strconv.ParseInt(c.Args[1], 10, 64)
	if err != nil {
		return c.fail(1, "invalid argument '%s'", c.Args[1])
	}
	out := bufio.NewWriterSize(c.Stdout, 32<<10)
	for i := int64(1); i <= n && ctx.Err() == nil; i++ {
		_, _ = out.Write(append(strconv.AppendInt(out.AvailableBuffer(), i, 10), '\n')) // Flush gives the first error
	}
	if out.Flush() != nil {
		return 1
	}
	return 0
}

// cat copies files, or standard input for none and for "-".
func cat(_ context.Context, c *Command) int {
	return c.each(operands(c.Args[1:], true), func(_ string, in io.Reader) error {
		_, err := io.Copy(c.Stdout, in)
		return err
	})
}

// sha256sum prints digests in the format of coreutils, in which a backslash
// before the line says that the name is escaped.
func sha256sum(_ context.Context, c *Command) int {
	escape := strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r")
	return c.each(operands(c.Args[1:], true), func(name string, in io.Reader) error {
		sum := sha256.New()
		if _, err := io.Copy(sum, in); err != nil {
			return err
		}
		mark, shown := "", escape.Replace(name)
		if shown != name {
			mark = "\\"
		}
		_, err := fmt.Fprintf(c.Stdout, "%s%x  %s\n", mark, sum.Sum(nil), shown)
		return err
	})
}

// operands returns the arguments that are no options; "-" is one where stdin is
// true, and then also stands in for none.
func operands(args []string, stdin bool) []string {
	var out []string
	for i, arg := range args {
		if arg == "--" {
			out = append(out, args[i+1:]...)
			break
		}
		if !strings.HasPrefix(arg, "-") || arg == "-" && stdin {
			out = append(out, arg)
		}
	}
	if len(out) == 0 && stdin {
		out = []string{"-"}
	}
	return out
}

// each calls fn with every named file and goes on after an error.
func (c *Command) each(names []string, fn func(name string, in io.Reader) error) int {
	code := 0
	for _, name := range names {
		if err := c.with(name, fn); err != nil {
			code = c.fail(1, "%s: %s", name, reason(err))
		}
	}
	return code
}

func (c *Command) with(name string, fn func(name string, in io.Reader) error) error {
	if name == "-" {
		return fn(name, c.Stdin)
	}
	file, err := c.FS.OpenFile(c.Path(name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return fn(name, file)
}

// reason is the system's text for an error, as the usual tools print it.
func reason(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}

// rm removes files; with -r directories too, with -f it does not mind a missing
// one.
func rm(_ context.Context, c *Command) int {
	var recursive, force bool
	for _, arg := range c.Args[1:] {
		if arg == "--" {
			break
		}
		if strings.HasPrefix(arg, "-") {
			recursive = recursive || strings.ContainsAny(arg, "rR")
			force = force || strings.Contains(arg, "f")
		}
	}
	code := 0
	for _, name := range operands(c.Args[1:], false) {
		if err := c.remove(c.Path(name), recursive); err != nil && !(force && errors.Is(err, fs.ErrNotExist)) {
			code = c.fail(1, "cannot remove '%s': %s", name, reason(err))
		}
	}
	return code
}

func (c *Command) remove(name string, recursive bool) error {
	info, err := c.FS.Lstat(strings.TrimPrefix(name, "/"))
	switch {
	case err != nil:
		return err
	case recursive:
		return c.FS.RemoveAll(name)
	case info.IsDir():
		return syscall.EISDIR
	}
	return c.FS.Remove(name)
}

// mkdir makes directories; with -p also their parents.
func mkdir(_ context.Context, c *Command) int {
	make := c.FS.Mkdir
	for _, arg := range c.Args[1:] {
		if arg == "-p" {
			make = c.FS.MkdirAll
		}
	}
	code := 0
	for _, name := range operands(c.Args[1:], false) {
		if err := make(c.Path(name), 0o755); err != nil {
			code = c.fail(1, "cannot create directory '%s': %s", name, reason(err))
		}
	}
	return code
}

// uname prints what a Linux machine would, with fixed answers.
func uname(_ context.Context, c *Command) int {
	if len(c.Args) > 1 && c.Args[1] == "-a" {
		return c.say("Linux fakessh 6.1.0 #1 SMP x86_64 GNU/Linux")
	}
	return c.say("Linux")
}
