//go:build unix

package remote

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// itemFormat makes rsync print one line for each change: what is done, size, name. It is printed when the change is begun.
const itemFormat = itemMark + "%i %l %n"

const itemMark = "change "

// rsyncOutput reads what rsync prints, as an io.Writer. Lines end in a newline or, with progress, a carriage return; names hold neither,
// since rsync escapes control characters.
type rsyncOutput struct {
	progress func(done int64) // or nil

	rest    []byte // an unfinished line
	changes []Change
	dirs    map[string]bool // directories among the deletions
	skipped []Problem
	refused []Problem       // links that the host's rsync was told not to make
	kept    map[string]bool // directories that hold what is excluded, which a dry run lists as deleted all the same
	literal int64           // bytes of file content that went over the connection
}

// maxLine bounds a line of output: a path has 4096 bytes, of which each may take five.
const maxLine = 64 << 10

// Write implements io.Writer. It never fails.
func (o *rsyncOutput) Write(p []byte) (int, error) {
	o.rest = append(o.rest, p...)
	for {
		end := bytes.IndexAny(o.rest, "\r\n")
		if end < 0 {
			break
		}
		o.line(string(o.rest[:end]))
		o.rest = o.rest[end+1:]
	}
	if len(o.rest) > maxLine {
		o.rest = o.rest[:0]
	}
	return len(p), nil
}

const (
	refusedMark = `ignoring unsafe symlink "`
	skippedMark = `skipping non-regular file "`
	keptMark    = "cannot delete non-empty directory: "
)

func (o *rsyncOutput) line(line string) {
	if item, ok := strings.CutPrefix(line, itemMark); ok {
		o.item(item)
		return
	}
	if name, ok := strings.CutPrefix(line, skippedMark); ok {
		o.skipped = append(o.skipped, Problem{unescape(strings.TrimSuffix(name, `"`)), errors.New("is no file, directory or link; no sync copies it")})
		return
	}
	if link, ok := strings.CutPrefix(line, refusedMark); ok {
		name, target, _ := strings.Cut(strings.TrimSuffix(link, `"`), `" -> "`)
		o.refused = append(o.refused, Problem{unescape(name), &Error{Kind: Refused, Err: fmt.Errorf("a link to %s leads out of what is pushed, and is not made", unescape(target))}})
		return
	}
	if name, ok := strings.CutPrefix(line, keptMark); ok {
		mark(&o.kept, path.Clean(unescape(name)))
		return
	}
	if n, ok := strings.CutPrefix(line, "Literal data: "); ok {
		o.literal, _ = strconv.ParseInt(strings.TrimSuffix(n, " bytes"), 10, 64)
		return
	}
	if fields := strings.Fields(line); o.progress != nil && len(fields) > 1 && strings.HasSuffix(fields[1], "%") {
		if done, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			o.progress(done)
		}
	}
}

// planned returns what a dry run would change.
func (o *rsyncOutput) planned() []Change {
	return slices.DeleteFunc(o.changes, func(c Change) bool { return c.Action == ActionDelete && o.kept[c.Path] })
}

// item reads a line of itemFormat.
func (o *rsyncOutput) item(line string) {
	code, rest, _ := strings.Cut(line, " ")
	size, name, ok := strings.Cut(strings.TrimLeft(rest, " "), " ") // a deletion's code is padded with spaces
	bytes, err := strconv.ParseInt(size, 10, 64)
	if !ok || err != nil || name == "" {
		return
	}
	name = unescape(name)
	change := Change{Path: path.Clean(name), Action: action(code)}
	switch change.Action {
	case "":
		return
	case ActionCreate, ActionUpdate:
		change.Bytes = bytes
	case ActionDelete:
		if strings.HasSuffix(name, "/") {
			mark(&o.dirs, change.Path)
		}
	}
	o.changes = append(o.changes, change)
}

func mark(set *map[string]bool, name string) {
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[name] = true
}

// action translates what rsync calls an itemized change: YXcstpoguax, of which Y is the kind of update and X that of the file, and all
// others are + for something new. It returns "" for what is no change.
func action(code string) string {
	if code == "*deleting" {
		return ActionDelete
	}
	if len(code) < 3 {
		return ""
	}
	kind, file, fresh := code[0], code[1], code[2] == '+'
	switch {
	case file == 'd' && kind == 'c' && fresh:
		return ActionMkdir
	case file == 'L' && kind == 'c':
		return ActionSymlink
	case file == 'f' && (kind == '<' || kind == '>') && fresh:
		return ActionCreate
	case file == 'f' && (kind == '<' || kind == '>'):
		return ActionUpdate
	case (file == 'f' || file == 'd') && kind == '.' && strings.ContainsAny(code[2:], "tTp"):
		return ActionAttributes
	}
	return ""
}

var escaped = regexp.MustCompile(`\\#[0-3][0-7]{2}`)

// unescape takes rsync's escapes out of a name: \# and three octal digits are a byte.
func unescape(name string) string {
	return escaped.ReplaceAllStringFunc(name, func(s string) string {
		b, _ := strconv.ParseUint(s[2:], 8, 8)
		return string([]byte{byte(b)})
	})
}

// complaint is a line about one path, such as: rsync: [sender] send_files failed to open "/a/b": Permission denied (13)
var complaint = regexp.MustCompile(`^(?:rsync: )?(?:\[(\w+)\] )?(.*?)"(.*)"(.*)$`)

// tail is a line that ends with a path, without quotes.
var tail = regexp.MustCompile(`^(could not make way for new [^:]+): (.+)$`)

// tempName is what rsync calls a file while it arrives.
var tempName = regexp.MustCompile(`(?s)^\.(.+)\.[A-Za-z0-9]{6}$`)

// rsyncProblems reads what rsync prints to standard error, and reports whether the source could not be read in full. Paths below one of
// the roots become relative to it.
func rsyncProblems(stderr string, upload bool, roots ...string) (problems []Problem, unread bool) {
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		if m := tail.FindStringSubmatch(line); m != nil {
			problems = append(problems, Problem{path.Clean(unescape(m[2])), &Error{Kind: Refused, Err: errors.New("rsync: " + m[1])}})
			continue
		}
		m := complaint.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := below(unescape(m[3]), roots)
		if t := tempName.FindStringSubmatch(path.Base(name)); t != nil && strings.Contains(m[2], "mkstemp") {
			name = path.Join(path.Dir(name), t[1])
		}
		sender := m[1] == "sender" || m[1] == "" // who alone complains without saying who
		unread = unread || sender
		why := strings.TrimSpace(strings.TrimRight(m[2], ": ") + " " + strings.TrimLeft(m[4], ": "))
		problems = append(problems, Problem{name, &Error{Kind: complaintKind(why, sender == upload), Err: errors.New("rsync: " + why)}})
	}
	return problems, unread
}

// below makes name relative to the first of the roots that it is below.
func below(name string, roots []string) string {
	for _, root := range roots {
		switch _, rel, ok := strings.Cut(name, root+"/"); {
		case root == "":
		case name == root:
			return "."
		case ok:
			return path.Clean(rel)
		}
	}
	return name
}

// saysFull reports whether rsync says that there was no room for a file.
func saysFull(text string) bool {
	return strings.Contains(text, "No space left") || strings.Contains(text, "Disk quota exceeded")
}

func complaintKind(why string, local bool) Kind {
	switch {
	case saysFull(why):
		return Full
	case local:
		return Local
	case strings.Contains(why, "Permission denied"), strings.Contains(why, "Operation not permitted"):
		return Denied
	case strings.Contains(why, "No such file"), strings.Contains(why, "has vanished"):
		return NotFound
	}
	return Failed
}
