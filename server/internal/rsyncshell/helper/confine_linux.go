package helper

import (
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// The system calls of Landlock, which have the same numbers everywhere, and what they take.
const (
	createRuleset = 444
	addRule       = 445
	restrictSelf  = 446

	rulesetVersion  = 1
	rulePathBeneath = 1

	prSetNoNewPrivs = 38
	openPath        = 0x200000 // O_PATH
)

// What Landlock can forbid.
const (
	execute = 1 << iota
	writeFile
	readFile
	readDir
	removeDir
	removeFile
	makeChar
	makeDir
	makeReg
	makeSock
	makeFifo
	makeBlock
	makeSym
	refer    // since version 2
	truncate // since version 3
)

const (
	oldest   = refer - 1 // all that version 1 knows
	looking  = readFile | readDir
	changing = looking | writeFile | removeDir | removeFile | makeDir | makeReg | makeSym | refer | truncate
)

// system are the folders and files without which programs do not start. Everybody may read them.
var system = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/usr/libexec", "/usr/local/bin",
	"/usr/local/lib", "/nix/store", "/gnu/store", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
}

// confine lets this thread, and what it becomes and starts, reach no files but those below the working folder, and those that programs need. It does
// nothing on a system that does not know how.
func confine(writes bool, program string) error {
	version, _, errno := syscall.RawSyscall(createRuleset, 0, 0, rulesetVersion)
	if errno != 0 {
		return nil
	}
	handled := uint64(oldest)
	if version >= 2 {
		handled |= refer
	}
	if version >= 3 {
		handled |= truncate
	}
	rules, _, errno := syscall.RawSyscall(createRuleset, uintptr(unsafe.Pointer(&handled)), unsafe.Sizeof(handled), 0)
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	for _, path := range append([]string{"/proc/self/exe", program, filepath.Join(filepath.Dir(program), "..", "lib")}, system...) {
		if err := allow(int(rules), path, execute|readFile); err != nil {
			return err
		}
	}
	for _, device := range []string{"/dev/null", "/dev/urandom"} {
		if err := allow(int(rules), device, readFile|writeFile); err != nil {
			return err
		}
	}
	below := uint64(looking)
	if writes {
		below = changing & handled
	}
	if err := allow(int(rules), ".", below); err != nil {
		return err
	}
	if _, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetNoNewPrivs, 1, 0, 0, 0, 0); errno != 0 {
		return os.NewSyscallError("prctl", errno)
	}
	if _, _, errno := syscall.RawSyscall(restrictSelf, rules, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return syscall.Close(int(rules))
}

// allow adds what may be done below a folder, or with a file. A path that is not there needs no rule.
func allow(rules int, path string, access uint64) error {
	fd, err := syscall.Open(path, openPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	rule := struct {
		access uint64
		parent int32
	}{access, int32(fd)}
	if _, _, errno := syscall.RawSyscall6(addRule, uintptr(rules), rulePathBeneath, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_add_rule", errno)
	}
	return nil
}
