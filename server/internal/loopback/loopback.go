// Package loopback keeps a listener to this machine's own processes: callers are not authenticated yet, so nobody else may connect, and no
// web page may speak through its reader's browser.
package loopback

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Check refuses a listen address that others than this machine's processes could connect to.
func Check(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("listen address %q: %w; write it as 127.0.0.1:8722", addr, err)
	}
	if !Name(host) {
		return fmt.Errorf("listen address %q is not loopback: callers are not authenticated yet, so only 127.0.0.1, [::1] and localhost are served", addr)
	}
	return nil
}

// Name reports whether host, without a port, is this machine by a name that no resolver can change: localhost or a loopback address.
func Name(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}

// Foreign says why a request may not be served, empty when it may: a browser names the page's host in Origin, and the name it was rebound
// to in Host. The answer to such a request is 403.
func Foreign(r *http.Request) string { return ForeignTo(r, nil, nil) }

// ForeignTo is Foreign where requests may also be for other hosts, by name without a port, and from pages of other origins, such as
// https://app.example.com.
func ForeignTo(r *http.Request, hosts, origins []string) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	is := func(want string) func(string) bool {
		return func(given string) bool { return strings.EqualFold(given, want) }
	}
	if !Name(host) && !slices.ContainsFunc(hosts, is(strings.Trim(host, "[]"))) {
		return "Host is not a name that is served here"
	}
	for _, origin := range r.Header.Values("Origin") {
		if origin == "" {
			continue
		}
		u, err := url.Parse(origin)
		if (err != nil || !Name(u.Hostname())) && !slices.ContainsFunc(origins, is(origin)) {
			return "Origin is not one that is served here"
		}
	}
	return ""
}
