//go:build unix

package driver

import (
	"context"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

var benchArgs = map[string]any{"stdout": "hello from the other side\n", "exit_code": 0, "profile_id": "web-01"}

// BenchmarkStdio measures calls through a child that does nothing, 64 in flight, by this package's codec and by mcp-go's client, and reports
// the CPU time that each costs the generator.
func BenchmarkStdio(b *testing.B) {
	b.Run("codec", func(b *testing.B) {
		d, err := Stdio(b.Context(), fixtureConfig("stdio"))
		if err != nil {
			b.Fatal(err)
		}
		defer d.Close()
		s, err := d.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		inFlight(b, 64, func() error {
			_, err := s.Call(b.Context(), loadgen.Call{Tool: "echo", Args: benchArgs})
			return err
		})
	})
	b.Run("mcp-go", func(b *testing.B) {
		cfg := fixtureConfig("stdio")
		c := client.NewClient(transport.NewStdio(cfg.Path, cfg.Env))
		if err := c.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Initialize(b.Context(), mcp.InitializeRequest{Params: mcp.InitializeParams{ProtocolVersion: ProtocolStateful}}); err != nil {
			b.Fatal(err)
		}
		inFlight(b, 64, func() error {
			_, err := c.CallTool(b.Context(), mcp.CallToolRequest{Params: mcp.CallToolParams{Name: "echo", Arguments: benchArgs}})
			return err
		})
	})
}

func BenchmarkHTTP(b *testing.B) {
	d, err := HTTPChild(b.Context(), fixtureConfig("http"))
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	var sessions []loadgen.Session
	for range 64 {
		s, err := d.Open(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	var n atomic.Int64
	inFlight(b, 64, func() error {
		s := sessions[n.Add(1)%64]
		_, err := s.Call(b.Context(), loadgen.Call{Tool: "echo", Args: benchArgs})
		return err
	})
}

// BenchmarkHTTPPaced runs a whole measurement at 2,000 calls a second, which is how load is mostly sent, and reports the CPU time that
// each call costs the generator: pacing, encoding, HTTP, decoding and recording.
func BenchmarkHTTPPaced(b *testing.B) {
	for _, protocol := range []string{ProtocolStateful, ProtocolStateless} {
		b.Run(protocol, func(b *testing.B) {
			cfg := fixtureConfig("http")
			cfg.Protocol = protocol
			p := &loadgen.Plan{
				Name: "bench", Executor: loadgen.Executor{Kind: loadgen.Open, Rate: 2000, Duration: max(time.Duration(b.N), 200) * time.Second / 2000},
				Steps: []loadgen.Step{{Name: "echo", Tool: "echo", Args: benchArgs}},
			}
			var before time.Duration
			res, err := loadgen.Run(b.Context(), p, func(ctx context.Context, _ loadgen.Arm) (loadgen.Driver, error) {
				d, err := HTTPChild(ctx, cfg)
				before = cpuTime()
				return d, err
			}, loadgen.Options{})
			if err != nil {
				b.Fatal(err)
			}
			used := cpuTime() - before
			if c := res.Cells[0]; len(c.Errors) > 0 {
				b.Fatal(c.Errors)
			}
			b.ReportMetric(float64(used)/float64(res.Cells[0].Requests)/1e3, "cpu-µs/op")
		})
	}
}

// inFlight makes b.N calls, so many at a time.
func inFlight(b *testing.B, n int, call func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	before := cpuTime()
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(cpuTime()-before)/float64(b.N)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkParseReply(b *testing.B) {
	line := replyLine(b)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseMessage(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendCall(b *testing.B) {
	var buf []byte
	w := newWire(ProtocolStateful)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = w.appendCall(buf[:0], 12345, loadgen.Call{Tool: "ssh_exec", Args: benchArgs})
	}
}
