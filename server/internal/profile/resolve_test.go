package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clocked is a store whose clock the test moves and whose looks at files it counts.
type clocked struct {
	*folder
	store *Store
	time  time.Time
	stats int
}

// start opens the store an hour from now, when every file has settled.
func start(f *folder) *clocked {
	c := &clocked{folder: f, store: f.open(), time: time.Now().Add(time.Hour)}
	c.store.now = func() time.Time { return c.time }
	c.store.stat = func(path string) stamp { c.stats++; return stampFile(path) }
	c.store.changed()
	return c
}

func (c *clocked) resolve(id string) *Target {
	c.t.Helper()
	target, err := c.store.Resolve(context.Background(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return target
}

// settle makes the last change to a file look older than the store's clock.
func (c *clocked) settle(path string, age time.Duration) {
	c.t.Helper()
	at := c.time.Add(-age)
	if err := os.Chtimes(path, at, at); err != nil {
		c.t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"username": "fallback", "password": "hunter2"}`)
	f.profile("web.json", minimal("web", `, "port": 2222`))
	f.profile("bare.json", strings.Replace(minimal("bare", ""), `"username": "u", `, "", 1))
	s := f.open()
	web, err := s.Resolve(t.Context(), "web")
	if err != nil {
		t.Fatal(err)
	}
	if web.Addr != "10.0.0.1:2222" || web.User != "u" || len(web.Auth) != 2 || web.Jump != nil || web.Profile.ID != "web" {
		t.Errorf("target %+v", web)
	}
	if p, err := s.Get("web"); err != nil || p != web.Profile {
		t.Errorf("Get gives %p, Resolve %p, %v", p, web.Profile, err)
	}
	bare, err := s.Resolve(t.Context(), "bare")
	if err != nil || bare.User != "fallback" {
		t.Errorf("user of the secret: %+v, %v", bare, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", web, *web, *web), "hunter2") {
		t.Error("a printed target shows the password")
	}
	for id, want := range map[string]string{"wbe": `no such profile: "wbe": did you mean "web"?`, "": `no such profile: ""`, "../web": "no such profile"} {
		if _, err := s.Resolve(t.Context(), id); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := s.Get(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestKeyIsWhatConnectionsShare(t *testing.T) {
	f := newFolder(t)
	key := newKey(t)
	f.secret("s.json", `{"password": "one"}`)
	f.secret("same.json", `{"password": "one"}`)
	f.secret("other.json", `{"password": "two"}`)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, key)+"\n")
	edit := func(id string, pairs ...string) {
		f.profile(id+".json", strings.NewReplacer(pairs...).Replace(minimal(id, "")))
	}
	edit("base")
	edit("same", `"s"`, `"same"`)
	f.profile("tagged.json", minimal("tagged", `, "tags": ["x"], "policy": {"deny_sudo": true}`))
	edit("host", "10.0.0.1", "10.0.0.2")
	f.profile("port.json", minimal("port", `, "port": 23`))
	edit("user", `"u"`, `"v"`)
	edit("credential", `"s"`, `"other"`)
	edit("pin", pin, line(key))
	edit("file", pin, "")
	f.profile("jump.json", minimal("jump", `, "jump": "host"`))
	f.profile("jump2.json", minimal("jump2", `, "jump": "user"`))
	s := f.open()
	seen := map[string]string{}
	for _, id := range []string{"base", "host", "port", "user", "credential", "pin", "file", "jump", "jump2"} {
		target, err := s.Resolve(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if other, twice := seen[target.Key]; twice {
			t.Errorf("%s and %s share %s", id, other, target.Key)
		}
		seen[target.Key] = id
	}
	for _, id := range []string{"same", "tagged"} {
		if target, err := s.Resolve(t.Context(), id); err != nil || seen[target.Key] != "base" {
			t.Errorf("%s does not share the connection of base: %v", id, err)
		}
	}
}

func TestJump(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	f.profile("a.json", minimal("a", `, "jump": "b"`))
	f.profile("b.json", minimal("b", `, "jump": "c"`))
	cPath := f.profile("c.json", minimal("c", ""))
	c := start(f)
	a := c.resolve("a")
	if a.Jump == nil || a.Jump.Profile.ID != "b" || a.Jump.Jump == nil || a.Jump.Jump.Profile.ID != "c" || a.Jump.Jump.Jump != nil {
		t.Fatalf("chain %+v", a)
	}
	f.profile("c.json", minimal("c", `, "port": 23`))
	c.time = c.time.Add(statInterval * 3)
	b := c.resolve("a")
	if b == a || b.Jump.Jump.Addr != "10.0.0.1:23" || b.Key == a.Key {
		t.Errorf("a change of the last jump is not seen: %+v", b.Jump.Jump)
	}
	// A circle that arises by editing is an error and no deadlock.
	f.profile("c.json", minimal("c", `, "jump": "a"`))
	c.time = c.time.Add(statInterval * 3)
	for _, id := range []string{"a", "b", "c"} {
		if _, err := c.store.Resolve(t.Context(), id); err == nil || !strings.Contains(err.Error(), "circle") {
			t.Errorf("circle from %s: %v", id, err)
		}
	}
	if err := os.Remove(cPath); err != nil {
		t.Fatal(err)
	}
	c.time = c.time.Add(statInterval * 3)
	_, err := c.store.Resolve(t.Context(), "a")
	if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `profile b: jump: no such profile: "c"`) {
		t.Errorf("jump is gone: %v", err)
	}
}

func TestResolveLooksAtFilesOnceASecond(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	f.profile("web.json", minimal("web", ""))
	c := start(f)
	first := c.resolve("web")
	before := c.stats
	for range 1000 {
		if c.resolve("web") != first {
			t.Fatal("another target")
		}
	}
	if c.stats != before {
		t.Errorf("%d looks within a second", c.stats-before)
	}
	for range 5 {
		c.time = c.time.Add(statInterval)
		for range 100 {
			if c.resolve("web") != first {
				t.Fatal("another target though nothing changed")
			}
		}
	}
	if got := c.stats - before; got != 10 { // the profile and the secret, five times
		t.Errorf("%d looks in five seconds, want 10", got)
	}
}

func TestResolveFollowsFiles(t *testing.T) {
	f := newFolder(t)
	key, other := newKey(t), newKey(t)
	secretFile := f.secret("s.json", `{"password": "one"}`)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, key)+"\n")
	unpinned := strings.Replace(minimal("web", ""), pin, "", 1)
	web := f.profile("web.json", unpinned)
	c := start(f)
	last := c.resolve("web")
	changed := func(what string, newKey bool) {
		t.Helper()
		c.time = c.time.Add(statInterval)
		target := c.resolve("web")
		if target == last || (target.Key != last.Key) != newKey {
			t.Errorf("%s: same target %v, key changed %v", what, target == last, target.Key != last.Key)
		}
		last = target
	}
	f.secret("s.json", `{"password": "two!"}`)
	changed("secret", true)
	f.secret("s.json", `{"password": "2222"}`)
	c.settle(secretFile, time.Minute)
	changed("secret of the same size", true)
	f.profile("web.json", unpinned[:len(unpinned)-1]+`, "tags": ["x"]}`)
	changed("tags", false)
	f.write(f.cfg.KnownHosts[0], "# moved\n"+knownhosts.Line([]string{"10.0.0.1"}, key)+"\n")
	changed("known_hosts, the same key", false)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, other)+"\n")
	changed("known_hosts, another key", true)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, other)+"\n@revoked * "+line(other)+"\n")
	changed("known_hosts, the key revoked", true)
	f.write(f.cfg.KnownHosts[0], knownhosts.Line([]string{"10.0.0.1"}, other)+"\n")
	changed("known_hosts, the key not revoked any more", true)
	f.write(f.cfg.KnownHosts[0], "@cert-authority "+knownhosts.Line([]string{"10.0.0.1"}, other)+"\n")
	changed("known_hosts, the key that of an authority", true)
	if err := os.Rename(f.secret("new.json", `{"password": "two"}`), secretFile); err != nil {
		t.Fatal(err)
	}
	changed("secret replaced", true)

	if err := os.Chmod(secretFile, 0o644); err != nil {
		t.Fatal(err)
	}
	c.time = c.time.Add(statInterval)
	_, err := c.store.Resolve(t.Context(), "web")
	if e, ok := errors.AsType[*CredentialError](err); !ok || e.Profile != "web" || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("open secret: %v", err)
	}
	if err := os.Chmod(secretFile, 0o600); err != nil {
		t.Fatal(err)
	}
	changed("secret closed again", false)

	f.profile("web.json", "{")
	c.time = c.time.Add(statInterval)
	if kept := c.resolve("web"); kept.Key != last.Key {
		t.Errorf("the last good profile gives way to a broken one: %+v", kept)
	}
	broken := c.store.Broken()
	if len(broken) != 1 || broken[0].ID != "web" || !broken[0].Kept {
		t.Fatalf("broken: %+v", broken)
	}
	if p, ok := errors.AsType[*Problem](broken[0].Err); !ok || p.File != web {
		t.Errorf("broken profile: %v", broken[0].Err)
	}
	f.profile("web.json", strings.Replace(unpinned, "10.0.0.1", "10.0.0.2", 1))
	changed("profile mended", true)
	if broken := c.store.Broken(); len(broken) != 0 {
		t.Errorf("mended, and broken: %+v", broken)
	}
}

// A secret written just now may have changed again between being read and being
// looked at, so it is read once more when it has settled.
func TestResolveDistrustsYoungSecrets(t *testing.T) {
	f := newFolder(t)
	path := f.secret("s.json", `{"password": "one"}`)
	f.profile("web.json", minimal("web", ""))
	c := start(f)
	c.settle(path, 0)
	first := c.resolve("web")
	f.secret("s.json", `{"password": "two"}`)
	c.settle(path, 0) // as if the same tick of the file system's clock
	c.time = c.time.Add(unsettled)
	if second := c.resolve("web"); second.Key == first.Key {
		t.Error("the second write is not seen")
	}
}

func TestResolveAsksTheEnvironmentOncePerTTL(t *testing.T) {
	f := newFolder(t)
	asked := 0
	f.cfg.CredentialTTL = time.Minute
	f.cfg.Secrets.LookupEnv = func(string) (string, bool) { asked++; return "one", true }
	f.profile("web.json", strings.Replace(minimal("web", ""), "file_ref", "env_ref", 1))
	c := start(f)
	for range 180 {
		c.resolve("web")
		c.time = c.time.Add(time.Second)
	}
	if asked != 3 {
		t.Errorf("asked %d times in three minutes, want 3", asked)
	}
}

func TestResolveRemembersFailureForASecond(t *testing.T) {
	f := newFolder(t)
	asked := 0
	f.cfg.Secrets.LookupEnv = func(string) (string, bool) { asked++; return "", false }
	f.profile("web.json", strings.Replace(minimal("web", ""), "file_ref", "env_ref", 1))
	f.secret("s.json", `{"password": "one"}`)
	f.profile("good.json", minimal("good", ""))
	c := start(f)
	for range 20 {
		if _, err := c.store.Resolve(t.Context(), "web"); err == nil {
			t.Fatal("no error")
		}
		c.time = c.time.Add(statInterval / 10)
	}
	if asked != 2 {
		t.Errorf("asked %d times in two seconds, want 2", asked)
	}
	c.resolve("good") // one broken credential stops no other profile
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.time = c.time.Add(statInterval)
	if _, err := c.store.Resolve(ctx, "web"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.store.Resolve(t.Context(), "web"); errors.Is(err, context.Canceled) {
		t.Error("one caller's cancelling is remembered for the next")
	}
}

func TestStoreFollowsFolder(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	one := f.profile("one.json", minimal("one", ""))
	c := start(f)
	ids := func() string {
		c.time = c.time.Add(statInterval)
		var ids []string
		for _, p := range c.store.List() {
			ids = append(ids, p.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := ids(); got != "one" {
		t.Errorf("list %q", got)
	}
	f.profile("two.json", minimal("two", ""))
	c.time = c.time.Add(statInterval)
	c.resolve("two")
	if got := ids(); got != "one two" {
		t.Errorf("added: list %q", got)
	}
	if err := os.Rename(one, filepath.Join(f.cfg.Dir, "one.yaml")); err != nil {
		t.Fatal(err)
	}
	c.time = c.time.Add(statInterval)
	c.resolve("one")
	f.profile("one.json", minimal("one", ""))
	if got := ids(); got != "one two" { // as it was before there were two
		t.Errorf("two files of one id: list %q", got)
	}
	if b := c.store.Broken(); len(b) != 1 || !b[0].Kept || !strings.Contains(b[0].Err.Error(), `has the same id "one": keep one`) {
		t.Errorf("two files of one id: %+v", b)
	}
	for _, name := range []string{"one.json", "one.yaml"} {
		if err := os.Remove(filepath.Join(f.cfg.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if got := ids(); got != "two" {
		t.Errorf("removed: list %q", got)
	}
	if _, err := c.store.Resolve(t.Context(), "one"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
}

// While one caller waits for a slow credential, others go on with the last one.
func TestSlowCredentialHoldsUpOneCaller(t *testing.T) {
	f := newFolder(t)
	var slow atomic.Bool
	started, release := make(chan struct{}), make(chan struct{})
	f.cfg.CredentialTTL = time.Minute
	f.cfg.Secrets.LookupEnv = func(string) (string, bool) {
		if slow.Load() {
			close(started)
			<-release
		}
		return "one", true
	}
	f.profile("web.json", strings.Replace(minimal("web", ""), "file_ref", "env_ref", 1))
	c := start(f)
	first := c.resolve("web")
	c.time = c.time.Add(time.Hour)
	slow.Store(true)
	var waiting sync.WaitGroup
	waiting.Go(func() { c.store.Resolve(context.Background(), "web") })
	<-started
	if second := c.resolve("web"); second != first {
		t.Error("another target while the credential is being renewed")
	}
	close(release)
	waiting.Wait()
}

func TestConcurrentUse(t *testing.T) {
	f := newFolder(t)
	f.secret("s.json", `{"password": "one"}`)
	f.profile("a.json", minimal("a", `, "jump": "b"`))
	f.profile("b.json", minimal("b", ""))
	s := f.open()
	var tick atomic.Int64
	base := time.Now()
	s.now = func() time.Time { return base.Add(time.Duration(tick.Add(1)) * 100 * time.Millisecond) }
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 200 {
				switch (i + n) % 4 {
				case 0:
					s.List()
				case 1:
					s.Get("b")
				case 2:
					if i == 0 {
						f.profile("c.json", minimal("c", ""))
					}
					s.Resolve(t.Context(), "c")
				default:
					if _, err := s.Resolve(t.Context(), "a"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkResolve(b *testing.B) {
	f := newFolder(b)
	f.secret("s.json", `{"password": "one"}`)
	f.profile("web.json", minimal("web", ""))
	s := f.open()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Resolve(context.Background(), "web"); err != nil {
				b.Error(err)
			}
		}
	})
}
