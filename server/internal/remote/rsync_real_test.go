//go:build realssh

package remote

import (
	"path/filepath"
	"testing"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// The suite of the engines runs over the installed rsync, too.
func init() {
	syncEngines = append(syncEngines, struct {
		name  string
		start func(t testing.TB, opts fakessh.Options) *syncFixture
	}{EngineRsync, startRsyncSync})
}

func startRsyncSync(t testing.TB, opts fakessh.Options) *syncFixture {
	opts.Rsync = true
	f := start(t, opts)
	return &syncFixture{f, EngineRsync, osSite{filepath.Join(f.dir, "near")}, osSite{filepath.Join(f.host.RsyncDir(), "far")}, "/rsync/far"}
}
