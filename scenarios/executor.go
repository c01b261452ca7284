package scenarios

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

func (r *reader) executor(at string, n ast.Node) loadgen.Executor {
	var e loadgen.Executor
	r.object(at, n, []string{"kind"}, r.executorFields(&e))
	return e
}

// planExecutor reads the executor of a plan, which has no kind where each part of the mix has one of its own.
func (r *reader) planExecutor(at string, n ast.Node) loadgen.Executor {
	var e loadgen.Executor
	r.object(at, n, nil, r.executorFields(&e))
	return e
}

func (r *reader) executorFields(e *loadgen.Executor) object {
	return object{
		"kind": func(at string, n ast.Node) {
			e.Kind = loadgen.ExecutorKind(r.oneOf(at, n, string(loadgen.Open), string(loadgen.Closed), string(loadgen.Occupancy)))
		},
		"vus":  func(at string, n ast.Node) { e.VUs = int(r.integer(at, n, 1)) },
		"rate": func(at string, n ast.Node) { e.Rate = r.rate(at, n) },
		"arrivals": func(at string, n ast.Node) {
			e.Arrivals = loadgen.Arrivals(r.oneOf(at, n, string(loadgen.Constant), string(loadgen.Poisson)))
		},
		"stages":            func(at string, n ast.Node) { e.Stages = collect(r, at, n, r.stage) },
		"start":             func(at string, n ast.Node) { e.Start = r.level(at, n) },
		"trace":             func(at string, n ast.Node) { e.Trace = r.trace(at, n) },
		"think_time":        func(at string, n ast.Node) { e.ThinkTime = r.thinkTime(at, n) },
		"holders":           func(at string, n ast.Node) { e.Holders = int(r.integer(at, n, 1)) },
		"max_in_flight":     func(at string, n ast.Node) { e.MaxInFlight = int(r.integer(at, n, 1)) },
		"sessions":          func(at string, n ast.Node) { e.Sessions = int(r.integer(at, n, 1)) },
		"iterations":        func(at string, n ast.Node) { e.Iterations = r.integer(at, n, 1) },
		"iterations_per_vu": func(at string, n ast.Node) { e.IterationsPerVU = r.integer(at, n, 1) },
		"warmup":            func(at string, n ast.Node) { e.Warmup = r.duration(at, n, 0) },
		"duration":          func(at string, n ast.Node) { e.Duration = r.duration(at, n, time.Millisecond) },
	}
}

func (r *reader) stage(at string, n ast.Node) loadgen.Stage {
	var s loadgen.Stage
	r.object(at, n, []string{"target", "duration"}, object{
		"target":   func(at string, n ast.Node) { s.Target = r.level(at, n) },
		"duration": func(at string, n ast.Node) { s.Duration = r.duration(at, n, 0) },
	})
	return s
}

// level reads a rate or a number of virtual users, 0 included.
func (r *reader) level(at string, n ast.Node) float64 {
	if i, ok := n.(*ast.IntegerNode); ok && strings.Trim(i.Token.Value, "0") == "" {
		return 0
	}
	return r.rate(at, n)
}

// thinkTime reads one duration, or a mapping of min and max.
func (r *reader) thinkTime(at string, n ast.Node) loadgen.ThinkTime {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		var t loadgen.ThinkTime
		r.object(at, n, []string{"min", "max"}, object{
			"min": func(at string, n ast.Node) { t.Min = r.duration(at, n, 0) },
			"max": func(at string, n ast.Node) { t.Max = r.duration(at, n, 0) },
		})
		return t
	}
	d := r.duration(at, n, 0)
	return loadgen.ThinkTime{Min: d, Max: d}
}

// trace reads the arrivals of a file beside the scenario.
func (r *reader) trace(at string, n ast.Node) []time.Duration {
	name := r.beside(at, n)
	if name == "" {
		return []time.Duration{0} // said already
	}
	data, err := readBounded(name, maxTrace)
	if err == nil && len(data) > maxTrace {
		err = fmt.Errorf("%s is longer than %d bytes", name, maxTrace)
	}
	if err == nil {
		var offsets []time.Duration
		if offsets, err = ParseTrace(data); err == nil {
			return offsets
		}
		err = fmt.Errorf("%s%w", name, err)
	}
	r.fail(at, err.Error(), "name a file with the offset of one arrival a line, such as 1.25 or 1.25s")
	return []time.Duration{0}
}

// maxTrace bounds a trace, in bytes.
const maxTrace = 64 << 20

// ParseTrace reads arrivals: on each line an offset, as seconds or as a Go duration, none less than the one before. Lines that are empty or
// begin with # say nothing; the first of the others may be the heading offset. An error begins with :LINE: and says what is wrong there.
func ParseTrace(data []byte) ([]time.Duration, error) {
	var out []time.Duration
	begun := false
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		text := strings.TrimSpace(line)
		if text == "" || text[0] == '#' {
			continue
		}
		if first := !begun; first {
			begun = true
			if text == "offset" {
				continue
			}
		}
		at, err := parseOffset(text)
		if err != nil {
			return nil, fmt.Errorf(":%d: %w", number, err)
		}
		if len(out) > 0 && at < out[len(out)-1] {
			return nil, fmt.Errorf(":%d: %s comes before the arrival above it: sort the offsets", number, at)
		}
		out = append(out, at)
	}
	if len(out) == 0 {
		return nil, errors.New(": no arrival")
	}
	return out, nil
}

// maxOffset bounds an offset, well below what a time.Duration holds.
const maxOffset = 1000 * time.Hour

func parseOffset(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if s, ferr := strconv.ParseFloat(text, 64); ferr == nil && s >= 0 && s <= maxOffset.Seconds() {
		d, err = time.Duration(s*float64(time.Second)+0.5), nil
	}
	if err != nil || d < 0 || d > maxOffset {
		return 0, fmt.Errorf("%.40q is no offset: write seconds such as 1.25, or a duration such as 1.25s, up to %s", text, maxOffset)
	}
	return d, nil
}
