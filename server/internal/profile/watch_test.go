package profile

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh/knownhosts"
)

// logged is a log that may be read while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// observed is a store whose files are watched, and would not be looked at again for an hour if they were not.
type observed struct {
	*folder
	*Store
	log *logged
}

func watch(t *testing.T, f *folder) *observed {
	t.Helper()
	o := &observed{folder: f, log: &logged{}}
	f.cfg.TTL, f.cfg.Logger = time.Hour, slog.New(slog.NewTextHandler(o.log, nil))
	o.Store = f.open()
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { o.Watch(ctx) })
	t.Cleanup(func() { cancel(); work.Wait() })
	o.soon("files are watched", func() bool { return o.Stats().Watched })
	return o
}

// soon waits for what is to come about far sooner than a look each second would bring it.
func (o *observed) soon(what string, is func() bool) {
	o.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			o.t.Fatalf("it never came about: %s; log:\n%s", what, o.log.buf.String())
		}
	}
}

func (o *observed) tags() string {
	p, err := o.Get("web")
	if err != nil {
		return err.Error()
	}
	return strings.Join(p.Tags, " ")
}

func tagged(tag string) string { return minimal("web", `, "tags": ["`+tag+`"]`) }

func (o *observed) key() string {
	target, err := o.Resolve(context.Background(), "web")
	if err != nil {
		return err.Error()
	}
	return target.Key
}

// TestWatch edits a profile in every way that editors do, breaks it, mends it and removes it.
func TestWatch(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	web := f.profile("web.json", tagged("a"))
	o := watch(t, f)
	if got := o.tags(); got != "a" {
		t.Fatalf("tags %q", got)
	}
	f.profile("web.json", tagged("b"))
	o.soon("edited in place", func() bool { return o.tags() == "b" })
	f.write(web+".new", tagged("c"))
	if err := os.Rename(web+".new", web); err != nil {
		t.Fatal(err)
	}
	o.soon("replaced", func() bool { return o.tags() == "c" })
	if err := os.Rename(web, web+"~"); err != nil {
		t.Fatal(err)
	}
	f.profile("web.json", tagged("d"))
	o.soon("moved away and written anew", func() bool { return o.tags() == "d" })

	f.profile("web.json", tagged("d")+"}")
	o.soon("the log tells of a broken file that nobody asks for", func() bool { return o.log.has("the last good one stays") })
	if b := o.Broken(); len(b) != 1 || b[0].ID != "web" || !b[0].Kept || !strings.Contains(b[0].Err.Error(), web+":1:") {
		t.Errorf("broken %+v", b)
	}
	if got := o.tags(); got != "d" {
		t.Errorf("a broken edit gives %q", got)
	}
	f.profile("web.json", tagged("e"))
	o.soon("mended", func() bool { return o.tags() == "e" && len(o.Broken()) == 0 })

	f.profile("new.json", minimal("new", ""))
	o.soon("added", func() bool { _, err := o.Get("new"); return err == nil })
	f.profile("bad.json", "{")
	o.soon("added broken", func() bool { b := o.Broken(); return len(b) == 1 && b[0].ID == "bad" && !b[0].Kept })
	if err := os.Remove(web); err != nil {
		t.Fatal(err)
	}
	o.soon("removed", func() bool { _, err := o.Get("web"); return errors.Is(err, ErrNotFound) })
	if list := o.List(); len(list) != 1 || list[0].ID != "new" {
		t.Errorf("list %+v", list)
	}
}

// TestReplacedIsNeverMissing has calls go on while a file is replaced over and over, as an editor does that moves the old one away first. Where the
// machine kept the file away, or did not look, for as long as counts as removed, that is no fault of the store, and it is tried again.
func TestReplacedIsNeverMissing(t *testing.T) {
	for range 10 {
		got, starved := replaceOverAndOver(t)
		if got == "a" {
			return
		}
		if starved < replaceTime/2 {
			t.Fatalf("while it is replaced: %s", got)
		}
		t.Logf("the machine held the test up for %v: %s", starved, got)
	}
	t.Fatal("too little of the machine to tell")
}

// replaceOverAndOver returns "a" where that was found throughout, else what was found, and the longest time for which either side was held up.
func replaceOverAndOver(t *testing.T) (got string, starved time.Duration) {
	f := newFolder(t)
	web := f.profile("web.json", tagged("a"))
	o := watch(t, f)
	start := time.Now()
	var away time.Duration
	done := make(chan struct{})
	go func() {
		defer close(done)
		for time.Since(start) < statInterval/3 {
			gone := time.Now()
			if err := errors.Join(os.Rename(web, web+"~"), os.WriteFile(web, []byte(tagged("a")), 0o600)); err != nil {
				t.Error(err)
			}
			away = max(away, time.Since(gone))
			time.Sleep(time.Millisecond)
		}
	}()
	for got, last := "a", time.Now(); ; {
		select {
		case <-done:
			return got, max(starved, away)
		default:
		}
		if got == "a" {
			got = o.tags()
		}
		time.Sleep(100 * time.Microsecond)
		starved, last = max(starved, time.Since(last)), time.Now()
	}
}

// TestWatchCredentials changes the secret, its key's file and known_hosts, and breaks them.
func TestWatchCredentials(t *testing.T) {
	f := newFolder(t)
	key, other := newKey(t), newKey(t)
	s := f.secret("s.json", `{"password": "one"}`)
	hosts := f.cfg.KnownHosts[0]
	f.write(hosts, knownhosts.Line([]string{"10.0.0.1"}, key)+"\n")
	f.profile("web.json", strings.Replace(minimal("web", ""), pin, "", 1))
	o := watch(t, f)
	last := o.key()
	changes := func(what string) {
		t.Helper()
		o.soon(what, func() bool { return o.key() != last })
		last = o.key()
	}
	f.secret("s.json", `{"password": "two"}`)
	changes("secret")
	f.write(hosts, knownhosts.Line([]string{"10.0.0.1"}, other)+"\n")
	changes("known hosts")

	f.secret("s.json", `{"password": "two`)
	o.soon("the log tells of a broken secret", func() bool { return o.log.has("credential cannot be used") })
	f.write(hosts, "not a line of the file\n")
	o.soon("the log tells of broken host keys", func() bool { return o.log.has("known hosts cannot be used") })
	if got := o.key(); got != last {
		t.Errorf("what is broken counts: %s instead of %s", got, last)
	}
	if b := o.Broken(); len(b) != 2 || b[0].ID != "" || b[1].ID != "web" || !b[0].Kept || !b[1].Kept {
		t.Errorf("broken: %+v", b)
	}
	if strings.Contains(o.log.buf.String(), "two") {
		t.Error("the log shows a secret")
	}
	f.write(hosts, knownhosts.Line([]string{"10.0.0.1"}, key)+"\n")
	f.secret("s.json", `{"password": "three"}`)
	changes("mended")
	o.soon("nothing is broken", func() bool { return len(o.Broken()) == 0 })

	if err := os.Chmod(s, 0o644); err != nil {
		t.Fatal(err)
	}
	o.soon("an open secret is refused", func() bool { return strings.Contains(o.key(), "chmod 600") })
}

// TestWatchLinks has the profile be a link to a file elsewhere that is edited, then the link point at another, then the folder be another.
func TestWatchLinks(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	first, second, third := t.TempDir(), t.TempDir(), t.TempDir()
	f.write(filepath.Join(first, "a"), tagged("a"))
	f.write(filepath.Join(second, "a"), tagged("c"))
	f.write(filepath.Join(third, "web.json"), tagged("d"))
	link := func(to, name string) {
		if err := errors.Join(os.Symlink(to, name+".new"), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	here := filepath.Join(f.cfg.Dir, "web.json")
	link(filepath.Join(first, "a"), here)
	o := watch(t, f)
	if got := o.tags(); got != "a" {
		t.Fatalf("tags %q", got)
	}
	f.write(filepath.Join(first, "a"), tagged("b"))
	o.soon("the file behind the link", func() bool { return o.tags() == "b" })
	link(filepath.Join(second, "a"), here)
	o.soon("the link", func() bool { return o.tags() == "c" })
	if err := os.Rename(f.cfg.Dir, f.cfg.Dir+".old"); err != nil {
		t.Fatal(err)
	}
	link(third, f.cfg.Dir)
	o.soon("the folder", func() bool { return o.tags() == "d" })
	f.write(filepath.Join(third, "web.json"), tagged("e"))
	o.soon("a file of the new folder", func() bool { return o.tags() == "e" })
}

// TestWatchedIsNotLookedAt wants calls to cost no look at any file as long as none changes, and another file's writes to change nothing.
func TestWatchedIsNotLookedAt(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	f.profile("web.json", minimal("web", ""))
	log := f.profile("other.db", "")
	for _, old := range []string{filepath.Join(f.cfg.Dir, "web.json"), filepath.Join(f.cfg.Secrets.Dir, "s.json")} {
		if err := os.Chtimes(old, time.Now().Add(-time.Hour), time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	o := watch(t, f)
	time.Sleep(2 * settleTime) // until the look at the start is over
	o.key()
	before := o.Stats()
	for range 200 {
		f.write(log, "x")
		o.key()
	}
	after := o.Stats()
	if after.Hits != before.Hits+200 || after.Misses != before.Misses || after.Reads != before.Reads {
		t.Errorf("before %+v, after %+v", before, after)
	}
	o.SetTTL(time.Nanosecond)
	o.key()
	if again := o.Stats(); again.Misses != after.Misses+1 || again.Reads != after.Reads {
		t.Errorf("after the TTL: %+v", again)
	}
}

// TestWatchEnds wants files to be looked at each second again once nobody watches them, and a second Watch to take over from the first.
func TestWatchEnds(t *testing.T) {
	f := newFolder(t)
	f.cfg.TTL = time.Hour
	f.profile("web.json", tagged("a"))
	s := f.open()
	ctx := make([]context.Context, 2)
	cancel := make([]context.CancelFunc, 2)
	var work [2]sync.WaitGroup
	for i := range ctx {
		ctx[i], cancel[i] = context.WithCancel(t.Context())
		work[i].Go(func() { s.Watch(ctx[i]) })
		for deadline := time.Now().Add(10 * time.Second); !s.Stats().Watched; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("not watched")
			}
		}
	}
	cancel[0]()
	work[0].Wait()
	for deadline := time.Now().Add(10 * time.Second); !s.Stats().Watched; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second does not take over")
		}
	}
	cancel[1]()
	work[1].Wait()
	if s.Stats().Watched {
		t.Error("watched by nobody")
	}
	now := time.Now()
	if a := s.age(now); a.until.Sub(now) != statInterval {
		t.Errorf("looked at each %v", a.until.Sub(now))
	}
}
