//go:build realssh && linux

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// hostProcess is one of this machine.
type hostProcess struct {
	name        string
	parent, uid int
	state       byte // as /proc/PID/status shows it
}

func (p hostProcess) isSSHD() bool { return strings.HasPrefix(p.name, "sshd") }

func processes(t *testing.T) map[int]hostProcess {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	all := map[int]hostProcess{}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		text, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			continue // it has ended
		}
		var p hostProcess
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(line, ":")
			switch fields := strings.Fields(value); {
			case len(fields) == 0:
			case name == "Name":
				p.name = fields[0]
			case name == "State":
				p.state = fields[0][0]
			case name == "PPid":
				p.parent, _ = strconv.Atoi(fields[0])
			case name == "Uid":
				p.uid, _ = strconv.Atoi(fields[0])
			}
		}
		all[pid] = p
	}
	return all
}

// descendants are the processes that come from pid and have not ended.
func descendants(t *testing.T, pid int) map[int]hostProcess {
	t.Helper()
	all := processes(t)
	from := map[int]hostProcess{}
	for p, is := range all {
		for up := is.parent; is.state != 'Z' && up > 0; up = all[up].parent {
			if up == pid {
				from[p] = is
				break
			}
		}
	}
	return from
}
