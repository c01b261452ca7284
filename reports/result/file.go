package result

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// ErrSchema is wrapped by Read's error for a file of another schema or version.
var ErrSchema = errors.New("not a " + Schema + " file")

const remedy = "; use a result.json that loadgen run --out wrote"

// Write writes the file, indented, with a final newline.
func Write(w io.Writer, d *Doc) error {
	data, err := d.marshal()
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Read reads a file strictly: another schema, unknown fields, anything after the document, and figures that contradict their
// histograms are errors that say where.
func Read(r io.Reader) (*Doc, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read result: %w", err)
	}
	var head struct {
		Schema *string `json:"schema"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, located(data, err)
	}
	switch {
	case head.Schema == nil:
		return nil, fmt.Errorf("%w: it has no schema field%s", ErrSchema, remedy)
	case *head.Schema != Schema:
		return nil, fmt.Errorf("%w: its schema is %q%s", ErrSchema, *head.Schema, remedy)
	}
	d := &Doc{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(d); err != nil {
		return nil, located(data, err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("result is corrupt: %w%s", err, remedy)
	}
	return d, nil
}

// located says at which line and column of the JSON text a decoding error arose, where that is known.
func located(data []byte, err error) error {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var typed *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &typed):
		offset = typed.Offset
	}
	if offset < 0 || offset > int64(len(data)) {
		return fmt.Errorf("result is not valid: %v%s", err, remedy)
	}
	before := data[:offset]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := len(before) - bytes.LastIndexByte(before, '\n') - 1
	return fmt.Errorf("result is not valid: line %d, column %d: %v%s", line, column, err, remedy)
}

func (d *Doc) check() error {
	for i := range d.Scenarios {
		if err := d.Scenarios[i].check(); err != nil {
			return fmt.Errorf("scenarios[%d]%w", i, err)
		}
	}
	if err := d.Gate.check(); err != nil {
		return err
	}
	if d.Verdict.OK != (len(d.Verdict.Failed) == 0) {
		return errors.New("verdict: ok contradicts failed")
	}
	return nil
}

func (s *Scenario) check() error {
	if s.Name == "" {
		return errors.New(".name is empty")
	}
	if s.Requests < 0 || s.Dropped < 0 || s.ErrorCount() < 0 || s.ErrorCount() > s.Requests {
		return fmt.Errorf(": %d requests, %d errors and %d dropped cannot be", s.Requests, s.ErrorCount(), s.Dropped)
	}
	if g := s.Grade; g != nil && !slices.Contains(bands, g.Band) {
		return fmt.Errorf(".grade.band %q is not known", g.Band)
	}
	for _, part := range []struct {
		name string
		d    *Distribution
	}{{"latency", s.Latency}, {"service", s.Service}, {"failed", s.Failed}, {"lateness", s.Lateness}, {"first_progress", s.FirstProgress}} {
		if err := part.d.check(); err != nil {
			return fmt.Errorf(".%s: %w", part.name, err)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Timing)) {
		if err := s.Timing[name].check(); err != nil {
			return fmt.Errorf(".timing.%s: %w", name, err)
		}
	}
	return nil
}

var bands = []loadgen.Band{loadgen.BandTarget, loadgen.BandAcceptable, loadgen.BandPoor, loadgen.BandNoData}

// check decodes the histogram and compares what the file says of it.
func (d *Distribution) check() error {
	if d == nil {
		return nil
	}
	if d.Unit != "ns" {
		return fmt.Errorf("unit %q is not known", d.Unit)
	}
	h, err := stats.Decode(d.HDR)
	if err != nil {
		return err
	}
	want, err := NewDistribution(h)
	if err != nil {
		return err
	}
	if want.N != d.N {
		return fmt.Errorf("n is %d, the histogram holds %d", d.N, want.N)
	}
	said := d.percentiles()
	for i, p := range want.percentiles() {
		if a, b := *said[i].to, *p.to; (a == nil) != (b == nil) || a != nil && *a != *b {
			return fmt.Errorf("the %v quantile differs from the histogram's", p.q)
		}
	}
	return nil
}
