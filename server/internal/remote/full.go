package remote

import (
	"errors"
	"strings"
	"syscall"

	"github.com/pkg/sftp"
)

// What is said where there is no room for a file. A sync says errFull.
var (
	errHostFull = errors.New("no space left on the host's file system, or in its user's quota; the destination is unchanged: " +
		"free some there, or choose a remote path on another file system")
	errLocalFull = errors.New("no space left on this machine's file system, or in its user's quota; the destination is unchanged: " +
		"free some here, or choose a local path on another file system")
)

// Answers of SFTP hosts that speak a later version than 3.
const (
	fxNoSpace = 14
	fxQuota   = 15
)

// hostFull reports whether err, which the host answered while need more bytes were to be stored in dir, means that there is no room for
// them. Version 3 of SFTP has no word for that: unless the host's message tells, its file system is asked.
func hostFull(client *sftp.Client, dir string, err error, need int64) bool {
	var status *sftp.StatusError
	if !errors.As(err, &status) {
		return false
	}
	if status.Code == fxNoSpace || status.Code == fxQuota {
		return true
	}
	if status.FxCode() != sftp.ErrSSHFxFailure {
		return false
	}
	said := strings.ToLower(status.Error())
	if strings.Contains(said, "no space left") || strings.Contains(said, "quota exceeded") {
		return true
	}
	v, err := client.StatVFS(dir)
	return err == nil && (v.Bavail == 0 || v.Files > 0 && v.Favail == 0 || v.Bavail*v.Frsize < uint64(max(need, 0)))
}

// localFull reports whether err, of this machine, means that there is no room for a file.
func localFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// localError classifies an error of this machine about the path that is to be written.
func localError(name string, err error) error {
	if localFull(err) {
		return &Error{Kind: Full, Path: name, Err: errLocalFull}
	}
	return &Error{Kind: Local, Path: name, Err: err}
}
