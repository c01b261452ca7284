package policy

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// plainName says whether a command's name, once its quotes are gone, is one: letters, digits and a few marks, not a folder, or [.
func plainName(name string) bool {
	for i := range len(name) {
		if c := name[i]; !(c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || strings.IndexByte("_./:+@-", c) >= 0) {
			return name == "["
		}
	}
	return name != "" && name[len(name)-1] != '/'
}

// command makes a simple command of its words and looks into it where it runs others.
func command(words []word, files []string, depth int) (simple, error) {
	name := words[0]
	switch {
	case !name.fixed():
		return simple{}, fmt.Errorf("the name of the command %s is known to the shell only", name.source)
	case !plainName(name.text):
		return simple{}, fmt.Errorf("%q is not a plain name of a command", name.text)
	case strings.Contains(name.text, "..") && slices.Contains(strings.Split(name.text, "/"), ".."):
		return simple{}, fmt.Errorf("two dots lead up in the name of the command %s", name.text)
	}
	s := simple{name: name.text, args: words[1:], files: files}
	s.join()
	var err error
	s.inner, err = launched(&s, depth)
	if err != nil {
		s.risk = err.Error()
	}
	return s, nil
}

// join sets the texts of a command.
func (s *simple) join() {
	s.text = spaced(s.name, s.args, func(a *word) string { return a.source })
	for i := range s.args {
		a := &s.args[i]
		if a.splits && s.split == "" {
			s.split = spaced(s.name, s.args, func(a *word) string { return a.apart })
		}
		if a.whole != a.apart && s.whole == "" {
			s.whole = spaced(s.name, s.args, func(a *word) string { return a.whole })
		}
	}
}

func spaced(name string, args []word, of func(*word) string) string {
	var b strings.Builder
	b.WriteString(name)
	for i := range args {
		b.WriteByte(' ')
		b.WriteString(of(&args[i]))
	}
	return b.String()
}

// unnumbered is a program's name without the version behind it.
func unnumbered(base string) string {
	if last := base[len(base)-1]; last != '.' && (last < '0' || last > '9') {
		return base
	}
	return numbered.ReplaceAllString(base, "")
}

// numbered is the version behind a program's name: python3.11, gcc-12.
var numbered = regexp.MustCompile(`[-.]?[0-9][0-9.]*$`)

// launched gives the commands that s runs. Its error says why they cannot be known; then only a pattern that spells out all of s admits it.
func launched(s *simple, depth int) ([]simple, error) {
	base := strings.ToLower(path.Base(s.name)) // some systems do not tell the case of files apart
	bare := unnumbered(base)
	first, _, _ := strings.Cut(base, ".") // vim.tiny, nc.openbsd
	plain := strings.TrimSuffix(strings.TrimSuffix(base, "-static"), "-dbg")
	for _, name := range []string{base, bare, first, plain} {
		if look, ok := launchers[name]; ok {
			return look(s, depth)
		}
		if opaque[name] {
			return nil, fmt.Errorf("%s can run anything", base)
		}
	}
	if strings.HasPrefix(base, "ld-linux") || strings.HasPrefix(base, "ld-musl") || strings.HasPrefix(base, "ld.so") || strings.HasPrefix(base, "ld64") {
		return nil, fmt.Errorf("%s runs the program that it is given", base)
	}
	return nil, nil
}

// opaque are programs and shell words that run, load or redefine what their arguments, files or input say, in ways that cannot be judged here.
var opaque = set(`
	. source alias unalias hash enable bind complete compgen compopt fc history let declare typeset local export readonly unset read mapfile readarray
	getopts set shopt setopt unsetopt emulate autoload zmodload functions nameref integer float zle zcompile coproc function select repeat noglob nocorrect
	pushd popd vared print
	csh tcsh fish rbash rksh mksh pdksh lksh yash elvish nu pwsh powershell rc es
	awk gawk mawk nawk original-awk perl python pypy ipython ruby irb jruby node nodejs deno bun php lua luajit tclsh wish expect guile racket scheme
	jshell java groovy scala kotlin go cargo rustc gcc g++ cc c++ clang clang++ tcc as ld cpp ghc runghc runhaskell ocaml erl elixir iex julia r rscript octave
	gdb lldb strace ltrace dtrace bpftrace stap perf valgrind ldd catchsegv
	vi vim vimdiff view rvim rview ex nvim ed red emacs emacsclient nano rnano pico joe jed mc ranger less more most pg man info pinfo
	make gmake bmake ninja cmake meson scons rake ant mvn gradle bazel
	npm npx yarn pnpm pip pipx gem bundle bundler composer cpan cpanm poetry uv uvx conda
	apt apt-get aptitude yum dnf zypper pacman apk snap flatpak brew port nix nix-env nix-shell
	ssh scp sftp slogin rsh rlogin rexec autossh mosh sshpass ssh-agent ssh-add ssh-keygen ssh-copy-id rsync rclone
	su runuser run0 pkexec sg newgrp login chroot unshare nsenter setpriv capsh firejail bwrap systemd-run machinectl systemd-nspawn setarch linux32 linux64
	x86_64 i386 i486 i586 i686 uname26
	flock script scriptreplay watch entr parallel sem screen tmux byobu dtach abduco start-stop-daemon daemon daemonize run-parts logrotate cpulimit
	chrt taskset numactl prlimit cgexec unbuffer rlwrap faketime fakeroot proot dbus-run-session dbus-launch xvfb-run xterm choom softlimit chpst runsv
	s6-setuidgid gosu su-exec tini dumb-init catatonit runcon newrole
	at batch crontab anacron cron mail mailx mutt sendmail exim exim4 postfix procmail
	nc ncat netcat socat telnet ftp lftp tftp nmap tcpdump wireshark tshark
	mysql mariadb psql sqlite sqlite3 mongo mongosh redis-cli sqlplus isql dc gnuplot
	svn hg bzr cvs fossil p4 darcs docker-compose podman-compose helm terraform ansible ansible-playbook puppet chef-client salt salt-call vagrant packer
	lxc lxc-attach lxc-execute incus virsh crictl ctr nerdctl runc crun buildah
	ctags etags cscope tex latex pdftex pdflatex xelatex lualatex luatex troff groff nroff gs exiftool ghostscript
	mount.fuse dmsetup debugfs cryptsetup insmod modprobe kexec debconf dialog whiptail zip cpio pax split csplit
	ldconfig update-alternatives setcap service rc-service init telinit
`)

// set gives the words of a text.
func set(words string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(words) {
		m[w] = true
	}
	return m
}

// options are those that may stand before the command of a launcher.
type options struct {
	flags   []string       // that stand alone
	values  []string       // that take the next word
	joined  *regexp.Regexp // that carry their value, or nil
	assigns bool           // NAME=value may follow
	before  int            // operands before the command
}

// rest gives the words behind the options. They must be read to the letter, or an option could hide in them.
func (o options) rest(s *simple) ([]word, error) {
	words, before := s.args, o.before
	for len(words) > 0 {
		w := words[0]
		switch {
		case !w.fixed():
			return nil, fmt.Errorf("%s gets a word that only the shell would know: %s", s.name, w.source)
		case w.text == "--":
			words = words[1:]
			return o.operands(s, words, before)
		case slices.Contains(o.flags, w.text), o.joined != nil && o.joined.MatchString(w.text):
			words = words[1:]
		case slices.Contains(o.values, w.text):
			if len(words) < 2 || !words[1].fixed() {
				return nil, fmt.Errorf("%s gets a word that only the shell would know", s.name)
			}
			words = words[2:]
		case strings.HasPrefix(w.text, "-"):
			return nil, fmt.Errorf("%s has the option %s, which cannot be judged", s.name, w.text)
		default:
			return o.operands(s, words, before)
		}
	}
	return nil, nil
}

func (o options) operands(s *simple, words []word, before int) ([]word, error) {
	for ; len(words) > 0; words = words[1:] {
		w := words[0]
		name, value, assigns := strings.Cut(w.text, "=")
		switch {
		case !w.fixed():
			return nil, fmt.Errorf("%s gets a word that only the shell would know: %s", s.name, w.source)
		case o.assigns && assigns:
			if !harmless(name, literal(value)) {
				return nil, fmt.Errorf("%s sets %s, which can change what runs", s.name, name)
			}
		case before > 0:
			before--
		default:
			return words, nil
		}
	}
	return nil, nil
}

// carrier is a launcher whose command follows its options.
func carrier(o options) func(*simple, int) ([]simple, error) {
	return func(s *simple, depth int) ([]simple, error) {
		words, err := o.rest(s)
		if err != nil || len(words) == 0 {
			return nil, err
		}
		return one(words, depth)
	}
}

func one(words []word, depth int) ([]simple, error) {
	if depth >= maxDepth {
		return nil, errors.New("commands are nested too deeply")
	}
	s, err := command(words, nil, depth+1)
	if err != nil {
		return nil, err
	}
	return []simple{s}, nil
}

// line reads a command line that a launcher is given as text.
func line(s *simple, words []word, depth int) ([]simple, error) {
	text := make([]string, 0, len(words))
	for _, w := range words {
		if !w.fixed() {
			return nil, fmt.Errorf("%s runs text that only the shell would know: %s", s.name, w.source)
		}
		text = append(text, w.text)
	}
	return readLine(strings.Join(text, " "), depth+1)
}
