package loadgen

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// tcpTimeout bounds a TCP step, so that a connection that swallows what it is sent is an error and no standstill.
const tcpTimeout = 10 * time.Second

// tcpBuffer is how many bytes are written, and compared, at a time.
const tcpBuffer = 32 << 10

// tcpExchange is the action of a TCP step.
type tcpExchange struct {
	address text
	bytes   int64
	seed    uint64
	name    string
}

func (c *planCompiler) tcp(path string, s *Step, sc scope) *tcpExchange {
	t := &tcpExchange{bytes: s.TCP.Bytes, seed: c.plan.Seed, name: s.Name}
	if s.TCP.Address == "" {
		c.add(path+".tcp.address", "names no address", "write host:port, such as 127.0.0.1:${port}")
	}
	if s.TCP.Bytes < 1 {
		c.add(path+".tcp.bytes", fmt.Sprintf("%d bytes carry nothing", s.TCP.Bytes), "use 1 or more")
	}
	var err error
	if t.address, err = parseText(s.TCP.Address, sc); err != nil {
		c.text(path+".tcp.address", err.(*textError))
	}
	return t
}

// tcpRequest is one exchange.
type tcpRequest struct {
	address string
	key     [32]byte // of its bytes
}

func (t *tcpExchange) String() string            { return "tcp" }
func (t *tcpExchange) uses(variable string) bool { return t.address.uses(variable) }

func (t *tcpExchange) render(v *vars) any {
	return &tcpRequest{t.address.render(v), seedKey(t.seed, t.name, v.iteration)}
}

// errTCPTimeout ends an exchange that takes too long.
var errTCPTimeout = fmt.Errorf("the exchange took longer than %v", tcpTimeout)

// errOtherBytes is about bytes that are not those sent.
var errOtherBytes = errors.New("other bytes came back than were sent")

// perform sends and receives at the same time, since the other side need not hold more than it likes.
func (t *tcpExchange) perform(ctx context.Context, _ Session, rendered any) answer {
	req := rendered.(*tcpRequest)
	ctx, cancel := context.WithTimeoutCause(ctx, tcpTimeout, errTCPTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", req.address)
	if err != nil {
		return tcpFailure(ctx, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(onlyWriter{conn}, t.payload(req), make([]byte, tcpBuffer))
		sent <- err
	}()
	back, err := t.receive(conn, req)
	if err != nil {
		_ = conn.SetDeadline(time.Unix(1, 0)) // or the sender might wait for a reader
	}
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if err != nil {
		return tcpFailure(ctx, fmt.Errorf("%s, after %d of %d bytes came back: %w", req.address, back, t.bytes, err))
	}
	return answer{bytes: t.bytes + back, replied: true}
}

// onlyWriter hides ReadFrom, which would read the payload in other sizes than the buffer's.
type onlyWriter struct{ io.Writer }

func (t *tcpExchange) payload(req *tcpRequest) io.Reader {
	return io.LimitReader(rand.NewChaCha8(req.key), t.bytes)
}

// receive reads the payload back and returns how much of it came.
func (t *tcpExchange) receive(conn net.Conn, req *tcpRequest) (n int64, err error) {
	want := t.payload(req)
	got, expected := make([]byte, tcpBuffer), make([]byte, tcpBuffer)
	for n < t.bytes {
		read, err := conn.Read(got[:min(tcpBuffer, t.bytes-n)])
		if _, werr := io.ReadFull(want, expected[:read]); werr != nil || !bytes.Equal(got[:read], expected[:read]) {
			return n, errOtherBytes
		}
		if n += int64(read); err != nil && n < t.bytes {
			return n, err
		}
	}
	return n, nil
}

func tcpFailure(ctx context.Context, err error) answer {
	a := answer{outcome: CodeTCPFailed, message: err.Error(), replied: ctx.Err() == nil}
	switch {
	case ctx.Err() != nil:
		a.outcome, a.message = CodeTimeout, fmt.Sprintf("%v: %v", context.Cause(ctx), err)
	case errors.Is(err, errOtherBytes):
		a.outcome = CodeCheckFailed
	}
	return a
}
