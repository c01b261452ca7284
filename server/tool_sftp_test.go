package server

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestTransferOfADirectory(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	src := filepath.Join(f.dir, "src")
	if err := os.MkdirAll(filepath.Join(src, "sub/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(src, "a"), "12345")
	mustWrite(t, filepath.Join(src, "sub/b"), "67")
	if err := os.Symlink("a", filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	c := f.connect(t.Context(), t)
	defer c.end()
	up := args{"profile_id": "fake", "direction": "upload", "local_path": src, "remote_path": "/new/dst/"}
	c.call("sftp_transfer", up).wantCode(t, CodeInvalidParameters, "with recursive")
	up["remote_path"] = "/new/dst"
	c.call("sftp_transfer", up).wantCode(t, CodeInvalidParameters, "is a directory", "set recursive")
	up["recursive"], up["bandwidth_limit_kbps"], up["resume"] = true, 100_000.0, true
	e := c.call("sftp_transfer", up)
	for field, want := range map[string]any{
		"files": 2.0, "directories": 3.0, "symlinks": 1.0, "bytes_transferred": 7.0, "status": "completed", "checksum": nil, "failed": nil,
	} {
		if e.Data[field] != want {
			t.Errorf("%s is %v, want %v in %+v", field, e.Data[field], want, e)
		}
	}
	if e = c.call("sftp_transfer", up); e.Data["unchanged"] != 2.0 || e.Data["bytes_transferred"] != 0.0 {
		t.Errorf("again with resume: %+v", e)
	}
	down := args{"profile_id": "fake", "direction": "download", "local_path": filepath.Join(f.dir, "back"), "remote_path": "/new/dst"}
	c.call("sftp_transfer", down).wantCode(t, CodeInvalidParameters, "set recursive")
	down["recursive"] = true
	if e = c.call("sftp_transfer", down); !e.Success {
		t.Errorf("%+v", e)
	}
	if b, err := os.ReadFile(filepath.Join(f.dir, "back/link")); err != nil || string(b) != "12345" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestTransferOfADirectoryInPart(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	src := filepath.Join(f.dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, filepath.Join(src, "a"), "12345")
	l, err := net.Listen("unix", filepath.Join(src, "so\ncket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := f.connect(t.Context(), t)
	defer c.end()
	e := c.call("sftp_transfer", args{"profile_id": "fake", "direction": "put", "local_path": src, "remote_path": "/dst", "recursive": true})
	e.wantCode(t, CodeInvalidParameters, "1 failed", "neither a regular file")
	if e.Data["status"] != "partial" || e.Data["files"] != 1.0 || e.Data["failed_count"] != 1.0 {
		t.Fatalf("%+v", e)
	}
	failed := e.Data["failed"].([]any)[0].(map[string]any)
	if failed["path"] != "so\ncket" || !strings.Contains(failed["error"].(string), "left out") {
		t.Errorf("%+v", failed)
	}
}

func TestTransferParametersOutOfRange(t *testing.T) {
	f := start(t, fakessh.Options{}, nil)
	c := f.connect(t.Context(), t)
	defer c.end()
	for field, value := range map[string]any{"bandwidth_limit_kbps": -1.0, "recursive": "yes", "resume": 1.0} {
		c.call("sftp_transfer", args{
			"profile_id": "fake", "direction": "put", "local_path": f.dir, "remote_path": "/dst", field: value,
		}).wantCode(t, CodeInvalidParameters, field)
	}
}
