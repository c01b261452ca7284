package remote

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/pool"
)

// Numbers of SOCKS5 (RFC 1928).
const (
	socksVersion  = 5
	socksNoAuth   = 0
	socksNoMethod = 0xff
	socksConnect  = 1
	socksIPv4     = 1
	socksName     = 3
	socksIPv6     = 4
)

// socksReply is the outcome of a request as SOCKS5 numbers it.
type socksReply byte

const (
	socksOK            socksReply = 0
	socksFailed        socksReply = 1
	socksForbidden     socksReply = 2
	socksUnreachable   socksReply = 4
	socksRefused       socksReply = 5
	socksTimedOut      socksReply = 6
	socksNoCommand     socksReply = 7
	socksNoAddressType socksReply = 8
)

// socksTimeout bounds how long a client may take to say where it wants to go.
const socksTimeout = 10 * time.Second

// socksError is a request that cannot be served, with the reply to give. Reply socksOK stands for none: the peer does not speak SOCKS5.
type socksError struct {
	reply socksReply
	msg   string
}

func (e *socksError) Error() string { return "socks: " + e.msg }

// socks serves the client's request and connects it. On failure it answers, closes the client and returns nil.
func (t *Tunnel) socks(near *net.TCPConn) duplex {
	_ = near.SetDeadline(time.Now().Add(socksTimeout))
	host, port, err := socksRequest(near)
	if err != nil {
		var bad *socksError
		if errors.As(err, &bad) && bad.reply != socksOK {
			writeReply(near, bad.reply)
		}
		near.Close()
		return nil
	}
	_ = near.SetDeadline(time.Time{})
	far, reply := t.socksConnect(host, port, near.RemoteAddr())
	if reply != socksOK {
		writeReply(near, reply)
		near.Close()
		return nil
	}
	writeReply(near, socksOK)
	return far
}

func (t *Tunnel) socksConnect(host string, port int, from net.Addr) (duplex, socksReply) {
	if t.allowed(host, port) != nil {
		return nil, socksForbidden
	}
	far, err := t.dial(host, port, from)
	if err != nil {
		return nil, replyFor(err)
	}
	return far, socksOK
}

// replyFor tells a client why its target was not reached.
func replyFor(err error) socksReply {
	var open *ssh.OpenChannelError
	var failed *pool.Error
	switch {
	case errors.As(err, &open) && open.Reason == ssh.Prohibited:
		return socksForbidden
	case errors.As(err, &open) && strings.Contains(strings.ToLower(open.Message), "refused"):
		return socksRefused
	case errors.As(err, &open):
		return socksUnreachable
	case errors.As(err, &failed) && failed.Kind == pool.KindRefused && errors.Is(err, context.DeadlineExceeded):
		return socksTimedOut
	}
	return socksFailed
}

// writeReply answers a request. The bound address is not known here, and clients do not use it after CONNECT.
func writeReply(w io.Writer, reply socksReply) {
	_, _ = w.Write([]byte{socksVersion, byte(reply), 0, socksIPv4, 0, 0, 0, 0, 0, 0})
}

// socksRequest reads a client's greeting, answers it, and reads its request. It reads not a byte further. The error is a *socksError,
// or of rw.
func socksRequest(rw io.ReadWriter) (host string, port int, err error) {
	if err := greet(rw); err != nil {
		return "", 0, err
	}
	var head [4]byte // version, command, reserved, address type
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return "", 0, err
	}
	if head[0] != socksVersion {
		return "", 0, &socksError{socksOK, fmt.Sprintf("version %d", head[0])}
	}
	if host, err = readHost(rw, head[3]); err != nil {
		return "", 0, err
	}
	var number [2]byte
	if _, err := io.ReadFull(rw, number[:]); err != nil {
		return "", 0, err
	}
	port = int(binary.BigEndian.Uint16(number[:]))
	switch {
	case head[1] != socksConnect:
		return "", 0, &socksError{socksNoCommand, fmt.Sprintf("command %d", head[1])}
	case port == 0 || !validSocksHost(host):
		return "", 0, &socksError{socksFailed, fmt.Sprintf("no such address: %q port %d", host, port)}
	}
	return host, port, nil
}

// greet agrees on doing without authentication: only this machine can reach the listener.
func greet(rw io.ReadWriter) error {
	var head [2]byte // version, number of methods
	if _, err := io.ReadFull(rw, head[:]); err != nil {
		return err
	}
	if head[0] != socksVersion {
		return &socksError{socksOK, fmt.Sprintf("version %d", head[0])}
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(rw, methods); err != nil {
		return err
	}
	method := byte(socksNoMethod)
	for _, m := range methods {
		if m == socksNoAuth {
			method = socksNoAuth
		}
	}
	if _, err := rw.Write([]byte{socksVersion, method}); err != nil {
		return err
	}
	if method == socksNoMethod {
		return &socksError{socksOK, "the client insists on authentication"}
	}
	return nil
}

func readHost(r io.Reader, kind byte) (string, error) {
	size := 0
	switch kind {
	case socksIPv4:
		size = 4
	case socksIPv6:
		size = 16
	case socksName:
		var n [1]byte
		if _, err := io.ReadFull(r, n[:]); err != nil {
			return "", err
		}
		size = int(n[0])
	default:
		return "", &socksError{socksNoAddressType, fmt.Sprintf("address type %d", kind)}
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(r, raw); err != nil {
		return "", err
	}
	if kind == socksName {
		return string(raw), nil
	}
	ip, _ := netip.AddrFromSlice(raw)
	return ip.String(), nil
}

// validSocksHost accepts what can be a name or an address; whether it exists is the host's to find out.
func validSocksHost(host string) bool {
	return host != "" && strings.IndexFunc(host, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '/' }) < 0
}
