package netem

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// link is a plain near end and a far end that a network shapes, in virtual time.
type link struct {
	*testing.T
	network *Network
	near    net.Conn
	far     *Conn
	began   time.Time
}

func linked(t *testing.T, s Shape, f func(l link)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		n.Set(1, s)
		near, far := Pipe()
		l := link{t, n, near, n.Conn(far), time.Now()}
		f(l)
		near.Close()
		l.far.Close()
	})
}

// at wants it to be so long after the beginning.
func (l link) at(want time.Duration, what string) {
	l.Helper()
	if got := time.Since(l.began); (got - want).Abs() > time.Microsecond {
		l.Errorf("%s after %v, want %v", what, got, want)
	}
}

func (l link) write(c net.Conn, text string) {
	l.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		l.Fatalf("write: %d, %v", n, err)
	}
}

func (l link) read(c net.Conn, want string) {
	l.Helper()
	p := make([]byte, len(want))
	if n, err := io.ReadFull(c, p); err != nil || string(p) != want {
		l.Fatalf("read %q, %v; want %q", p[:n], err, want)
	}
}

func TestConnWithoutShape(t *testing.T) {
	linked(t, Shape{}, func(l link) {
		l.write(l.near, "ping")
		l.read(l.far, "ping")
		l.write(l.far, "pong")
		l.read(l.near, "pong")
		l.at(0, "done")
	})
}

func TestConnDelay(t *testing.T) {
	linked(t, Shape{Delay: Fixed(30 * ms)}, func(l link) {
		l.write(l.near, "one")
		time.Sleep(10 * ms)
		l.write(l.near, "two") // does not wait for the first
		l.read(l.far, "one")
		l.at(30*ms, "one arrives")
		l.read(l.far, "two")
		l.at(40*ms, "two arrives")
		l.write(l.far, "back")
		l.at(40*ms, "write returns")
		l.read(l.near, "back")
		l.at(70*ms, "the answer arrives")
	})
}

func TestConnStall(t *testing.T) {
	linked(t, Shape{Stall: Stall{Every: 10 * time.Second, For: time.Second, At: 2 * time.Second}}, func(l link) {
		for _, test := range []struct{ sent, arrives time.Duration }{
			{0, 0}, {1999 * ms, 1999 * ms}, {2 * time.Second, 3 * time.Second}, {2900 * ms, 3 * time.Second},
			{11 * time.Second, 11 * time.Second}, {12500 * ms, 13 * time.Second}, {602 * time.Second, 603 * time.Second},
		} {
			time.Sleep(test.sent - time.Since(l.began))
			l.write(l.far, "x")
			l.read(l.near, "x")
			l.at(test.arrives, "it arrives")
		}
	})
}

func TestConnBandwidth(t *testing.T) {
	linked(t, Shape{Bandwidth: 100_000}, func(l link) {
		go l.far.Write(make([]byte, 300_000))
		n, err := io.CopyN(io.Discard, l.near, 300_000)
		if err != nil {
			t.Fatal(n, err)
		}
		l.at(3*time.Second, "300 kB have arrived")
	})
}

func TestConnCutAfterBytes(t *testing.T) {
	linked(t, Shape{Cut: Cut{AfterBytes: 1000}}, func(l link) {
		l.write(l.near, string(make([]byte, 300)))
		l.read(l.far, string(make([]byte, 300)))
		l.write(l.far, string(make([]byte, 2000)))
		got, err := io.ReadAll(l.near)
		if len(got) != 700 || err != nil {
			t.Errorf("%d bytes pass, %v; want 700", len(got), err)
		}
		if _, err := l.far.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the other end: %v", err)
		}
	})
}

func TestConnCutAfterTime(t *testing.T) {
	linked(t, Shape{Cut: Cut{After: Fixed(5 * time.Second)}}, func(l link) {
		if _, err := l.near.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("read: %v", err)
		}
		l.at(5*time.Second, "the cut comes")
	})
}

func TestConnSilence(t *testing.T) {
	linked(t, Shape{Cut: Cut{AfterBytes: 4, Silent: true}}, func(l link) {
		l.write(l.near, "abcd")
		l.read(l.far, "abcd")
		l.write(l.near, "lost")
		l.write(l.far, "lost")
		for _, c := range []net.Conn{l.near, l.far} {
			c.SetReadDeadline(time.Now().Add(time.Hour))
			if n, err := c.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("read %d bytes, %v", n, err)
			}
		}
		l.near.Close()
		l.far.SetReadDeadline(time.Now().Add(time.Hour))
		if n, err := l.far.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d bytes, %v after the other end has closed", n, err)
		}
		before := time.Now()
		l.far.Close()
		if d := time.Since(before); d > 0 {
			t.Errorf("close takes %v", d)
		}
	})
}

func TestConnShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Network{}
		n.Set(3, Shape{Cut: Cut{Share: 0.2, After: Fixed(time.Second)}})
		cut := 0
		for range 200 {
			near, far := Pipe()
			c := n.Conn(far)
			near.SetReadDeadline(time.Now().Add(time.Minute))
			if _, err := near.Read(make([]byte, 1)); err == io.EOF {
				cut++
			}
			c.Close()
			near.Close()
		}
		if cut < 25 || cut > 55 {
			t.Errorf("%d of 200 connections are cut, want about 40", cut)
		}
	})
}

// TestConnSwitch changes the shape under a connection that waits in Read.
func TestConnSwitch(t *testing.T) {
	linked(t, Shape{}, func(l link) {
		got := make(chan string)
		go func() {
			p := make([]byte, 10)
			n, _ := l.far.Read(p)
			got <- string(p[:n])
		}()
		synctest.Wait()
		l.network.Set(1, Shape{Delay: Fixed(50 * ms)})
		l.write(l.near, "late")
		if text := <-got; text != "late" {
			t.Errorf("read %q", text)
		}
		l.at(50*ms, "it arrives")
		l.write(l.near, "on its way")
		synctest.Wait()
		l.network.Set(1, Shape{})
		l.read(l.far, "on its way")
		l.at(100*ms, "what was on its way arrives")
		l.write(l.near, "now")
		l.read(l.far, "now")
		l.at(100*ms, "it arrives at once")
	})
}

func TestConnCloseSendsWhatIsOnItsWay(t *testing.T) {
	linked(t, Shape{Delay: Fixed(time.Second)}, func(l link) {
		l.write(l.far, "farewell")
		go l.far.Close()
		got, err := io.ReadAll(l.near)
		if string(got) != "farewell" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		l.at(time.Second, "the end comes")
	})
	linked(t, Shape{Delay: Fixed(time.Hour)}, func(l link) {
		l.write(l.far, "never")
		l.far.Close()
		l.at(linger, "close returns")
	})
}

func TestConnDeadlines(t *testing.T) {
	linked(t, Shape{Delay: Fixed(time.Second)}, func(l link) {
		l.write(l.near, "x")
		l.far.SetDeadline(time.Now().Add(100 * ms))
		if _, err := l.far.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		l.at(100*ms, "the deadline passes")
		if _, err := l.far.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		l.far.SetDeadline(time.Time{})
		l.read(l.far, "x")
		l.at(time.Second, "it arrives")
	})
}

func TestPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe()
		big := bytes.Repeat([]byte("0123456789"), 1<<20) // more than fits
		go func() {
			a.Write(big)
			a.Close()
		}()
		got, err := io.ReadAll(b)
		if !bytes.Equal(got, big) || err != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if _, err := b.Write([]byte("x")); err != io.ErrClosedPipe {
			t.Errorf("write to a closed end: %v", err)
		}
		b.Close()
	})
}

func TestMemory(t *testing.T) {
	m := Listen()
	n := &Network{}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := n.Listen(m).Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	c, err := m.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	far := <-accepted
	if _, ok := far.(*Conn); !ok {
		t.Errorf("it accepts a %T", far)
	}
	far.Close()
	c.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := m.Dial(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v", err)
	}
	m.Close()
	if _, err := m.Dial(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if _, err := m.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
