package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteLines writes runs as JSON, one a line.
func WriteLines(w io.Writer, runs []*Run) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	for _, r := range runs {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return out.Flush()
}

// ReadLines reads what WriteLines wrote, strictly. Empty lines are passed over. Errors name the line and the field.
func ReadLines(r io.Reader) ([]*Run, error) {
	in := bufio.NewReader(r)
	var runs []*Run
	for line := 1; ; line++ {
		text, err := in.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		if len(bytes.TrimSpace(text)) > 0 {
			run, bad := readLine(text)
			if bad != nil {
				return nil, fmt.Errorf("line %d: %w; use what loadgen history export wrote", line, bad)
			}
			runs = append(runs, run)
		}
		if err == io.EOF {
			return runs, nil
		}
	}
}

func readLine(text []byte) (*Run, error) {
	r := &Run{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, err
	}
	if dec.More() {
		return nil, fmt.Errorf("more than one value")
	}
	r.Started = r.Started.UTC()
	return r, r.check()
}
