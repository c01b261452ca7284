package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/pprof/profile"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
)

const (
	profileSlice  = 3 * time.Second // of one CPU profile; those of a run are merged
	profileMerge  = 16              // so many are merged on the way, lest they pile up
	profileWait   = 2 * time.Second // for a server that has started to say where it serves pprof
	profileAnswer = 20 * time.Second
)

// snapshots are the profiles taken at the end of a stretch of measured time; of several, the last is kept.
var snapshots = []string{"heap", "goroutine", "mutex"}

// profiles is where --profile puts the profiles of a run's servers. A nil one takes none.
type profiles struct {
	dir   string
	notes io.Writer

	mu      sync.Mutex
	current string // scenario and arm that is opened now, for the names of files
	written int
	errs    []error
}

// checkProfile finds servers that have no profiles.
func (o *runOptions) checkProfile() error {
	switch {
	case o.profileDir == "":
		return nil
	case limits[o.server]:
		return usage("--profile takes the profiles of a server process, and --server %s has none: drop one", o.server)
	case o.driver.Sessions == driver.SessionsPerCall && !isURL(o.server) && o.transport == "stdio":
		return usage("--profile follows one server process, and --sessions per-call starts one for each call: drop one, or use --transport http")
	}
	return nil
}

func openProfiles(dir string, notes io.Writer) (*profiles, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, usage("--profile: %w", err)
	}
	return &profiles{dir: dir, notes: notes}, nil
}

// of notes which scenario and arm is opened.
func (p *profiles) of(scenario string, open loadgen.Opener) loadgen.Opener {
	if p == nil {
		return open
	}
	return func(ctx context.Context, arm loadgen.Arm) (loadgen.Driver, error) {
		name := scenario
		if arm.Name != "" {
			name += "-" + arm.Name
		}
		p.mu.Lock()
		p.current = name
		p.mu.Unlock()
		d, err := open(ctx, arm)
		if err == nil && limits[d.Info().Kind] {
			fmt.Fprintf(p.notes, "loadgen: %s: there is no server process to profile (%s)\n", name, d.Info().Kind)
		}
		return d, err
	}
}

// ofStarted starts a server that is asked to serve pprof, and profiles it.
func (p *profiles) ofStarted(kind string, child driver.ChildConfig, start func(driver.ChildConfig) (loadgen.Driver, error)) (loadgen.Driver, error) {
	if p == nil {
		return start(child)
	}
	switch {
	case kind == "stdio" && child.Sessions == driver.SessionsPerCall:
		return nil, usage("--profile follows one server process, and sessions per-call on stdio starts one for each call: leave that arm out")
	case kind == "stdio" && child.Sessions == driver.SessionsPerVU:
		fmt.Fprintln(p.notes, "loadgen: of the server's processes, the first is profiled")
	}
	find := &monitorFinder{found: make(chan string, 1)}
	child.Stderr = find
	child.Env = append(child.Env, "OPENACCESS_MONITORING_LISTEN=127.0.0.1:0", "OPENACCESS_MONITORING_PPROF=true")
	d, err := start(child)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(profileWait)
	defer timer.Stop()
	select {
	case at := <-find.found:
		return p.follow(d, at), nil
	case <-timer.C:
		return nil, errors.Join(harness("--profile: the server %s does not log where it serves pprof (monitor_url=...): use a server that knows "+
			"monitoring.pprof, and a log_level of info", child.Path), d.Close())
	}
}

// ofRunning profiles the server at a URL.
func (p *profiles) ofRunning(ctx context.Context, d loadgen.Driver, at string) (loadgen.Driver, error) {
	if p == nil {
		return d, nil
	}
	u, err := url.Parse(at)
	if err == nil {
		at = u.Scheme + "://" + u.Host
		ctx, cancel := context.WithTimeout(ctx, profileAnswer)
		defer cancel()
		_, err = getProfile(ctx, at+"/debug/pprof/cmdline")
	}
	if err != nil {
		return nil, errors.Join(usage("--profile: the server at %s serves no pprof (%w): start it with monitoring.pprof: true, or drop --profile", at, err), d.Close())
	}
	return p.follow(d, at), nil
}

// close says how many files there are.
func (p *profiles) close() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.errs) > 0 {
		return harness("--profile: %w", errors.Join(p.errs...))
	}
	if p.written > 0 {
		fmt.Fprintf(p.notes, "%s: %d profiles; read one with go tool pprof\n", p.dir, p.written)
	}
	return nil
}

// done takes note of a file written or the error.
func (p *profiles) done(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.written++
}

// monitorFinder finds the monitoring's URL in the log of a server. Where several servers log, the first counts.
type monitorFinder struct {
	found chan string

	mu   sync.Mutex
	part []byte
}

// Write implements io.Writer.
func (f *monitorFinder) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part = append(f.part, p...)
	for {
		line, rest, whole := bytes.Cut(f.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		f.part = rest
		if _, after, ok := bytes.Cut(line, []byte("monitor_url=")); ok {
			at, _, _ := bytes.Cut(after, []byte(" "))
			select {
			case f.found <- string(at):
			default:
			}
		}
	}
}

// followed is a driver whose server is profiled during the measured time.
type followed struct {
	loadgen.Driver
	profiles *profiles
	url      string
	path     string // of the files, without kind and ending

	begin sync.Once
	ended chan struct{} // a stretch of measured time has
	quit  chan struct{}
	wg    sync.WaitGroup
	cpu   [][]byte
	last  map[string][]byte // of snapshots
}

func (p *profiles) follow(d loadgen.Driver, at string) loadgen.Driver {
	p.mu.Lock()
	defer p.mu.Unlock()
	return &followed{
		Driver: d, profiles: p, url: at, path: filepath.Join(p.dir, p.current), ended: make(chan struct{}, 1), quit: make(chan struct{}), last: map[string][]byte{},
	}
}

// Measuring implements loadgen.Watcher.
func (f *followed) Measuring(on bool) {
	if on {
		f.begin.Do(func() {
			f.wg.Go(f.profileCPU)
			f.wg.Go(f.snapshot)
		})
		return
	}
	select {
	case f.ended <- struct{}{}:
	default:
	}
}

// Close writes the files and closes the driver.
func (f *followed) Close() error {
	close(f.quit)
	f.wg.Wait()
	if len(f.cpu) > 0 {
		merged, err := mergeProfiles(f.cpu)
		f.write("cpu", merged, err)
	}
	for kind, data := range f.last {
		f.write(kind, data, nil)
	}
	return f.Driver.Close()
}

func (f *followed) write(kind string, data []byte, err error) {
	if err == nil {
		err = os.WriteFile(f.path+"-"+kind+".pprof", data, 0o644)
	}
	f.profiles.done(err)
}

// profileCPU takes one profile after the other until the end. Where arms take turns, a server that rests adds nothing.
func (f *followed) profileCPU() {
	for {
		select {
		case <-f.quit:
			return
		default:
		}
		data, err := f.get(fmt.Sprintf("profile?seconds=%d", profileSlice/time.Second))
		if err == nil {
			if f.cpu = append(f.cpu, data); len(f.cpu) == profileMerge {
				data, err = mergeProfiles(f.cpu)
				f.cpu = [][]byte{data}
			}
		}
		if err != nil {
			f.profiles.done(err)
			return
		}
	}
}

func (f *followed) snapshot() {
	for {
		select {
		case <-f.ended:
		case <-f.quit:
			select {
			case <-f.ended: // the end of the measured time still counts
			default:
				return
			}
		}
		for _, kind := range snapshots {
			data, err := f.get(kind)
			if err != nil {
				f.profiles.done(err)
				return
			}
			f.last[kind] = data
		}
	}
}

func (f *followed) get(kind string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), profileSlice+profileAnswer)
	defer cancel()
	return getProfile(ctx, f.url+"/debug/pprof/"+kind)
}

// profileClient asks the server itself, whatever proxies the environment names.
var profileClient = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func getProfile(ctx context.Context, from string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	resp, err := profileClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", from, resp.Status)
	}
	return data, err
}

func mergeProfiles(parts [][]byte) ([]byte, error) {
	var all []*profile.Profile
	for _, part := range parts {
		p, err := profile.ParseData(part)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	merged, err := profile.Merge(all)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = merged.Write(&out)
	return out.Bytes(), err
}
