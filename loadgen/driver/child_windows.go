package driver

import (
	"os/exec"
	"syscall"
)

// ownGroup puts a child in a process group of its own.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// endedBySIGTERM is always false: Windows has no such signal.
func endedBySIGTERM(*exec.ExitError) bool { return false }
