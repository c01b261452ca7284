package loadgen

import (
	"context"
	"sync"
	"time"
)

const (
	readInterval  = 250 * time.Millisecond // between two looks at the server's processes
	statsInterval = 2 * time.Second        // between two calls of statsTool, but for the trends of a short run
	statsTimeout  = time.Second
	statsTool     = "server_stats"
)

// observer watches the server of an arm: its processes from outside, and what the server says of itself, if it does. It counts between resume
// and pause. start and stop go around them; it is safe for concurrent use.
type observer struct {
	driver  Driver
	session Session       // for statsTool
	every   time.Duration // that it is called

	mu       sync.Mutex
	accounts accounts
	stats    serverStats
	percent  float64 // of one CPU, at the last looks

	kick chan struct{} // asks for statsTool at once
	quit chan struct{}
	once sync.Once
	wg   sync.WaitGroup
}

// startObserver watches until stop. Nothing is watched where nothing is known of the server, or it runs in this process.
func startObserver(d Driver, session Session, every time.Duration) *observer {
	o := &observer{driver: d, session: session, every: every, kick: make(chan struct{}, 1), quit: make(chan struct{})}
	info := d.Info()
	if info.PID != 0 {
		o.wg.Go(o.readLoop)
	}
	if info.PID != 0 || info.Kind == "http" {
		o.wg.Go(o.statsLoop)
	}
	return o
}

// statsEvery is how often the server is asked: where the plan has trends, often enough that a short run has points for a line.
func (p *Plan) statsEvery() time.Duration {
	if len(p.Trends) == 0 {
		return statsInterval
	}
	return min(max(p.Executor.planned()/1200, readInterval), statsInterval)
}

// stop ends the watching and waits for it. It may be called twice.
func (o *observer) stop() {
	o.once.Do(func() { close(o.quit) })
	o.wg.Wait()
}

// resume begins a stretch of measured time, pause ends it.
func (o *observer) resume() {
	readings := readProcesses(o.driver.Info().processes())
	o.mu.Lock()
	o.accounts.resume(time.Now(), readings)
	o.mu.Unlock()
	o.ask()
	o.tell(true)
}

func (o *observer) pause() {
	readings := readProcesses(o.driver.Info().processes())
	o.mu.Lock()
	o.accounts.pause(time.Now(), readings)
	o.mu.Unlock()
	o.ask()
	o.tell(false)
}

func (o *observer) tell(measuring bool) {
	if w, ok := o.driver.(Watcher); ok {
		w.Measuring(measuring)
	}
}

func (o *observer) ask() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// live is the server's use now: percent of one CPU and resident bytes; ok is false when it is not known.
func (o *observer) live() (percent float64, rss int64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.percent, o.accounts.rss, len(o.accounts.seen) > 0
}

// report ends the watching and says what was seen, nil for nothing. ops is how many calls ended in the measured time.
func (o *observer) report(ops int64) *Resources {
	o.stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	var r Resources
	o.accounts.report(&r, ops)
	o.stats.report(&r)
	if r.Processes == 0 && r.Goroutines == nil {
		return nil
	}
	return &r
}

func (o *observer) readLoop() {
	ticker := time.NewTicker(readInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			readings := readProcesses(o.driver.Info().processes())
			o.mu.Lock()
			if o.accounts.running {
				o.percent += (o.accounts.read(time.Now(), readings) - o.percent) / 2 // evens out single looks
			}
			o.mu.Unlock()
		case <-o.quit:
			return
		}
	}
}

// statsLoop asks the server while it is measured, until it turns out not to have the tool.
func (o *observer) statsLoop() {
	ticker := time.NewTicker(o.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			o.mu.Lock()
			running := o.accounts.running
			o.mu.Unlock()
			if running && !o.askServer() {
				return
			}
		case <-o.kick:
			if !o.askServer() {
				return
			}
		case <-o.quit:
			select {
			case <-o.kick: // the end of the measured time still counts
				o.askServer()
			default:
			}
			return
		}
	}
}

// askServer calls statsTool. It is false when there is no use in another call.
func (o *observer) askServer() bool {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	reply, err := o.session.Call(ctx, Call{Tool: statsTool, Args: map[string]any{}})
	if err != nil {
		return ctx.Err() != nil // it may only be slow
	}
	if reply.Code != "" {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.accounts.elapsed
	if o.accounts.running {
		at += time.Since(o.accounts.since)
	}
	return o.stats.add(at, reply.Data)
}

// serverStats are the answers of statsTool.
type serverStats struct {
	goroutines, heap float64 // most
	levels           levels
	first, last      float64 // garbage collections so far
	pause            float64 // seconds
	known, collects  bool

	hits, misses, shared float64 // of the response cache
	caches               bool
}

// add takes an answer, at a time of the measured time. It is false for one that is not what this project's server answers.
func (s *serverStats) add(at time.Duration, data map[string]any) bool {
	goroutines, ok := data["goroutines"].(float64)
	if !ok {
		return false
	}
	heap, _ := data["heap_bytes"].(float64)
	s.goroutines, s.heap, s.known = max(s.goroutines, goroutines), max(s.heap, heap), true
	s.levels.add("server.goroutines", at, goroutines)
	s.levels.add("server.heap", at, heap)
	if cycles, ok := data["gc_cycles"].(float64); ok {
		if !s.collects {
			s.first = cycles
		}
		s.last, s.collects = cycles, true
		s.pause, _ = data["gc_pause_p99_s"].(float64)
	}
	if cache, ok := data["response_cache"].(map[string]any); ok {
		s.hits, s.caches = cache["hits"].(float64)
		s.misses, _ = cache["misses"].(float64)
		s.shared, _ = cache["shared"].(float64)
	}
	return true
}

func (s *serverStats) report(r *Resources) {
	if !s.known {
		return
	}
	r.levels.merge(s.levels)
	r.Goroutines, r.HeapBytes = known(int64(s.goroutines)), known(int64(s.heap))
	if s.collects {
		r.GCCycles, r.GCPauseP99 = known(int64(s.last-s.first)), known(time.Duration(s.pause*float64(time.Second)))
	}
	if s.caches {
		r.CacheHits, r.CacheMisses, r.CacheShared = known(int64(s.hits)), known(int64(s.misses)), known(int64(s.shared))
	}
}

// processes are the ids of the server's processes that the driver knows.
func (i DriverInfo) processes() []int {
	if len(i.PIDs) == 0 && i.PID != 0 {
		return []int{i.PID}
	}
	return i.PIDs
}

// observe watches the generator while an execution runs, and the server during its measured time, until end is called.
func (x *execution) observe() (end func()) {
	endLoad := x.r.health.underLoad()
	quit := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if !waitFor(quit, x.turn.measure-x.now()) {
			return
		}
		x.observer.resume()
		waitFor(quit, x.turn.to-x.now())
		x.observer.pause()
	})
	return func() {
		close(quit)
		wg.Wait()
		endLoad()
	}
}

// waitFor is false when quit was closed first.
func waitFor(quit <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-quit:
		return false
	}
}
