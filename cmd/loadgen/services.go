package main

import (
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// services are what plans ask of a target beside its hosts.
type services struct {
	echo bool // something that sends back what it gets
	vpn  bool // a WireGuard peer with a host behind it
}

func servicesOf(plans []*loadgen.Plan) services {
	uses := func(names ...string) bool {
		return slices.ContainsFunc(plans, func(p *loadgen.Plan) bool { return slices.ContainsFunc(names, p.Uses) })
	}
	return services{echo: uses("echo_host", "echo_port"), vpn: uses("vpn_peer", "inside_profile")}
}

// endpoint is a host and port as the target's hosts know it.
type endpoint struct {
	host string
	port int
}

// parseEndpoint reads the value of --echo.
func parseEndpoint(s string) (endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	if err != nil || perr != nil || host == "" || n == 0 {
		return endpoint{}, usage("--echo %q is not HOST:PORT: write one such as 127.0.0.1:7", s)
	}
	return endpoint{host, int(n)}, nil
}

// openEcho takes the echo service at addr, or opens one on this machine, which serves hosts that are this machine.
func (t *target) openEcho(addr string) (err error) {
	if addr != "" {
		t.echo, err = parseEndpoint(addr)
		return err
	}
	e, err := startEcho()
	if err != nil {
		return harness("cannot open an echo service: %w", err)
	}
	at := e.listener.Addr().(*net.TCPAddr)
	t.echo = endpoint{at.IP.String(), at.Port}
	rest := t.close
	t.close = func() error { return errors.Join(e.close(), rest()) }
	return nil
}

// echoService sends back what it gets.
type echoService struct {
	listener net.Listener
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]struct{} // nil once closed
}

func startEcho() (*echoService, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &echoService{listener: l, conns: map[net.Conn]struct{}{}}
	e.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			e.wg.Go(func() { e.serve(c) })
		}
	})
	return e, nil
}

func (e *echoService) serve(c net.Conn) {
	defer c.Close()
	if !e.keep(c) {
		return
	}
	_, _ = io.Copy(c, c) // whoever sent it sees what is missing
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.conns, c)
}

func (e *echoService) keep(c net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.conns == nil {
		return false
	}
	e.conns[c] = struct{}{}
	return true
}

// close cuts every connection and waits until all is gone.
func (e *echoService) close() error {
	err := e.listener.Close()
	e.mu.Lock()
	for c := range e.conns {
		c.Close()
	}
	e.conns = nil
	e.mu.Unlock()
	e.wg.Wait()
	return err
}

// vpnRoute is a WireGuard peer of one profile and a profile that is reached through it.
type vpnRoute struct{ profile, peer, inside string }

// vpn finds the first route among the chosen profiles; ok is false when there is none.
func (t *target) vpn() (r vpnRoute, ok bool) {
	for _, p := range t.hosts {
		if !slices.Contains(t.profiles, p.ID) {
			continue
		}
		for _, peer := range p.VPN.Peers {
			for _, behind := range t.hosts {
				if behind.ViaVPN == p.ID+"/"+peer.ID || behind.ID == p.ID && behind.ViaVPN == peer.ID {
					return vpnRoute{p.ID, peer.ID, behind.ID}, true
				}
			}
		}
	}
	return r, false
}

// fit gives the options of a plan's run on this target.
func (t *target) fit(p *loadgen.Plan, opts loadgen.Options) loadgen.Options {
	opts.Profiles, opts.Vars = t.profiles, map[string]any{}
	if t.echo != (endpoint{}) {
		opts.Vars["echo_host"], opts.Vars["echo_port"] = t.echo.host, t.echo.port
	}
	if route, ok := t.vpn(); ok && servicesOf([]*loadgen.Plan{p}).vpn {
		opts.Profiles = []string{route.profile}
		opts.Vars["vpn_peer"], opts.Vars["inside_profile"] = route.peer, route.inside
	}
	return opts
}

// noVPN is what a target lacks for a plan that toggles a VPN.
const noVPN = "no profile of the target has a WireGuard peer (vpn.peers) that another is reached through (via_vpn)"

// leaveOut takes away the plans that the target cannot serve, as rows without data. Plans that were asked for by name are an error.
func (t *target) leaveOut(plans []*loadgen.Plan, named bool) (kept []*loadgen.Plan, out []result.Planned, err error) {
	if _, ok := t.vpn(); ok {
		return plans, nil, nil
	}
	var names []string
	for _, p := range plans {
		if !servicesOf([]*loadgen.Plan{p}).vpn {
			kept = append(kept, p)
			continue
		}
		names = append(names, p.Name)
		if p.Target != nil {
			out = append(out, result.Planned{Scenario: p.Name, Target: *p.Target, Why: noVPN})
		}
	}
	if named && len(names) > 0 {
		return nil, nil, usage("scenario %s toggles a VPN, and %s: write both profiles, or leave the scenario out", strings.Join(names, ", "), noVPN)
	}
	return kept, out, nil
}
