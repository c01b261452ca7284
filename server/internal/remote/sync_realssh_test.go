//go:build realssh

package remote

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestOracleAgreesWithRsync holds what the random trees are compared with against the installed rsync, run on this machine alone.
func TestOracleAgreesWithRsync(t *testing.T) {
	for seed := range uint64(25) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		a, b := randomTree(rnd), randomTree(rnd)
		s := randomSync(rnd, faithful)
		root := t.TempDir()
		src, dst := osSite{filepath.Join(root, "src")}, osSite{filepath.Join(root, "dst")}
		put(t, src, a)
		put(t, dst, b)
		args := []string{"-rlJ"}
		for flag, on := range map[string]bool{"--delete": s.Delete, "-c": s.Content, "-p": s.Permissions, "-t": s.Times} {
			if on {
				args = append(args, flag)
			}
		}
		for _, p := range s.Include {
			args = append(args, "--include="+p)
		}
		for _, p := range s.Exclude {
			args = append(args, "--exclude="+p)
		}
		out, err := exec.Command("rsync", append(args, src.dir+"/", dst.dir)...).CombinedOutput()
		if err != nil {
			t.Logf("%v: %s", err, out)
		}
		same(t, read(t, dst), expected(t, a, b, s))
		if t.Failed() {
			t.Fatalf("seed %d, rsync %v\nsource %v\ndestination %v", seed, args, a, b)
		}
	}
}
