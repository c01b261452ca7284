package server

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// slow says when a step takes too long: its median is more than some round trips and an allowance for the work of a sound host.
type slow struct {
	step      string
	trips     float64
	allowance time.Duration
	what      string // is slow, as a sentence begins
	remedy    string
}

// slowSteps are judged against the round trip to the same host.
var slowSteps = []slow{
	{string(pool.StepDNS), 0, 100 * time.Millisecond, "looking up the host's address",
		"use a name server that is near, name the host in /etc/hosts, or give the profile an IP address as host"},
	{string(pool.StepTCP), 2, 200 * time.Millisecond, "opening the connection",
		"look for packets that are lost on the way, a firewall that is slow to let through, or, through a jump host, slow name look-ups there"},
	{string(pool.StepBanner), 2, 400 * time.Millisecond, "waiting for the host's first word",
		"the host takes the connection but sshd starts late: look at its load, at reverse look-ups of TCP wrappers, and at MaxStartups in sshd_config"},
	{string(pool.StepKeyExchange), 4, 400 * time.Millisecond, "the key exchange",
		"the host's processor is slow or busy: look at its load, prefer an ed25519 host key to RSA, and curve25519-sha256 in sshd_config's KexAlgorithms"},
	{string(pool.StepAuth), 6, 500 * time.Millisecond, "authentication",
		"on the host, set UseDNS no and GSSAPIAuthentication no in sshd_config, and look at what PAM, LDAP and AuthorizedKeysCommand wait for; " +
			"here, name the one key that the host accepts"},
	{stepChannel, 2, 150 * time.Millisecond, "opening a session channel", "the host is busy, or PAM's session modules are slow: look at pam_systemd and pam_motd"},
	{stepCommand, 3, 250 * time.Millisecond, "starting and ending the command `" + harmless + "`",
		"the user's login shell does much before it runs a command: shorten its start-up files (.bashrc, .zshenv, /etc/profile.d), or give the account /bin/sh"},
	{stepSFTP, 5, 400 * time.Millisecond, "opening an SFTP session",
		"set Subsystem sftp internal-sftp in sshd_config, which starts no program and no login shell, and look at the load of the host's disk"},
	{stepVPN, 0, 5 * time.Second, "bringing up the WireGuard tunnel", "look at the endpoint of the peer and at the network to it"},
}

// slowTrip is the round trip from which on the network is slow.
const slowTrip = 100 * time.Millisecond

// slowQueue is how long a call may wait for its turn.
const slowQueue = 100 * time.Millisecond

// findings judges what was measured.
func (d *diagnosis) findings(steps []Step) []Finding {
	list := []Finding{}
	list = append(list, d.failures(steps)...)
	list = append(list, latencies(steps)...)
	list = append(list, d.exhaustion()...)
	list = append(list, d.grown.findings(d.tried, d.alone())...)
	list = append(list, d.c.s.leaks()...)
	return append(list, d.c.s.cacheFindings()...)
}

// latencies finds the steps that are slow.
func latencies(steps []Step) []Finding {
	var list []Finding
	trips := map[string]float64{}
	for _, s := range steps {
		if s.Step == stepRoundTrip {
			trips[s.ProfileID] = s.MedianS
		}
	}
	for _, s := range steps {
		if s.Step == stepRoundTrip && s.MedianS > slowTrip.Seconds() {
			list = append(list, Finding{FindingLatency, s.Step, s.ProfileID,
				fmt.Sprintf("a round trip to the host takes %s, so that everything takes several times as long", milliseconds(s.MedianS)),
				"the network is far or congested: run the server nearer to the host, or keep the connections open longer with connection_pooling.idle_timeout"})
		}
		for _, slow := range slowSteps {
			if trip := trips[s.ProfileID]; slow.step == s.Step && s.MedianS > slow.trips*trip+slow.allowance.Seconds() {
				list = append(list, Finding{FindingLatency, s.Step, s.ProfileID, slow.message(s.MedianS, trip), slow.remedy})
			}
		}
	}
	return list
}

func (w slow) message(median, trip float64) string {
	if w.trips > 0 && trip > 0 {
		return fmt.Sprintf("%s takes %s, at a round trip of %s", w.what, milliseconds(median), milliseconds(trip))
	}
	return fmt.Sprintf("%s takes %s", w.what, milliseconds(median))
}

func milliseconds(s float64) string {
	switch {
	case s >= 1:
		return fmt.Sprintf("%.2f s", s)
	case s >= 0.1:
		return fmt.Sprintf("%.0f ms", s*1e3)
	}
	return fmt.Sprintf("%.2f ms", s*1e3)
}

// failures finds the steps that failed. What failed only because an earlier step did is not reached.
func (d *diagnosis) failures(steps []Step) []Finding {
	var list []Finding
	for _, s := range steps {
		if s.Failed == 0 {
			continue
		}
		err := d.series[stepKey{s.ProfileID, s.Step}].err
		if pool.Dropped(err) && d.logins > 0 {
			continue // see exhaustion
		}
		list = append(list, Finding{FindingFailure, s.Step, s.ProfileID,
			fmt.Sprintf("%s failed %d of %d times: %v", s.Step, s.Failed, s.Failed+s.Count, err), remedyFor(s.Step, err)})
	}
	if d.unexpected != "" {
		list = append(list, Finding{FindingFailure, stepCommand, d.opts.Profile, d.unexpected,
			"the account's login shell may be nologin, or a ForceCommand replaces every command: commands will not work on this host"})
	}
	return list
}

// remedyFor says what to do about an error of a step.
func remedyFor(step string, err error) string {
	var hostKey *profile.HostKeyError
	var e *pool.Error
	isPool := errors.As(err, &e)
	switch {
	case errors.As(err, &hostKey):
		return "find out from the host's owner whether its key has changed; if so, put the new one into host_key or known_hosts, else somebody is between"
	case isPool && e.Kind == pool.KindAuth:
		return "check user name and credential of the profile, and authorized_keys and AllowUsers on the host"
	case pool.Dropped(err):
		return "the host took the connection and closed it again: look at sshd's MaxStartups and PerSourceMaxStartups, at fail2ban and TCP wrappers, and at its log"
	case step == string(pool.StepDNS):
		return "correct the host's name in the profile, or the name servers of this machine"
	case step == string(pool.StepTCP) && strings.Contains(err.Error(), "refused"):
		return "the host is up but nothing listens at the port: start sshd there, or correct the profile's port"
	case step == string(pool.StepTCP) && strings.Contains(err.Error(), "reset"):
		return "the host, or a firewall before it, throws the connection away: look at fail2ban, at TCP wrappers and at sshd's MaxStartups"
	case step == string(pool.StepTCP) && strings.Contains(err.Error(), "WireGuard"), step == stepVPN:
		return "bring the tunnel up with vpn_wireguard_toggle, or with --bring-up-vpn where no server uses it, and look at the peer's endpoint and keys"
	case step == string(pool.StepTCP):
		return "the host is down, or a firewall drops what is sent to it: look whether it runs, and at the network between"
	case step == string(pool.StepBanner):
		return "the port is open but no SSH server speaks there in time: look at the profile's port, the host's load and sshd's MaxStartups"
	case step == string(pool.StepKeyExchange):
		return "the host broke off, or has no algorithm in common with this program: look at its log, and at KexAlgorithms and HostKeyAlgorithms"
	case step == stepSFTP, step == stepPooledSFTP:
		return "set Subsystem sftp internal-sftp in the host's sshd_config"
	case isPool && e.RetryAfter > 0:
		return "wait until the server tries the host again"
	}
	return "look at sshd's log on the host"
}

// exhaustion finds what there is too little of.
func (d *diagnosis) exhaustion() []Finding {
	var list []Finding
	add := func(step, message, remedy string) {
		list = append(list, Finding{FindingExhaustion, step, d.opts.Profile, message, remedy})
	}
	if d.room >= 0 && d.room < sessionRoom {
		add(stepChannel, fmt.Sprintf("the host grants %d sessions on a connection, fewer than the %d that the pool would use", d.room, sessionRoom),
			"raise MaxSessions in the host's sshd_config; until then calls wait or take further connections")
	}
	if d.drops > 0 && d.logins > 0 {
		add(string(pool.StepBanner), fmt.Sprintf("the host closed %d of %d connections before the login", d.drops, d.drops+d.logins),
			"raise MaxStartups (and PerSourceMaxStartups) in the host's sshd_config, and look at who else logs in there, and at fail2ban")
	}
	s := d.c.s
	now := s.pool.Condition(d.target)
	if now.Breaker.Open() {
		add(stepPooled, fmt.Sprintf("the server does not try %s now, since the last %d attempts failed (%v)", now.Breaker.Addr, now.Breaker.Failures, now.Breaker.Cause),
			"it tries again by itself at "+now.Breaker.RetryAt.Format("15:04:05")+"; mend the cause")
	}
	if now.Waiting > 0 {
		add(stepPooled, fmt.Sprintf("%d callers wait for a connection to the host; %d are open, with %d channels in use", now.Waiting, now.Open, now.Leased),
			"raise connection_pooling.max_ssh_connections or max_sftp_sessions, or call less at once")
	}
	if d.queued > slowQueue && now.Waiting == 0 {
		add(stepPooled, fmt.Sprintf("a call waited %s for a connection to the host", milliseconds(d.queued.Seconds())),
			"raise connection_pooling.max_ssh_connections or max_sftp_sessions, or call less at once")
	}
	if running, waiting := s.limits.Stats(); waiting > 0 || d.c.metadata.Timing.Queue > slowQueue.Seconds() {
		add("", fmt.Sprintf("%d calls run and %d wait for a slot; this one waited %s", running, waiting, milliseconds(d.c.metadata.Timing.Queue)),
			"raise resource_limits.max_concurrent_operations, max_per_profile or the profile's max_concurrent_sessions, or call less at once")
	}
	return list
}

// alone says whether no other call runs in this process, so that what has grown has grown by the diagnosis.
func (d *diagnosis) alone() bool {
	running, waiting := d.c.s.limits.Stats()
	return running <= 1 && waiting == 0
}

// findings says what a diagnosis of n connections has left behind.
func (g growth) findings(n int, alone bool) []Finding {
	var list []Finding
	for _, part := range []struct {
		what  string
		grown int
	}{{"goroutines", g.goroutines}, {"file descriptors", g.descriptors}} {
		if least := max(n, 3); alone && part.grown >= least {
			list = append(list, Finding{FindingLeak, "", "", fmt.Sprintf("%d connections have left %d %s behind", n, part.grown, part.what),
				"restart the server when memory or descriptors run short, and report this as a bug with the goroutines that pprof shows"})
		}
	}
	return list
}
