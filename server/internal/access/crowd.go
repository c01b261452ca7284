package access

import (
	queue "container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// Crowd bounds the connections that wait: those over which no request has come that was let in. They cost little, so that many are held: whoever is
// turned away comes back, which costs more. Of too many, the one goes that has waited longest, so that whoever comes is heard.
type Crowd struct {
	Most int // of all; 0 is DefaultCrowd. At most three quarters of the files that the process may have open
	Each int // of one address, or of one IPv6 network of 64 bits; 0 is DefaultEach
}

// The bounds of a Crowd that says none.
const (
	DefaultCrowd = 16384
	DefaultEach  = 12288
)

// How long a connection may wait until its first request is there. It is a matter of chance, so that many that came together do not go, and come again,
// together.
const (
	waitLeast = 10 * time.Second
	waitMost  = 30 * time.Second
)

// Listener accepts connections, but hands one on only once its first byte is there: until then it costs a small goroutine and no more. Connections
// that wait are bounded, see Crowd; Harden tells it which still do.
type Listener struct {
	net.Listener
	secured *tls.Config // nil is no TLS
	crowd   *crowd
	ready   chan *visitor
	failed  chan error
	closed  chan struct{}
	close   sync.Once
	running sync.WaitGroup
}

// gather starts to accept from l.
func gather(l net.Listener, secured *tls.Config, bounds Crowd) *Listener {
	g := &Listener{Listener: l, secured: secured, crowd: newCrowd(bounds), ready: make(chan *visitor), failed: make(chan error), closed: make(chan struct{})}
	g.running.Go(g.receive)
	return g
}

// Accept waits for a connection that has something to say. Its errors are those of the listener beneath.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case v := <-l.ready:
		if l.secured != nil {
			return tls.Server(v, l.secured), nil
		}
		return v, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close stops listening and closes the connections that have said nothing. It waits until nothing is left of them.
func (l *Listener) Close() error {
	err := net.ErrClosed
	l.close.Do(func() {
		close(l.closed)
		err = l.Listener.Close()
		for _, v := range l.crowd.mute() {
			_ = v.Close()
		}
	})
	l.running.Wait()
	return err
}

// receive accepts connections until the listener is closed.
func (l *Listener) receive() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			v := l.crowd.visitor(c)
			l.crowd.enter(v)
			l.running.Go(func() { l.hear(v) })
			continue
		}
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			l.crowd.thin()
		}
		select {
		case l.failed <- err: // a server waits a moment before it accepts again
		case <-l.closed:
			return
		}
	}
}

// hear waits for the first byte of a connection and hands it on.
func (l *Listener) hear(v *visitor) {
	first := make([]byte, 1)
	if n, err := v.Conn.Read(first); n == 0 || err != nil || !l.crowd.speaks(v, first) {
		l.crowd.leave(v)
		_ = v.Close()
		return
	}
	select {
	case l.ready <- v:
	case <-l.closed:
		l.crowd.leave(v)
		_ = v.Close()
	}
}

// visitorKey is that of a request's context for the connection that it came over.
type visitorKey struct{}

// Harden bounds what clients may cost an HTTP server that serves on l before they have said anything of use: headers by size and time, and connections
// over which nobody has been let in by number. It must be called before Serve.
func (l *Listener) Harden(srv *http.Server) {
	srv.ReadHeaderTimeout, srv.IdleTimeout, srv.MaxHeaderBytes = waitMost, 2*time.Minute, 64<<10
	before := srv.ConnState
	srv.ConnState = func(c net.Conn, state http.ConnState) {
		l.note(visitorOf(c), state)
		if before != nil {
			before(c, state)
		}
	}
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, visitorKey{}, visitorOf(c))
	}
}

func visitorOf(c net.Conn) *visitor {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	v, _ := c.(*visitor)
	return v
}

// note follows a connection that the server has.
func (l *Listener) note(v *visitor, state http.ConnState) {
	switch {
	case v == nil || state == http.StateNew:
	case state == http.StateIdle:
		l.crowd.enterAgain(v)
	default:
		l.crowd.leave(v)
	}
}

// letIn says that a request was let in: its connection waits no more, whatever it does.
func letIn(r *http.Request) {
	if v, _ := r.Context().Value(visitorKey{}).(*visitor); v != nil {
		v.crowd.know(v)
	}
}

// visitor is an accepted connection.
type visitor struct {
	net.Conn
	crowd *crowd
	from  netip.Prefix
	first []byte // was read before the connection was handed on

	// What the crowd knows of it, under its mutex.
	known     bool // a request was let in
	spoken    bool // the first byte is there
	all, same *queue.Element
	cut       *time.Timer // ends its wait; nil where the server does
}

// Read gives the first byte, then what follows. Like that of any connection it must not be called twice at once.
func (v *visitor) Read(p []byte) (int, error) {
	if len(v.first) > 0 && len(p) > 0 {
		n := copy(p, v.first)
		v.first = v.first[n:]
		return n, nil
	}
	return v.Conn.Read(p)
}

// ReadFrom lets the system copy where it can.
func (v *visitor) ReadFrom(r io.Reader) (int64, error) { return io.Copy(v.Conn, r) }

// CloseWrite ends what is sent, as an HTTP server does before it closes.
func (v *visitor) CloseWrite() error {
	if half, ok := v.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// dismiss closes a connection that has waited for too long, without anything to remain of it in the system.
func (v *visitor) dismiss() {
	if tcp, ok := v.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = v.Close()
}

// crowd are the connections that wait.
type crowd struct {
	most, each int

	mu     sync.Mutex
	shut   bool                         // nobody new may wait
	all    queue.List                   // of *visitor, who has waited longest first
	byFrom map[netip.Prefix]*queue.List // likewise; none is empty
}

func newCrowd(bounds Crowd) *crowd {
	c := &crowd{most: bounds.Most, each: bounds.Each, byFrom: map[netip.Prefix]*queue.List{}}
	if c.most == 0 {
		c.most = DefaultCrowd
	}
	if c.each == 0 {
		c.each = DefaultEach
	}
	if files := openFiles(); files > 0 {
		c.most = max(1, min(c.most, files/4*3))
	}
	return c
}

func (c *crowd) visitor(conn net.Conn) *visitor {
	return &visitor{Conn: conn, crowd: c, from: network(conn.RemoteAddr())}
}

// network is whom connections from an address are counted to.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits) // fails for no address only, which all have together
	return p
}

// enter lets a new connection wait, for a bounded time, and dismisses the one for which there is no room.
func (c *crowd) enter(v *visitor) {
	c.mu.Lock()
	gone := v
	if !c.shut {
		gone = c.add(v)
		v.cut = time.AfterFunc(waitLeast+rand.N(waitMost-waitLeast), func() { c.end(v) })
	}
	c.mu.Unlock()
	if gone != nil {
		gone.dismiss()
	}
}

// enterAgain lets a connection wait that an HTTP server has answered without letting anybody in. The server bounds how long.
func (c *crowd) enterAgain(v *visitor) {
	c.mu.Lock()
	var gone *visitor
	if !v.known && v.all == nil {
		gone = c.add(v)
	}
	c.mu.Unlock()
	if gone != nil {
		gone.dismiss()
	}
}

// add puts a connection behind those that wait and takes out the one for which there is no room; nil where there is.
func (c *crowd) add(v *visitor) (gone *visitor) {
	same := c.byFrom[v.from]
	if same == nil {
		same = queue.New()
		c.byFrom[v.from] = same
	}
	v.all, v.same = c.all.PushBack(v), same.PushBack(v)
	if gone = c.surplus(same); gone != nil {
		c.remove(gone)
	}
	return gone
}

// surplus is the connection for which there is no room; nil where there is. Where all are too many, it is one of the address that the last came from,
// should that have more than its share.
func (c *crowd) surplus(same *queue.List) *visitor {
	switch {
	case same.Len() > c.each, c.all.Len() > c.most && same.Len()*len(c.byFrom) > c.all.Len():
		return same.Front().Value.(*visitor)
	case c.all.Len() > c.most:
		return c.all.Front().Value.(*visitor)
	}
	return nil
}

// remove takes a connection out of those that wait.
func (c *crowd) remove(v *visitor) (waited bool) {
	if v.cut != nil {
		v.cut.Stop()
		v.cut = nil
	}
	if v.all == nil {
		return false
	}
	c.all.Remove(v.all)
	same := c.byFrom[v.from]
	same.Remove(v.same)
	if same.Len() == 0 {
		delete(c.byFrom, v.from)
	}
	v.all, v.same = nil, nil
	return true
}

// speaks notes the first byte of a connection. It fails for one that has been dismissed.
func (c *crowd) speaks(v *visitor, first []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.first, v.spoken = first, true
	return v.all != nil
}

func (c *crowd) leave(v *visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(v)
}

func (c *crowd) know(v *visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v.known = true
	c.remove(v)
}

// end dismisses a connection that still waits.
func (c *crowd) end(v *visitor) {
	c.mu.Lock()
	waited := c.remove(v)
	c.mu.Unlock()
	if waited {
		v.dismiss()
	}
}

// thin dismisses the connection that has waited longest, where files have run out.
func (c *crowd) thin() {
	c.mu.Lock()
	first := c.all.Front()
	c.mu.Unlock()
	if first != nil {
		c.end(first.Value.(*visitor))
	}
}

// mute are the connections that have said nothing. No more may enter.
func (c *crowd) mute() (all []*visitor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = true
	for e := c.all.Front(); e != nil; e = e.Next() {
		if v := e.Value.(*visitor); !v.spoken {
			all = append(all, v)
		}
	}
	return all
}

// size is how many wait.
func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all.Len()
}
