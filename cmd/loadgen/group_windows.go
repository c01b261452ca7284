package main

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a program about to be started into a process group of its own, which the terminal's Ctrl-C does not reach.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
