package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// launchers are programs and shell words that run others and can be read, by name. A reader gives the commands that would run, or an error
// where that cannot be known.
var launchers map[string]func(*simple, int) ([]simple, error)

func init() { // the readers use the map themselves
	launchers = map[string]func(*simple, int) ([]simple, error){
		"env": carrier(options{
			flags: []string{"-", "-i", "--ignore-environment", "-0", "--null"}, values: []string{"-u", "--unset"},
			joined: regexp.MustCompile(`^(--unset=|-u.)`), assigns: true,
		}),
		"nohup":   carrier(options{}),
		"nice":    carrier(options{values: []string{"-n", "--adjustment"}, joined: regexp.MustCompile(`^(-n?-?[0-9]+|--adjustment=.*)$`)}),
		"ionice":  carrier(options{flags: []string{"-t"}, values: []string{"-c", "-n"}, joined: regexp.MustCompile(`^-[cn][0-9]$`)}),
		"setsid":  carrier(options{flags: []string{"-c", "-f", "-w", "--ctty", "--fork", "--wait"}}),
		"stdbuf":  carrier(options{values: []string{"-i", "-o", "-e"}, joined: regexp.MustCompile(`^(-[ioe].|--(input|output|error)=)`)}),
		"time":    carrier(options{flags: []string{"-p", "-v"}}),
		"builtin": carrier(options{}),
		"exec":    carrier(options{}),
		"busybox": carrier(options{}),
		"toybox":  carrier(options{}),
		"timeout": carrier(options{
			flags: []string{"-v", "--verbose", "--foreground", "--preserve-status"}, values: []string{"-k", "--kill-after", "-s", "--signal"},
			joined: regexp.MustCompile(`^(-[ks].|--(kill-after|signal)=)`), before: 1,
		}),
		"sudo": carrier(options{
			flags: []string{"-n", "-H", "--non-interactive", "--set-home"}, values: []string{"-u", "--user", "-g", "--group"},
			joined: regexp.MustCompile(`^(-[ug].|--(user|group)=)`), assigns: true,
		}),
		"doas":       carrier(options{flags: []string{"-n"}, values: []string{"-u"}, joined: regexp.MustCompile(`^-u.`)}),
		"command":    commandWord,
		"eval":       func(s *simple, depth int) ([]simple, error) { return line(s, s.args, depth) },
		"trap":       trap,
		"find":       find,
		"xargs":      xargs,
		"test":       condition,
		"[":          condition,
		"printf":     without("-v"),
		"wait":       without("-p", "-f"),
		"sort":       without("--compress-program", "--files0-from"),
		"tar":        tar,
		"bsdtar":     tar,
		"sed":        sed,
		"gsed":       sed,
		"git":        git,
		"docker":     subcommands("ps", "images", "logs", "inspect", "stats", "version", "info", "top", "port", "diff", "history", "events", "start", "stop", "restart"),
		"podman":     subcommands("ps", "images", "logs", "inspect", "stats", "version", "info", "top", "port", "diff", "history", "events", "start", "stop", "restart"),
		"kubectl":    kubectl,
		"ip":         ip,
		"systemctl":  systemctl,
		"journalctl": without("-M", "--machine", "--root", "--image"),
		"curl":       without("-K", "--config", "--engine", "--egd-file"),
		"wget":       without("--use-askpass", "--config", "-e", "--execute"),
		"openssl":    without("-engine", "-provider", "-provider-path", "-config"),
		"rg":         without("--pre", "--hostname-bin"),
		"dpkg":       subcommands("-l", "-L", "-s", "-S", "--list", "--listfiles", "--status", "--search"),
		"rpm":        rpm,
	}
	for _, shell := range []string{"sh", "bash", "dash", "ash", "ksh", "ksh93", "zsh"} {
		launchers[shell] = shellWord
	}
}

var shellFlags = regexp.MustCompile(`^-[eux]*c$`)

// shellWord reads sh -c 'text'. A shell that reads a script or its input cannot be judged.
func shellWord(s *simple, depth int) ([]simple, error) {
	if len(s.args) < 2 || !s.args[0].fixed() || !shellFlags.MatchString(s.args[0].text) {
		return nil, fmt.Errorf("%s runs what a file or its input says", s.name)
	}
	return line(s, s.args[1:2], depth)
}

// commandWord reads the builtin command, which with -v and -V only tells what a name means.
func commandWord(s *simple, depth int) ([]simple, error) {
	if len(s.args) > 0 && s.args[0].fixed() && (s.args[0].text == "-v" || s.args[0].text == "-V") {
		return nil, nil
	}
	return carrier(options{flags: []string{"-p"}})(s, depth)
}

func trap(s *simple, depth int) ([]simple, error) {
	switch {
	case len(s.args) == 0:
		return nil, nil
	case !s.args[0].fixed() || strings.HasPrefix(s.args[0].text, "-") && s.args[0].text != "-":
		return nil, errors.New("trap runs text that only the shell would know")
	case s.args[0].text == "-" || s.args[0].text == "":
		return nil, nil
	}
	return line(s, s.args[:1], depth)
}

// known fails where the shell might make options of a word.
func known(s *simple) error {
	for _, w := range s.args {
		if !w.fixed() && !w.operand() {
			return fmt.Errorf("%s gets a word that only the shell would know: %s", s.name, w.source)
		}
	}
	return nil
}

// find reads the commands of -exec and its like. What writes or deletes files needs a pattern that says so.
func find(s *simple, depth int) ([]simple, error) {
	if err := known(s); err != nil {
		return nil, err
	}
	var all []simple
	for i := 0; i < len(s.args); i++ {
		switch action := s.args[i].text; action {
		case "-delete", "-fprint", "-fprint0", "-fprintf", "-fls":
			return nil, fmt.Errorf("find %s changes files", action)
		case "-files0-from":
			return nil, fmt.Errorf("find %s cannot be judged", action)
		case "-exec", "-execdir", "-ok", "-okdir":
			n, inner, err := findAction(s.args[i+1:], depth)
			if err != nil {
				return nil, err
			}
			all = append(all, inner...)
			i += n
		}
	}
	return all, nil
}

// findAction reads the command behind -exec and says how many words it takes.
func findAction(args []word, depth int) (int, []simple, error) {
	end := slices.IndexFunc(args, func(w word) bool { return w.fixed() && (w.text == ";" || w.text == "+") })
	if end < 1 {
		return 0, nil, errors.New("find -exec has no command that ends")
	}
	words := slices.Clone(args[:end])
	for i, w := range words {
		if before, _, found := strings.Cut(w.text, "{}"); found {
			words[i].static, words[i].text = false, before
		}
	}
	inner, err := one(words, depth)
	return end, inner, err
}

// xargs reads the command that xargs appends its input to.
func xargs(s *simple, depth int) ([]simple, error) {
	o := options{
		flags:  []string{"-0", "-r", "-t", "-x", "--null", "--no-run-if-empty", "--verbose", "--exit"},
		values: []string{"-n", "-L", "-P", "-s", "-d", "-E", "-I", "--max-args", "--max-procs", "--delimiter"},
		joined: regexp.MustCompile(`^(-[nLPsdE].+|-I.+|-0?r?0|--(max-args|max-lines|max-procs|delimiter|max-chars)=.*)$`),
	}
	words, err := o.rest(s)
	if err != nil || len(words) == 0 {
		return nil, err
	}
	replaced := ""
	for i, w := range s.args[:len(s.args)-len(words)] {
		if w.text == "-I" {
			replaced = s.args[i+1].text
		} else if strings.HasPrefix(w.text, "-I") {
			replaced = w.text[2:]
		}
	}
	words = slices.Clone(words)
	for i, w := range words {
		if before, _, found := strings.Cut(w.text, replaced); found && replaced != "" {
			words[i].static, words[i].text, words[i].splits = false, before, before == ""
		}
	}
	return one(append(words, word{source: "…", splits: true, apart: "…"}), depth)
}

// condition reads test and [, which in Bash run what an array's index says.
func condition(s *simple, _ int) ([]simple, error) {
	for _, w := range s.args {
		if !w.fixed() {
			return nil, fmt.Errorf("%s may run what %s stands for, as an array's index", s.name, w.source)
		}
		if w.text == "-v" || w.text == "-R" {
			return nil, fmt.Errorf("%s %s may run what an array's index says", s.name, w.text)
		}
	}
	return nil, nil
}

// without admits commands that have none of these options, also not in one word with a value or with other letters, or shortened.
func without(banned ...string) func(*simple, int) ([]simple, error) {
	return func(s *simple, _ int) ([]simple, error) {
		if err := known(s); err != nil {
			return nil, err
		}
		for _, w := range s.args {
			if option := bannedOption(w.text, banned); option != "" {
				return nil, fmt.Errorf("%s %s can run or write what it is given", s.name, option)
			}
			if w.text == "--" {
				break
			}
		}
		return nil, nil
	}
}

func bannedOption(text string, banned []string) string {
	name, _, _ := strings.Cut(text, "=")
	for _, b := range banned {
		long := strings.HasPrefix(b, "--")
		switch {
		case text == b || name == b:
			return b
		case long && len(name) > 3 && strings.HasPrefix(name, "--") && strings.HasPrefix(b, name): // shortened, as GNU programs take them
			return b
		case !long && len(b) == 2 && len(text) > 2 && text[0] == '-' && text[1] != '-' && strings.Contains(text[1:], b[1:]):
			return b
		}
	}
	return ""
}

// ip admits what stays in the network that the shell is in. Its words may be shortened.
func ip(s *simple, _ int) ([]simple, error) {
	for _, w := range s.args {
		if !w.fixed() {
			return nil, fmt.Errorf("ip gets a word that only the shell would know: %s", w.source)
		}
		t := w.text
		if t == "" || len(t) > 2 && strings.HasPrefix("netns", t) || strings.HasPrefix("vrf", t) || strings.HasPrefix("-batch", strings.Replace(t, "--", "-", 1)) {
			return nil, fmt.Errorf("ip %s can run what it is given", t)
		}
	}
	return nil, nil
}

var systemctlOptions = without("-H", "-M", "--host", "--machine", "--root", "--image")

// systemctl admits what concerns units by name that the host has already.
func systemctl(s *simple, depth int) ([]simple, error) {
	for _, w := range s.args {
		if !w.fixed() {
			return nil, fmt.Errorf("systemctl gets a word that only the shell would know: %s", w.source)
		}
		if strings.Contains(w.text, "/") || slices.Contains([]string{"edit", "link", "set-environment", "import-environment", "set-property"}, w.text) {
			return nil, fmt.Errorf("systemctl %s can change what runs", w.text)
		}
	}
	return systemctlOptions(s, depth)
}

// subcommands admits a program whose first word is one of these.
func subcommands(safe ...string) func(*simple, int) ([]simple, error) {
	return func(s *simple, _ int) ([]simple, error) {
		if err := known(s); err != nil {
			return nil, err
		}
		if len(s.args) > 0 && !slices.Contains(append(safe, "--version", "--help"), s.args[0].text) {
			return nil, fmt.Errorf("%s %s can run what it is given", s.name, s.args[0].source)
		}
		return nil, nil
	}
}

var (
	kubectlSafe    = subcommands("get", "describe", "logs", "top", "version", "explain", "api-resources", "rollout", "scale")
	kubectlOptions = without("--kubeconfig", "--cache-dir", "--profile-output", "-s", "--server")
)

// kubectl admits what looks and scales, with the host's own configuration.
func kubectl(s *simple, depth int) ([]simple, error) {
	if _, err := kubectlSafe(s, depth); err != nil {
		return nil, err
	}
	return kubectlOptions(s, depth)
}

var rpmOptions = without("--pipe", "--eval", "-E", "-D", "--define", "--root", "--load", "--rcfile", "--macros")

// rpm admits queries.
func rpm(s *simple, depth int) ([]simple, error) {
	if len(s.args) == 0 || !strings.HasPrefix(s.args[0].text, "-q") && s.args[0].text != "--query" && s.args[0].text != "--version" {
		return nil, errors.New("rpm may run the scripts of packages")
	}
	return rpmOptions(s, depth)
}

// git admits the subcommands that read a repository. Its configuration on the host counts all the same.
func git(s *simple, depth int) ([]simple, error) {
	if len(s.args) > 1 && s.args[0].fixed() && s.args[0].text == "-C" && s.args[1].fixed() {
		moved := *s
		moved.args = s.args[2:]
		return git(&moved, depth)
	}
	if _, err := subcommands("status", "log", "diff", "show", "rev-parse", "rev-list", "branch", "tag", "describe", "ls-files", "ls-tree", "blame",
		"shortlog", "cat-file", "show-ref", "version", "--no-pager")(s, depth); err != nil {
		return nil, err
	}
	if len(s.args) > 0 && s.args[0].text == "--no-pager" {
		moved := *s
		moved.args = s.args[1:]
		return git(&moved, depth)
	}
	return without("--ext-diff", "--textconv", "--output", "--open-files-in-pager", "--edit-description", "--paginate")(s, depth)
}

var tarBanned = without("--checkpoint-action", "--to-command", "-I", "--use-compress-program", "--rsh-command", "-F", "--info-script",
	"--new-volume-script", "--rmt-command", "-T", "--files-from")

// tar admits what neither runs a program nor reaches another host.
func tar(s *simple, depth int) ([]simple, error) {
	if len(s.args) > 0 && s.args[0].text != "" && s.args[0].text[0] != '-' && strings.ContainsAny(s.args[0].text, "IF") {
		return nil, fmt.Errorf("tar %s can run what it is given", s.args[0].text)
	}
	for _, w := range s.args {
		if strings.Contains(w.text, ":") || !w.static && strings.Contains(w.source, "$") {
			return nil, fmt.Errorf("tar may take %s for a file on another host", w.source)
		}
	}
	return tarBanned(s, depth)
}

// plainScript is what a script of sed may be: addresses with p, d, q or =, or a substitution that neither runs nor writes.
var plainScript = regexp.MustCompile(`^(([0-9]+|\$)(,([0-9]+|\$))?|/[^/\\]*/)?!?(p|d|q|=|s([/|,#:@])(?:[^\\/|,#:@\n]|\\[.*+?()$^\[\]nst0-9-])*[/|,#:@](?:[^\\/|,#:@\n]|\\[&nt0-9])*[/|,#:@][gpI0-9]*)$`)

// sed admits plain scripts, given in place or with -e.
func sed(s *simple, _ int) ([]simple, error) {
	if err := known(s); err != nil {
		return nil, err
	}
	script := false
	for i := 0; i < len(s.args); i++ {
		w := s.args[i]
		switch {
		case !w.fixed() && script && w.operand():
		case !w.fixed():
			return nil, fmt.Errorf("sed gets a word that only the shell would know: %s", w.source)
		case slices.Contains([]string{"-n", "-E", "-r", "-s", "-u", "-z", "--quiet", "--silent", "--regexp-extended"}, w.text):
		case w.text == "-e" && i+1 < len(s.args):
			i++
			if !plain(s.args[i]) {
				return nil, errors.New("sed runs a script that cannot be judged")
			}
			script = true
		case strings.HasPrefix(w.text, "-") && len(w.text) > 1:
			return nil, fmt.Errorf("sed %s cannot be judged", w.text)
		case !script:
			if !plain(w) {
				return nil, errors.New("sed runs a script that cannot be judged")
			}
			script = true
		}
	}
	return nil, nil
}

// plain says whether a script of sed neither runs nor writes anything.
func plain(w word) bool {
	if !w.fixed() {
		return false
	}
	for part := range strings.SplitSeq(w.text, ";") {
		if !plainScript.MatchString(strings.TrimSpace(part)) {
			return false
		}
	}
	return true
}
