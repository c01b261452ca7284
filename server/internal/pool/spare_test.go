package pool

import (
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

// spareOf returns the spare channel of p's only connection, and whether one is being opened, and how many channels the connection may carry.
func spareOf(p *Pool) (s *spare, preparing bool, limit int) {
	for _, g := range p.groups {
		g.mu.Lock()
		defer g.mu.Unlock()
		c := g.conns[0]
		return c.spare, c.preparing, c.limit
	}
	return nil, false, 0
}

// withSpare returns a pool whose only connection carries a spare channel and nothing else.
func withSpare(t *testing.T, h *memHost, cfg Config) *Pool {
	t.Helper()
	cfg.MaxConns = 1
	p := h.pool(t, cfg)
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	s.Another()
	waitUntil(t, func() bool { spare, _, _ := spareOf(p); return spare != nil })
	go ssh.DiscardRequests(s.Requests)
	s.Close()
	return p
}

func TestACommandTakesTheSpareChannel(t *testing.T) {
	h := newMemHost(t)
	p := withSpare(t, h, Config{})
	spare, _, _ := spareOf(p)
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Channel != spare.ch || s.Info.Channel != 0 || !s.Reused {
		t.Errorf("got another channel than the spare one: %+v", s.Info)
	}
	if left, _, _ := spareOf(p); left != nil {
		t.Error("the spare channel was given out and kept")
	}
	go ssh.DiscardRequests(s.Requests)
	if _, err := s.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("read %d, %v", n, err)
	}
}

// TestASpareChannelTakesNobodysPlace: on a host that bears two channels, two callers have theirs while there is a spare one.
func TestASpareChannelTakesNobodysPlace(t *testing.T) {
	h := newMemHost(t)
	h.sessions.Store(2)
	p := withSpare(t, h, Config{ChannelsPerConn: 2})
	for range 200 {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				s, err := p.Session(t.Context(), target("a", "a"))
				if err != nil {
					t.Error(err)
					return
				}
				s.Another()
				go ssh.DiscardRequests(s.Requests)
				s.Close()
			})
		}
		wg.Wait()
	}
	if n := h.mostOpen("a"); n != 1 {
		t.Errorf("%d connections for two callers", n)
	}
	if s := p.Stats(); s.Leased != 0 || s.Waiting != 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestNoSpareChannels(t *testing.T) {
	for what, cfg := range map[string]Config{"switched off": {NoSpares: true}, "one channel": {ChannelsPerConn: 1}} {
		t.Run(what, func(t *testing.T) {
			h := newMemHost(t)
			p := h.pool(t, cfg)
			s, err := p.Session(t.Context(), target("a", "a"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.Another()
			if spare, preparing, _ := spareOf(p); spare != nil || preparing {
				t.Error("a spare channel is opened")
			}
		})
	}
}

// TestARefusedSpareChannel tells nobody, lowers no limit and is not tried again at once.
func TestARefusedSpareChannel(t *testing.T) {
	h := newMemHost(t)
	h.sessions.Store(1)
	p := h.pool(t, Config{})
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 3 {
		s.Another()
		waitUntil(t, func() bool {
			_, preparing, _ := spareOf(p)
			return !preparing && h.refused.Load() > 0
		})
	}
	spare, _, limit := spareOf(p)
	if spare != nil || limit != 10 || h.refused.Load() != 1 || p.Stats().Refused != 0 {
		t.Errorf("limit %d after %d refusals, spare %v, stats %+v", limit, h.refused.Load(), spare, p.Stats())
	}
}

// TestAnEndedSpareChannel is not given out.
func TestAnEndedSpareChannel(t *testing.T) {
	h := newMemHost(t)
	p := withSpare(t, h, Config{})
	spare, _, _ := spareOf(p)
	_ = spare.ch.CloseWrite() // the host then closes
	waitUntil(t, func() bool { left, _, _ := spareOf(p); return left == nil })
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go ssh.DiscardRequests(s.Requests)
	if s.Channel == spare.ch {
		t.Error("got the closed channel")
	}
}

// TestASpareChannelAnswers: OpenSSH asks on any channel whether the client is alive, and ends the connection when nobody answers.
func TestASpareChannelAnswers(t *testing.T) {
	h := newMemHost(t)
	h.asks.Store(true)
	p := withSpare(t, h, Config{})
	waitUntil(t, func() bool { return h.answered.Load() >= 40 })
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(s.Requests)
	s.Close()
}

// TestASpareChannelGoes when nobody takes it.
func TestASpareChannelGoes(t *testing.T) {
	h := newMemHost(t)
	p := h.pool(t, Config{})
	p.spareLife = 1
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go ssh.DiscardRequests(s.Requests)
	s.Another()
	waitUntil(t, func() bool {
		spare, preparing, _ := spareOf(p)
		return spare == nil && !preparing && h.closed.Load() == 1
	})
}

// TestASpareChannelEndsAsItIsTaken: the host closes it while a caller reaches for it.
func TestASpareChannelEndsAsItIsTaken(t *testing.T) {
	h := newMemHost(t)
	p := withSpare(t, h, Config{})
	gone, _, _ := spareOf(p)
	gone.taken <- struct{}{} // the one who held it is done
	ended := &spare{ch: gone.ch, requests: gone.requests, taken: make(chan struct{}), ended: true}
	for _, g := range p.groups {
		g.mu.Lock()
		g.conns[0].spare = ended
		g.mu.Unlock()
	}
	go func() { <-ended.taken }()
	s, err := p.Session(t.Context(), target("a", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go ssh.DiscardRequests(s.Requests)
	if s.Channel == ended.ch {
		t.Error("got the closed channel")
	}
}
