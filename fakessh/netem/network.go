package netem

import (
	"net"
	"sync"
	"time"
)

// Network shapes connections alike. The zero value leaves them alone until [Network.Set]; it is safe for concurrent use. Nothing needs closing
// but the connections. The fields are for those who make one, before its first use.
type Network struct {
	Epoch time.Time // what stalls count from; the zero value means the first Set or Conn
	Timer *Timer    // which the network does not close; nil means Go's timers

	mu    sync.Mutex
	seed  uint64
	shape Shape
	next  uint64 // number of connections so far
	conns map[*Conn]struct{}
}

// Set replaces the shape of all connections, those that are open included. What is on its way arrives as it was due. The seed is for
// connections to come: the same seed and order of connections and bytes give the same.
func (n *Network) Set(seed uint64, s Shape) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begin()
	n.seed, n.shape = seed, s
	for c := range n.conns {
		c.reshape(s, n.Epoch)
	}
}

func (n *Network) begin() {
	if n.Epoch.IsZero() {
		n.Epoch = time.Now()
	}
}

// Conn wraps a connection. Closing the wrapper closes what it wraps.
func (n *Network) Conn(c net.Conn) *Conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begin()
	wrapped := newConn(n, c, n.seed, 4*n.next)
	n.next++
	if n.conns == nil {
		n.conns = map[*Conn]struct{}{}
	}
	n.conns[wrapped] = struct{}{}
	if wrapped.reshape(n.shape, n.Epoch); n.shape != (Shape{}) {
		wrapped.startIn() // so that what comes before the first Read has its time too
	}
	return wrapped
}

func (n *Network) forget(c *Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// Listen wraps the connections that l accepts.
func (n *Network) Listen(l net.Listener) net.Listener { return listener{l, n} }

type listener struct {
	net.Listener
	network *Network
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.network.Conn(c), nil
}
