package policy

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// DefaultTunnels is the number of tunnels that a profile admits at once when its
// rules do not set one.
const DefaultTunnels = 256

// address is one pattern of tunnel_targets: a host and a range of ports.
type address struct {
	name   string       // "*", "*.example.com" or a name, in lower case; "" for prefix
	prefix netip.Prefix // one IP address or a network
	low    int
	high   int
}

// parseAddress reads "host:port". The host is a name, "*.domain" for the names
// below a domain, an IP address, a network such as 10.0.0.0/8, or "*"; IPv6 stands
// in brackets. The port is a number, "8000-8100", or "*".
func parseAddress(text string) (address, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return address{}, fmt.Errorf("%q is not host:port", text)
	}
	a := address{low: 1, high: 65535}
	if port != "*" {
		if a.low, a.high, err = portRange(port); err != nil {
			return address{}, err
		}
	}
	switch prefix, prefixErr := parsePrefix(host); {
	case prefixErr == nil:
		a.prefix = prefix
	case namePattern.MatchString(host) && strings.Trim(host, "0123456789.") != "":
		a.name = strings.ToLower(strings.TrimSuffix(host, "."))
	default:
		return address{}, fmt.Errorf("%q is neither a host name nor an IP address or network", host)
	}
	return a, nil
}

// namePattern is "*", or a name whose first label may be "*".
var namePattern = regexp.MustCompile(`^(\*|(\*\.)?[A-Za-z0-9_][A-Za-z0-9._-]{0,252})$`)

func portRange(text string) (low, high int, err error) {
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	low, lowErr := strconv.Atoi(first)
	high, highErr := strconv.Atoi(last)
	if lowErr != nil || highErr != nil || low < 1 || high > 65535 || low > high {
		return 0, 0, fmt.Errorf("%q is neither a port, a range of ports nor *", text)
	}
	return low, high, nil
}

// parsePrefix reads a network, or an IP address as the network of it alone.
func parsePrefix(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil {
		ip = ip.WithZone("").Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	return prefix.Masked(), err
}

// matches says whether the pattern covers host and port. Names are compared as
// written, never resolved: only the far end knows what they mean there.
func (a address) matches(host string, port int) bool {
	if port < a.low || port > a.high {
		return false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case a.name == "*" || a.name == host && host != "":
		return true
	case strings.HasPrefix(a.name, "*."):
		return strings.HasSuffix(host, a.name[1:]) && len(host) > len(a.name)-1
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && a.name == "" && a.prefix.Contains(ip.WithZone("").Unmap())
}

func (c *compiler) addresses(field string, given []string) []address {
	list := make([]address, 0, len(given))
	for i, text := range given {
		a, err := parseAddress(text)
		if err != nil {
			c.fail(fmt.Sprintf("%s[%d]", field, i), err.Error(),
				`write "db.internal:5432", "*.internal:443", "10.0.0.0/8:8000-8100", "[fd00::/8]:*" or "*:22", for example`)
			continue
		}
		list = append(list, a)
	}
	return list
}

func (c *compiler) listenHosts(field string, given []string) []string {
	hosts := make([]string, 0, len(given))
	for i, host := range given {
		if _, err := netip.ParseAddr(host); err != nil && (!namePattern.MatchString(host) || strings.Contains(host, "*")) {
			c.fail(fmt.Sprintf("%s[%d]", field, i), fmt.Sprintf("%q is neither an IP address nor a host name", host),
				`write the address to listen on, such as "10.0.0.5"; "0.0.0.0" and "::" are all of the machine's`)
			continue
		}
		hosts = append(hosts, host)
	}
	return hosts
}

// decideTunnel judges where a tunnel listens and leads, as far as the call says.
func (p *Policy) decideTunnel(c Call) Decision {
	if c.Listen != "" && !isLoopback(c.Listen) && !p.mayListen(c.Listen) {
		return refuse("tunnel_listen_hosts", "tunnels of this profile listen on loopback addresses only, not on %s", c.Listen)
	}
	if c.Target != "" && len(p.targets) > 0 && !p.mayReach(c.Target) {
		return refuse("tunnel_targets", "no pattern admits tunnels to %s", c.Target)
	}
	return Decision{Allowed: true}
}

func (p *Policy) mayReach(target string) bool {
	host, portText, err := net.SplitHostPort(target)
	if err != nil {
		return false
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return false
	}
	for _, a := range p.targets {
		if a.matches(host, port) {
			return true
		}
	}
	return false
}

func (p *Policy) mayListen(host string) bool {
	ip, ipErr := netip.ParseAddr(host)
	for _, allowed := range p.listenHosts {
		if strings.EqualFold(allowed, host) {
			return true
		}
		if other, err := netip.ParseAddr(allowed); err == nil && ipErr == nil && other == ip {
			return true
		}
	}
	return false
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// TunnelLimit is the number of tunnels that may be open at once; at least 1.
func (p *Policy) TunnelLimit() int { return p.tunnels }
