package result

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// PairsSchema names the version of the layout of a file of recorded pairs.
const PairsSchema = "openaccess.loadgen/pairs/v1"

// maxPairsLine bounds a line of such a file, in bytes.
const maxPairsLine = 1 << 20

// pairsHead is the first line of a file of recorded pairs: what the figures of all further lines are of, in their order.
type pairsHead struct {
	Schema string   `json:"schema"`
	Cells  []Cell   `json:"cells"`
	Errors []string `json:"errors"` // scenarios
}

// pairsLine is one pair.
type pairsLine struct {
	Gate      int       `json:"gate"` // from 1, ascending
	Pair      int       `json:"pair"`
	HeadFirst bool      `json:"head_first,omitempty"`
	Base      sliceLine `json:"base"`
	Head      sliceLine `json:"head"`
}

// sliceLine has one entry for each cell, and for each scenario of errors. A figure that was not measured is 0.
type sliceLine struct {
	V      []json.Number `json:"v"`
	N      []int64       `json:"n"`
	Failed []int64       `json:"failed"`
	Total  []int64       `json:"total"`
}

// WritePairs writes the pairs of gates compactly, as lines of JSON: the first names the cells, and each further one is a pair, with four significant
// digits of every figure. Controls and pairs that were excluded are left out.
func WritePairs(w io.Writer, gates [][]Pair) error {
	head := pairsHead{Schema: PairsSchema, Cells: []Cell{}, Errors: []string{}}
	for _, ps := range gates {
		for i := range ps {
			head.learn(&ps[i].Base)
			head.learn(&ps[i].Head)
		}
	}
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	if err := enc.Encode(head); err != nil {
		return err
	}
	for g, ps := range gates {
		for i := range ps {
			if p := &ps[i]; p.Excluded == "" {
				if err := enc.Encode(pairsLine{g + 1, p.Index, p.HeadFirst, head.line(&p.Base), head.line(&p.Head)}); err != nil {
					return err
				}
			}
		}
	}
	return out.Flush()
}

func (h *pairsHead) learn(s *Slice) {
	for _, f := range s.Figures {
		if !slices.Contains(h.Cells, f.Cell()) {
			h.Cells = append(h.Cells, f.Cell())
		}
	}
	for _, e := range s.Errors {
		if !slices.Contains(h.Errors, e.Scenario) {
			h.Errors = append(h.Errors, e.Scenario)
		}
	}
}

func (h *pairsHead) line(s *Slice) sliceLine {
	out := sliceLine{slices.Repeat([]json.Number{"0"}, len(h.Cells)), make([]int64, len(h.Cells)), make([]int64, len(h.Errors)), make([]int64, len(h.Errors))}
	for _, f := range s.Figures {
		i := slices.Index(h.Cells, f.Cell())
		out.V[i], out.N[i] = json.Number(strconv.FormatFloat(f.Value, 'g', 4, 64)), f.N
	}
	for _, e := range s.Errors {
		i := slices.Index(h.Errors, e.Scenario)
		out.Failed[i], out.Total[i] = e.Failed, e.Total
	}
	return out
}

// ReadPairs reads what WritePairs wrote: the pairs of every gate that has some. An error names the line.
func ReadPairs(r io.Reader) ([][]Pair, error) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxPairsLine)
	var head *pairsHead
	var gates [][]Pair
	last := 0
	for n := 1; in.Scan(); n++ {
		if head == nil {
			if head = new(pairsHead); json.Unmarshal(in.Bytes(), head) != nil || head.Schema != PairsSchema {
				return nil, fmt.Errorf("line 1: it is no head of recorded pairs: its schema has to be %q", PairsSchema)
			}
			continue
		}
		var l pairsLine
		p, err := Pair{}, json.Unmarshal(in.Bytes(), &l)
		if err == nil {
			p, err = head.pair(&l)
		}
		if err == nil && l.Gate < max(last, 1) {
			err = fmt.Errorf("gate %d comes after gate %d", l.Gate, last)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if l.Gate != last {
			gates, last = append(gates, nil), l.Gate
		}
		gates[len(gates)-1] = append(gates[len(gates)-1], p)
	}
	switch {
	case in.Err() != nil:
		return nil, in.Err()
	case len(gates) == 0:
		return nil, errors.New("it holds no pair")
	}
	return gates, nil
}

func (h *pairsHead) pair(l *pairsLine) (Pair, error) {
	p := Pair{Index: l.Pair, HeadFirst: l.HeadFirst}
	var err error
	if p.Base, err = h.slice(&l.Base); err != nil {
		return p, fmt.Errorf("base: %w", err)
	}
	if p.Head, err = h.slice(&l.Head); err != nil {
		return p, fmt.Errorf("head: %w", err)
	}
	return p, p.Check()
}

func (h *pairsHead) slice(l *sliceLine) (Slice, error) {
	if len(l.V) != len(h.Cells) || len(l.N) != len(h.Cells) || len(l.Failed) != len(h.Errors) || len(l.Total) != len(h.Errors) {
		return Slice{}, fmt.Errorf("it has not one entry for each of the %d cells and %d scenarios of the head", len(h.Cells), len(h.Errors))
	}
	var s Slice
	for i, c := range h.Cells {
		v, err := l.V[i].Float64()
		if err != nil {
			return Slice{}, fmt.Errorf("%s: %w", c, err)
		}
		if v != 0 {
			s.Figures = append(s.Figures, Figure{c.Scenario, c.Measure, v, l.N[i]})
		}
	}
	for i, name := range h.Errors {
		if l.Total[i] != 0 || l.Failed[i] != 0 {
			s.Errors = append(s.Errors, ErrorCount{name, l.Failed[i], l.Total[i]})
		}
	}
	return s, nil
}
