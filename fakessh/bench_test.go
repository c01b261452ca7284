//go:build unix

package fakessh_test

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/sftp"
	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
)

// BenchmarkExec runs echo over open connections with so many in flight.
func BenchmarkExec(b *testing.B) {
	for _, load := range []struct{ inFlight, conns int }{{1, 1}, {8, 1}, {64, 1}, {64, 8}} {
		b.Run(fmt.Sprintf("inflight=%d/conns=%d", load.inFlight, load.conns), func(b *testing.B) {
			host := start(b, fakessh.Options{})
			clients := make([]*gossh.Client, load.conns)
			for i := range clients {
				clients[i] = dial(b, host)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			defer reportCPU(b, cpuTime(b))
			var wg sync.WaitGroup
			for i := range load.inFlight {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := bareExec(clients[i%len(clients)], "echo hello"); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "exec/s")
		})
	}
}

// cpuTime is what client and host have used together.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU reports what an operation has cost since before: unlike the time it
// took, this holds on a busy machine too.
func reportCPU(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpuTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// bareExec runs a command on a raw channel, without the three goroutines of a
// gossh.Session.
func bareExec(client *gossh.Client, line string) error {
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		return err
	}
	defer ch.Close()
	if _, err := ch.SendRequest("exec", false, gossh.Marshal(struct{ Line string }{line})); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, ch); err != nil {
		return err
	}
	for req := range reqs {
		if req.Type == "exit-status" && req.Payload[3] == 0 {
			return nil
		}
	}
	return io.ErrUnexpectedEOF
}

// BenchmarkStore uploads 1 MiB on an open SFTP session, to memfs and, for
// comparison, to the handlers that come with the SFTP library.
func BenchmarkStore(b *testing.B) {
	b.Run("memfs", func(b *testing.B) { benchmarkStore(b, start(b, fakessh.Options{})) })
	b.Run("library", func(b *testing.B) {
		host := start(b, fakessh.Options{})
		host.ServeSFTP(sftp.InMemHandler())
		benchmarkStore(b, host)
	})
}

func benchmarkStore(b *testing.B, host *fakessh.Host) {
	client, err := sftp.NewClient(dial(b, host), sftp.UseConcurrentWrites(true))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	content := fakessh.Pattern(1 << 20)
	b.SetBytes(int64(len(content)))
	defer reportCPU(b, cpuTime(b))
	for b.Loop() {
		f, err := client.Create("/file")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.ReadFrom(bytes.NewReader(content)); err != nil {
			b.Fatal(err)
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetch downloads 1 MiB on an open SFTP session.
func BenchmarkFetch(b *testing.B) {
	host := start(b, fakessh.Options{})
	if err := host.FS().WriteFile("/file", fakessh.Pattern(1<<20), 0o644); err != nil {
		b.Fatal(err)
	}
	client := openSFTP(b, dial(b, host))
	b.SetBytes(1 << 20)
	defer reportCPU(b, cpuTime(b))
	for b.Loop() {
		f, err := client.Open("/file")
		if err != nil {
			b.Fatal(err)
		}
		if n, err := f.WriteTo(io.Discard); n != 1<<20 || err != nil {
			b.Fatal(n, err)
		}
		f.Close()
	}
}

// BenchmarkExecDelay asks for a command every 2 ms, each with a delay of 20 ms,
// and reports how much later the host began to answer, and how much later than
// that the client knew.
func BenchmarkExecDelay(b *testing.B) {
	const delay = 20 * time.Millisecond
	for _, load := range []struct {
		name   string
		faults fakessh.Faults
	}{
		{"delay", fakessh.Faults{Exec: fakessh.ExecFaults{Delay: netem.Fixed(delay)}}},
		{"network", fakessh.Faults{Exec: fakessh.ExecFaults{Delay: netem.Fixed(delay)}, Network: netem.Shape{Jitter: 1}}},
	} {
		b.Run(load.name, func(b *testing.B) {
			host := start(b, fakessh.Options{Faults: load.faults})
			client := dial(b, host)
			took := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			defer reportCPU(b, cpuTime(b))
			for i := range b.N {
				time.Sleep(2 * time.Millisecond)
				wg.Go(func() {
					began := time.Now()
					if err := bareExec(client, "true"); err != nil {
						b.Error(err)
					}
					took[i] = time.Since(began)
				})
			}
			wg.Wait()
			slices.Sort(took)
			in := host.Delays().Exec
			for _, q := range []float64{0.5, 0.99} {
				name := fmt.Sprintf("p%g-µs", 100*q)
				b.ReportMetric(float64((in.Quantile(q) - delay).Microseconds()), "host-"+name)
				b.ReportMetric(float64((took[int(q*float64(b.N))] - delay).Microseconds()), "client-"+name)
			}
		})
	}
}
