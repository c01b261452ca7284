package loadgen_test

import (
	"context"
	"fmt"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// echo is a driver whose server is in this process and answers at once. Package driver has those that reach real servers.
type echo struct{}

func (echo) Open(context.Context) (loadgen.Session, error) { return echo{}, nil }
func (echo) Info() loadgen.DriverInfo                      { return loadgen.DriverInfo{Kind: "inprocess"} }
func (echo) Close() error                                  { return nil }

func (echo) Call(ctx context.Context, c loadgen.Call) (loadgen.Reply, error) {
	return loadgen.Reply{Data: map[string]any{"stdout": c.Args["command"]}}, nil
}

func ExampleRun() {
	p95, err := loadgen.ParseThreshold("p95<1s")
	if err != nil {
		panic(err)
	}
	plan := &loadgen.Plan{
		Name:     "echo",
		Executor: loadgen.Executor{Kind: loadgen.Open, Rate: 200, Duration: 200 * time.Millisecond},
		Steps: []loadgen.Step{{
			Name: "exec", Tool: "ssh_exec",
			Args:   map[string]any{"profile_id": "${profile}", "command": "echo ${iteration}"},
			Checks: []loadgen.Check{{Field: "stdout", Op: "contains", Value: "echo"}},
		}},
		Thresholds: []loadgen.Threshold{p95},
		Target:     &loadgen.Target{Target: 500 * time.Millisecond, Acceptable: time.Second},
	}
	open := func(context.Context, loadgen.Arm) (loadgen.Driver, error) { return echo{}, nil }
	res, err := loadgen.Run(context.Background(), plan, open, loadgen.Options{Profiles: []string{"web-01"}})
	if err != nil {
		panic(err)
	}
	c := res.Cells[0]
	fmt.Println("sent", c.Requests, "dropped", c.Dropped, "errors", len(c.Errors))
	fmt.Println("threshold", res.Thresholds[0].Expr, "held:", res.Thresholds[0].OK)
	fmt.Println("grade:", res.Grade.Band)
	// Output:
	// sent 40 dropped 0 errors 0
	// threshold p95<1s held: true
	// grade: target
}
