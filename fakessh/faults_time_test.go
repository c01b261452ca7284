package fakessh_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// virtual is a host in memory whose clock is that of a bubble.
type virtual struct {
	*testing.T
	host    *fakessh.Host
	network *netem.Memory
	began   time.Time
}

func inVirtualTime(t *testing.T, faults string, f func(v virtual)) {
	t.Helper()
	parsed, err := fakessh.ParseFaults("faults", []byte(faults))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		network := netem.Listen()
		host := fakessh.Start(fakessh.Options{Listener: network, GoTimers: true, Faults: parsed})
		f(virtual{t, host, network, time.Now()})
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (v virtual) dial() *gossh.Client {
	v.Helper()
	c, err := v.network.Dial(context.Background())
	if err != nil {
		v.Fatal(err)
	}
	sc, chans, reqs, err := gossh.NewClientConn(c, "fake", &gossh.ClientConfig{
		User: "x", Auth: []gossh.AuthMethod{gossh.Password("x")}, HostKeyCallback: gossh.FixedHostKey(v.host.HostKey()),
	})
	if err != nil {
		v.Fatal(err)
	}
	client := gossh.NewClient(sc, chans, reqs)
	v.Cleanup(func() { client.Close() })
	return client
}

// at wants it to be so long after the start of the host.
func (v virtual) at(want time.Duration, what string) {
	v.Helper()
	if got := time.Since(v.began); (got - want).Abs() > 10*time.Microsecond {
		v.Errorf("%s after %v, want %v", what, got, want)
	}
}

func (v virtual) sleepUntil(d time.Duration) { time.Sleep(d - time.Since(v.began)) }

// TestWorkersHaveACapacity keeps 3 workers of 10 ms busy for a second.
func TestWorkersHaveACapacity(t *testing.T) {
	inVirtualTime(t, "workers: {count: 3, service: 10ms}", func(v virtual) {
		client := v.dial()
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() { run(v, client, "true", "") })
		}
		wg.Wait()
		v.at(time.Second, "300 commands are done")
		d := v.host.Delays().Exec
		if d.Count() != 300 || d.Quantile(0) < 9990*time.Microsecond || d.Quantile(1) > 1001*ms || (d.Quantile(0.5)-500*ms).Abs() > 5*ms {
			t.Errorf("%d delays from %v over %v to %v", d.Count(), d.Quantile(0), d.Quantile(0.5), d.Quantile(1))
		}
		v.sleepUntil(2 * time.Second)
		run(v, client, "true", "")
		v.at(2010*ms, "one without a queue is done")
	})
}

// TestWorkersKeepTheirQueue changes something else while work waits.
func TestWorkersKeepTheirQueue(t *testing.T) {
	inVirtualTime(t, "workers: {count: 1, service: 100ms}", func(v virtual) {
		client := v.dial()
		var first sync.WaitGroup
		first.Go(func() { run(v, client, "true", "") })
		synctest.Wait()
		setFaults(t, v.host, "{workers: {count: 1, service: 100ms}, max_sessions: 10}")
		run(v, client, "true", "")
		v.at(200*ms, "the second command is done")
		first.Wait()
		setFaults(t, v.host, "workers: {count: 1, service: 10ms}")
		run(v, client, "true", "")
		v.at(210*ms, "one with a faster worker is done")
	})
}

func TestExecDelayIsExact(t *testing.T) {
	inVirtualTime(t, "{exec: {delay: 20ms}, connect: {delay: 5ms}, auth: {delay: 2ms}, sftp: {delay: 3ms}}", func(v virtual) {
		client := v.dial()
		v.at(7*ms, "logged in")
		run(v, client, "true", "")
		v.at(27*ms, "the command is done")
		files, err := sftp.NewClient(client)
		if err != nil {
			t.Fatal(err)
		}
		defer files.Close()
		if _, err := files.Stat("/"); err != nil {
			t.Fatal(err)
		}
		v.at(30*ms, "the request is done")
		d := v.host.Delays()
		for what, h := range map[string]struct {
			got  fakessh.Histogram
			want time.Duration
		}{"connect": {d.Connect, 5 * ms}, "exec": {d.Exec, 20 * ms}, "sftp": {d.SFTP, 3 * ms}} {
			if h.got.Count() != 1 || (h.got.Mean()-h.want).Abs() > h.want/500 {
				t.Errorf("%s: %d delays of %v, want one of %v", what, h.got.Count(), h.got.Mean(), h.want)
			}
		}
	})
}

func TestStallOfTheHost(t *testing.T) {
	inVirtualTime(t, "network: {stall: {every: 10s, for: 1s, at: 5s}}", func(v virtual) {
		client := v.dial()
		for _, test := range []struct{ sent, done time.Duration }{
			{4 * time.Second, 4 * time.Second}, {5200 * ms, 6 * time.Second}, {14 * time.Second, 14 * time.Second}, {15999 * ms, 16 * time.Second},
		} {
			v.sleepUntil(test.sent)
			run(v, client, "true", "")
			v.at(test.done, "a command is done")
		}
	})
}

func TestNetworkDelayIsARoundTrip(t *testing.T) {
	inVirtualTime(t, "", func(v virtual) {
		client := v.dial()
		setFaults(t, v.host, "network: {delay: 50ms}") // also for connections that are open
		before := time.Since(v.began)
		if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			t.Fatal(err)
		}
		v.at(before+100*ms, "the answer comes")
	})
}

func TestSlowDisk(t *testing.T) {
	inVirtualTime(t, "disk: {bandwidth: 1MiB/s, write: 100ms, read: 50ms}", func(v virtual) {
		files, err := sftp.NewClient(v.dial())
		if err != nil {
			t.Fatal(err)
		}
		defer files.Close()
		f, err := files.Create("f")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		v.at(0, "the file is open")
		if _, err := f.Write(make([]byte, 16<<10)); err != nil {
			t.Fatal(err)
		}
		v.at(100*ms+time.Second/64, "a block is written")
		if _, err := f.ReadAt(make([]byte, 16<<10), 0); err != nil {
			t.Fatal(err)
		}
		v.at(150*ms+time.Second/32, "it is read")
	})
}

func TestSchedule(t *testing.T) {
	inVirtualTime(t, "{exec: {delay: 1ms}, schedule: [{at: 1s, faults: {exec: {delay: 2ms}}}, {at: 3s, faults: {}}]}", func(v virtual) {
		client := v.dial()
		for _, test := range []struct{ at, takes time.Duration }{{0, ms}, {1500 * ms, 2 * ms}, {2999 * ms, 2 * ms}, {3500 * ms, 0}} {
			v.sleepUntil(test.at)
			run(v, client, "true", "")
			v.at(test.at+test.takes, "a command is done")
		}
		setFaults(t, v.host, "schedule: [{at: 1s, faults: {exec: {delay: 1h}}}]")
		v.sleepUntil(4 * time.Second)
		setFaults(t, v.host, "") // ends the schedule
		v.sleepUntil(10 * time.Second)
		run(v, client, "true", "")
		v.at(10*time.Second, "a command is done")
		setFaults(t, v.host, "schedule: [{at: 1h, faults: {}}]") // ended by Close
	})
}

// TestSilentCut lets a connection fall silent, as where a machine loses its power.
func TestSilentCut(t *testing.T) {
	inVirtualTime(t, "cut: {after: 5s, silent: true}", func(v virtual) {
		client := v.dial()
		run(v, client, "true", "")
		v.sleepUntil(6 * time.Second)
		answered := make(chan error, 1)
		go func() { _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); answered <- err }()
		select {
		case err := <-answered:
			t.Errorf("a silent host answers, %v", err)
		case <-time.After(time.Hour):
		}
		if got := v.host.Stats().OpenConnections; got != 1 {
			t.Errorf("%d connections are open, want one that knows of nothing", got)
		}
		client.Close()
		<-answered
	})
}

func TestSameSeedSameDelays(t *testing.T) {
	took := func(seed string) (d [20]time.Duration) {
		inVirtualTime(t, "{seed: "+seed+", exec: {delay: {kind: log-normal, median: 20ms, sigma: 0.5}}}", func(v virtual) {
			client := v.dial()
			for i := range d {
				before := time.Now()
				run(v, client, "true", "")
				d[i] = time.Since(before)
			}
		})
		return d
	}
	one, again, other := took("1"), took("1"), took("2")
	if one != again || one == other {
		t.Errorf("seed 1 gives %v\nthen %v\nseed 2 gives %v", one, again, other)
	}
}

func TestDelaysMergeResetAndTravel(t *testing.T) {
	inVirtualTime(t, "exec: {delay: 20ms}", func(v virtual) {
		client := v.dial()
		run(v, client, "true", "")
		first := v.host.Delays()
		v.host.ResetDelays()
		if n := v.host.Delays().Exec.Count(); n != 0 {
			t.Errorf("%d delays after the reset", n)
		}
		setFaults(t, v.host, "exec: {delay: 40ms}")
		run(v, client, "true", "")
		second := v.host.Delays()
		text, err := json.Marshal(second)
		if err != nil {
			t.Fatal(err)
		}
		var sum fakessh.Delays
		if err := json.Unmarshal(text, &sum); err != nil {
			t.Fatal(err)
		}
		sum.Merge(first)
		if got := sum.Exec; got.Count() != 2 || (got.Mean()-30*ms).Abs() > ms/10 || sum.Connect.Count() != 1 {
			t.Errorf("%d delays, mean %v", got.Count(), got.Mean())
		}
	})
}

// TestAbandonedExec leaves no delay behind for what was never answered.
func TestAbandonedExec(t *testing.T) {
	inVirtualTime(t, "exec: {delay: 1h}", func(v virtual) {
		client := v.dial()
		s := session(v, client)
		if err := s.Start("true"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.Close()
		synctest.Wait()
		if n := v.host.Delays().Exec.Count(); n != 0 || v.host.Stats().Running != 0 {
			t.Errorf("%d delays, %d running", n, v.host.Stats().Running)
		}
	})
}
