package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// prober asks each server how it is, again and again. Every probe dials: a server that answers old connections may refuse new ones.
type prober struct {
	g    *Gateway
	http http.Client

	mu      sync.Mutex
	ctx     context.Context // nil before start and after stop
	cancel  context.CancelFunc
	running map[*backend]context.CancelFunc
	wg      sync.WaitGroup
}

// start returns once each server has been probed once.
func (p *prober) start(ctx context.Context, all []*backend) {
	p.mu.Lock()
	p.ctx, p.cancel = context.WithCancel(ctx)
	p.running = map[*backend]context.CancelFunc{}
	p.http.Transport = &http.Transport{DisableKeepAlives: true}
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.mu.Unlock()
	var first sync.WaitGroup
	for _, b := range all {
		first.Go(func() { p.probe(p.ctx, b) })
	}
	first.Wait()
	p.follow(all, nil)
}

// follow begins to probe some servers and ends to probe others, whose unused connections it closes.
func (p *prober) follow(added, gone []*backend) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil {
		return
	}
	for _, b := range added {
		ctx, cancel := context.WithCancel(p.ctx)
		p.running[b] = cancel
		p.wg.Go(func() { p.watch(ctx, b) })
	}
	for _, b := range gone {
		if cancel := p.running[b]; cancel != nil {
			cancel()
		}
		delete(p.running, b)
		b.links.close()
	}
}

// stop ends the probing and waits for it.
func (p *prober) stop() {
	p.mu.Lock()
	p.cancel()
	p.ctx = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// watch probes b until ctx ends.
func (p *prober) watch(ctx context.Context, b *backend) {
	for {
		t := time.NewTimer(p.g.timing.Load().probeInterval)
		select {
		case <-t.C:
			p.probe(ctx, b)
			b.links.sweep()
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// probe asks /readyz once. A server without it, which says 404, 405 or 501, is taken to be ready as long as it answers: that it speaks HTTP on
// its port is all that can be asked of a server of any kind without making a session on it.
func (p *prober) probe(ctx context.Context, b *backend) {
	limited, cancel := context.WithTimeout(ctx, p.g.timing.Load().probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(limited, http.MethodGet, "http://"+b.addr+"/readyz", nil)
	if err != nil {
		panic(err) // parseTarget has seen the address
	}
	resp, err := p.http.Do(req)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && refusedBy(err):
		p.g.balancer.probed(b, Down, "connection refused")
		return
	case err != nil:
		p.g.balancer.probed(b, "", err.Error())
		return
	}
	defer resp.Body.Close()
	why, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // the status says enough
	switch s := resp.StatusCode; {
	case s < 300, s == http.StatusNotFound, s == http.StatusMethodNotAllowed, s == http.StatusNotImplemented:
		p.g.balancer.probed(b, Ready, "")
	case s == http.StatusServiceUnavailable:
		p.g.balancer.probed(b, NotReady, string(why))
	default:
		p.g.balancer.probed(b, "", fmt.Sprintf("/readyz answers %s", resp.Status))
	}
}
