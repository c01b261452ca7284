package loadgen

import (
	"context"
	"testing"
	"time"
)

// idleSession answers at once and allocates nothing.
type idleSession struct{ reply Reply }

func (s idleSession) Call(context.Context, Call) (Reply, error) { return s.reply, nil }
func (s idleSession) Close() error                              { return nil }

type idleDriver struct{ session idleSession }

func (d idleDriver) Open(context.Context) (Session, error) { return d.session, nil }
func (d idleDriver) Info() DriverInfo                      { return DriverInfo{Kind: "idle"} }
func (d idleDriver) Close() error                          { return nil }

func openIdle(context.Context, Arm) (Driver, error) {
	return idleDriver{idleSession{Reply{Data: map[string]any{"exit_code": 0.0, "stdout": "loadgen\n"}}}}, nil
}

// BenchmarkIteration reports what the engine itself costs for each iteration of a step with two arguments, one of which varies, and a check.
func BenchmarkIteration(b *testing.B) {
	steps := []Step{{
		Name: "exec", Tool: "ssh_exec", Args: map[string]any{"profile_id": "${profile}", "command": "echo loadgen"},
		Checks: []Check{{Field: "exit_code", Op: "==", Value: 0}},
	}}
	atOnce := func() (pacer, func()) {
		return func(ctx context.Context, _ time.Time) error { return ctx.Err() }, func() {}
	}
	for name, e := range map[string]func(n int) Executor{
		"closed": func(n int) Executor { return Executor{Kind: Closed, VUs: 1, Iterations: int64(n)} },
		"open": func(n int) Executor {
			return Executor{Kind: Open, Rate: 1e6, MaxInFlight: maxSlots, Duration: time.Duration(n) * time.Microsecond}
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			p := &Plan{Name: "bench", Seed: 1, Steps: steps, Executor: e(b.N)}
			if _, err := Run(b.Context(), p, openIdle, Options{Profiles: []string{"web"}, pacer: atOnce}); err != nil {
				b.Fatal(err)
			}
		})
	}
}
