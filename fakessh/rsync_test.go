package fakessh_test

import (
	"strings"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestRsyncAbsent(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	host, err := fakessh.Listen(fakessh.Options{Rsync: true})
	if err == nil {
		host.Close()
		t.Fatal("a host with an rsync that there is not")
	}
	if !strings.Contains(err.Error(), "install the package rsync") {
		t.Error(err)
	}
}
