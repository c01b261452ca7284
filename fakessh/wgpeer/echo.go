package wgpeer

import (
	"io"
	"net"
	"sync"
)

// echo sends back what it gets.
type echo struct {
	tcp net.Listener
	udp net.PacketConn

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	wg     sync.WaitGroup
}

func startEcho(n *network) (*echo, error) {
	tcp, err := n.listenTCP(echoPort)
	if err != nil {
		return nil, err
	}
	udp, err := n.listenUDP(echoPort)
	if err != nil {
		tcp.Close()
		return nil, err
	}
	e := &echo{tcp: tcp, udp: udp, conns: map[net.Conn]struct{}{}}
	e.wg.Go(e.streams)
	e.wg.Go(e.packets)
	return e, nil
}

func (e *echo) streams() {
	for {
		c, err := e.tcp.Accept()
		if err != nil {
			return
		}
		e.mu.Lock()
		if e.closed {
			c.Close()
		} else {
			e.conns[c] = struct{}{}
			e.wg.Go(func() { e.stream(c) })
		}
		e.mu.Unlock()
	}
}

func (e *echo) stream(c net.Conn) {
	_, _ = io.Copy(c, c) // however it ends, it is over
	c.Close()
	e.mu.Lock()
	delete(e.conns, c)
	e.mu.Unlock()
}

func (e *echo) packets() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := e.udp.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = e.udp.WriteTo(b[:n], from) // lost like any other packet
	}
}

func (e *echo) close() {
	e.tcp.Close()
	e.udp.Close()
	e.mu.Lock()
	e.closed = true
	for c := range e.conns {
		c.Close()
	}
	e.mu.Unlock()
	e.wg.Wait()
}
