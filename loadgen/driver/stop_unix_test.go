//go:build unix

package driver

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// TestStoppedServer stops the process, which no longer answers anything, not even a cancellation.
func TestStoppedServer(t *testing.T) {
	each(t, func(t *testing.T, x subject, d loadgen.Driver, counts counters) {
		if !x.child || x.info.Sessions == SessionsPerCall {
			return
		}
		s := session(t, d)
		resume := stopProcess(t, d.Info().PID)
		ctx, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		if _, err := s.Call(ctx, x.echo("x")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the call gave %v", err)
		}
		resume()
		if r := call(t, s, x.echo("after")); r.Data["stdout"] != "after" {
			t.Errorf("after it: %+v", r)
		}
	})
}

// stopProcess stops a process until resume is called, or the test has ended.
func stopProcess(t *testing.T, pid int) (resume func()) {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, %v", status, err)
	}
	resume = sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(resume)
	return resume
}
