package result

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// windowBuckets bounds the histogram of a window.
const windowBuckets = 32

// maxBytes bounds a result file; fit keeps below it by windows twice as wide.
const maxBytes = 1 << 20

// Histogram is the latency of the window's successes: at most 32 buckets, for charts and for merging windows. The exact percentiles are fields
// of the window. The longest duration is as exact as its bucket; Max has the true one.
func (w *Window) Histogram() (*stats.Coarse, error) {
	if w.Hist == "" {
		return &stats.Coarse{}, nil
	}
	return stats.DecodeSparse(w.Hist)
}

// Histogram is the whole distribution, to three significant digits.
func (d *Distribution) Histogram() (*stats.Histogram, error) { return stats.Decode(d.HDR) }

func windows(ws []loadgen.Window) []Window {
	out := make([]Window, len(ws))
	for i, w := range ws {
		out[i] = Window{
			StartNS: int64(w.Start), WidthNS: int64(w.Width), Requests: w.Requests, Errors: w.Errors,
			P50: int64(w.P50), P95: int64(w.P95), P99: int64(w.P99), Max: int64(w.Max), Held: w.Held,
		}
		if w.Latency.Count() > 0 {
			out[i].Hist = w.Latency.Sparse(windowBuckets)
		}
	}
	return out
}

// fit doubles the width of the windows of all cells, as often as the file would be too large.
func (d *Doc) fit(limit int) error {
	for {
		size, err := d.size()
		if err != nil || size <= limit {
			return err
		}
		shrunk := false
		for i := range d.Scenarios {
			s := &d.Scenarios[i]
			if len(s.Windows) > 1 {
				if s.Windows, err = halve(s.Windows); err != nil {
					return err
				}
				shrunk = true
			}
		}
		if !shrunk {
			return nil // what remains does not grow with the length of a run
		}
	}
}

func (d *Doc) size() (int, error) {
	var n counter
	err := Write(&n, d)
	return int(n), err
}

type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// halve merges windows two by two.
func halve(ws []Window) ([]Window, error) {
	out := make([]Window, 0, (len(ws)+1)/2)
	for i := 0; i < len(ws); i += 2 {
		w := ws[i]
		w.WidthNS *= 2
		if i+1 < len(ws) {
			if err := w.merge(&ws[i+1]); err != nil {
				return nil, fmt.Errorf("window %d: %w", i, err)
			}
		}
		out = append(out, w)
	}
	return out, nil
}

func (w *Window) merge(o *Window) error {
	h, err := w.Histogram()
	if err != nil {
		return err
	}
	other, err := o.Histogram()
	if err != nil {
		return err
	}
	h.Merge(other)
	w.Requests, w.Errors, w.Max = w.Requests+o.Requests, w.Errors+o.Errors, max(w.Max, o.Max)
	w.Held = min(w.Held, o.Held)
	w.P50, w.P95, w.P99 = int64(h.Percentile(0.5)), int64(h.Percentile(0.95)), int64(h.Percentile(0.99))
	if h.Count() > 0 {
		w.Hist = h.Sparse(windowBuckets)
	}
	return nil
}

// openLevels is how deep the file is spread over lines: what is inside of a distribution still is, a window or a series stands on one.
const openLevels = 4

// spread indents JSON down to openLevels and leaves the rest on one line. src must be valid and without white space.
func spread(src []byte) []byte {
	var out bytes.Buffer
	level, text := 0, false
	line := func() { out.WriteString("\n" + "          "[:2*min(level, openLevels)]) }
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case text:
			out.WriteByte(c)
			if c == '\\' {
				i++
				out.WriteByte(src[i])
			}
			text = c != '"'
			continue
		case c == '"':
			text = true
		case c == '}' || c == ']':
			if level <= openLevels && src[i-1] != '{' && src[i-1] != '[' {
				level--
				line()
				level++
			}
			level--
		}
		out.WriteByte(c)
		switch {
		case c == '{' || c == '[':
			if level++; level <= openLevels && src[i+1] != '}' && src[i+1] != ']' {
				line()
			}
		case c == ',' && level <= openLevels:
			line()
		case c == ':' && level <= openLevels:
			out.WriteByte(' ')
		}
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// marshal writes the document as its file has it.
func (d *Doc) marshal() ([]byte, error) {
	data, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	return spread(parted(data)), nil
}

// parted escapes the second of two number signs, which stand in texts alone: a CI system that shows the file takes them for a command.
func parted(data []byte) []byte {
	return bytes.ReplaceAll(data, []byte("##"), []byte(`#\u0023`))
}
