package driver

import (
	"context"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// TestRun measures the fixture by every driver, with both executors.
func TestRun(t *testing.T) {
	for _, tt := range subjects {
		if tt.name != "stdio" && tt.name != "http" && tt.name != "inprocess" {
			continue // the others differ in what the suite covers
		}
		for _, e := range []loadgen.Executor{
			{Kind: loadgen.Closed, VUs: 4, Iterations: 100},
			{Kind: loadgen.Open, Rate: 200, Duration: 500 * time.Millisecond},
		} {
			t.Run(tt.name+"/"+string(e.Kind), func(t *testing.T) {
				p := &loadgen.Plan{Name: "test", Executor: e, Steps: []loadgen.Step{{
					Name: "echo", Tool: "echo", Args: map[string]any{"stdout": "${iteration}", "exit_code": 0},
					Checks: []loadgen.Check{{Field: "exit_code", Op: "==", Value: 0}},
				}}}
				res, err := loadgen.Run(t.Context(), p, func(context.Context, loadgen.Arm) (loadgen.Driver, error) { return tt.open(t, "") }, loadgen.Options{})
				if err != nil {
					t.Fatal(err)
				}
				c := res.Cells[0]
				if c.Requests != 100 || len(c.Errors) != 0 || c.Reused != 100 || c.Timing["remote"].Count() != 100 || c.Bytes == 0 {
					t.Errorf("%d requests, errors %v %v, %d reused, %d bytes", c.Requests, c.Errors, c.ErrorSamples, c.Reused, c.Bytes)
				}
				if c.Driver.ServerName != "fixture" || c.Latency.Count() != 100 {
					t.Errorf("driver %+v, %d latencies", c.Driver, c.Latency.Count())
				}
			})
		}
	}
}
