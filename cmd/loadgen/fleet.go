package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// fleet is several servers behind the gateway, all of them programs that this one has started.
type fleet struct {
	mu       sync.Mutex
	servers  []*daemon
	gateway  *daemon
	finished bool
}

// startFleet starts servers of the kind that is measured, with a configuration, and the gateway before them. The fleet is to be closed also where
// there is an error.
func (s *capacitySearch) startFleet(ctx context.Context, n int, config string) (*fleet, error) {
	f := &fleet{}
	s.kill.set(f.kill)
	front := []string{"gateway", "--listen", "127.0.0.1:0"}
	for i := range n {
		args := []string{"serve", "--transport", "http", "--listen", "127.0.0.1:0", "--profiles", s.srv.target.profileDir}
		if s.srv.target.secretDir != "" {
			args = append(args, "--secrets", s.srv.target.secretDir)
		}
		if config != "" {
			args = append(args, "--config", config)
		}
		env := []string{"OPENACCESS_AUDIT_PATH=" + filepath.Join(s.srv.work.dir, fmt.Sprintf("audit-%d.db", i))}
		d, err := f.start(ctx, s.srv.path, args, env, s.srv.work.files)
		if err != nil {
			return f, fmt.Errorf("server %d of %d: %w", i+1, n, err)
		}
		f.servers = append(f.servers, d)
		front = append(front, "--backend", d.url)
	}
	var err error
	if f.gateway, err = f.start(ctx, s.srv.path, front, nil, s.srv.work.files); err != nil {
		return f, fmt.Errorf("the gateway: %w", err)
	}
	return f, f.ready(ctx)
}

// readyPause is the time between two looks whether the gateway has a server.
const readyPause = 50 * time.Millisecond

// ready waits until the gateway has found a server.
func (f *fleet) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, daemonStart)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(f.gateway.url, "/mcp")+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the gateway has found no server that is ready within %v", daemonStart)
		case <-time.After(readyPause):
		}
	}
}

// start starts a program unless the fleet is finished.
func (f *fleet) start(ctx context.Context, path string, args, env []string, dir string) (*daemon, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.finished {
		return nil, errors.New("ended")
	}
	return startDaemon(ctx, path, args, env, dir)
}

// lose kills servers, and waits until they are gone.
func (f *fleet) lose(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.servers[:min(n, len(f.servers))] {
		_ = d.cmd.Process.Kill() // it may be gone
		<-d.gone
	}
}

// kill ends all at once.
func (f *fleet) kill() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished = true
	for _, d := range append([]*daemon{f.gateway}, f.servers...) {
		if d != nil {
			_ = d.cmd.Process.Kill() // it may be gone
		}
	}
}

// close ends all, the gateway first.
func (f *fleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finished = true
	if f.gateway != nil {
		f.gateway.stop()
	}
	for _, d := range f.servers {
		d.stop()
	}
}

// daemon is a program that says on its standard error where it listens.
type daemon struct {
	cmd  *exec.Cmd
	url  string
	gone chan struct{} // closed when it has ended
}

// How long a daemon may take to come and to go.
const (
	daemonStart = 30 * time.Second
	daemonStop  = 10 * time.Second
)

// startDaemon starts one and waits until it listens.
func startDaemon(ctx context.Context, path string, args, env []string, dir string) (*daemon, error) {
	d := &daemon{cmd: exec.Command(path, args...), gone: make(chan struct{})}
	d.cmd.Dir, d.cmd.Env = dir, append(os.Environ(), env...)
	ownGroup(d.cmd)
	stderr, err := d.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := d.cmd.Start(); err != nil {
		return nil, err
	}
	said := make(chan listening, 1)
	go func() {
		defer close(d.gone)
		out := bufio.NewReader(stderr)
		said <- listenLine(out)
		_, _ = io.Copy(io.Discard, out) // ends with the program
		_ = d.cmd.Wait()                // however it ended
	}()
	select {
	case l := <-said:
		if l.url != "" {
			d.url = l.url
			return d, nil
		}
		err = fmt.Errorf("it ended: %s", l.last)
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(daemonStart):
		err = fmt.Errorf("it did not listen within %v", daemonStart)
	}
	_ = d.cmd.Process.Kill()
	<-d.gone
	return nil, err
}

// listening is the URL that a program said, or where it ended before its last line.
type listening struct{ url, last string }

// listenLine reads up to the line that says a URL.
func listenLine(out *bufio.Reader) (l listening) {
	for {
		line, err := out.ReadString('\n')
		if _, rest, ok := strings.Cut(line, "url="); ok && len(strings.Fields(rest)) > 0 {
			return listening{url: strings.Fields(rest)[0]}
		}
		if line = strings.TrimSpace(line); line != "" {
			l.last = line
		}
		if err != nil {
			return l
		}
	}
}

// stop asks it to end, and kills it where it does not.
func (d *daemon) stop() {
	if d.cmd.Process.Signal(syscall.SIGTERM) != nil {
		_ = d.cmd.Process.Kill()
	}
	select {
	case <-d.gone:
		return
	case <-time.After(daemonStop):
	}
	_ = d.cmd.Process.Kill()
	<-d.gone
}
