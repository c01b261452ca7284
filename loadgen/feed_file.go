package loadgen

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
)

// feedTable is what the file of a feed holds. It does not change once it is read.
type feedTable struct {
	path    string
	columns []string
	rows    [][]any // by column, up to the last that a row has; nil where it has none
	lines   []int   // where each row begins in the file, from 1
	bytes   int64   // of memory, roughly
	broken  bool    // the file could not be read, which was told
}

// feedError says what is wrong with a feed's file.
type feedError struct{ msg, remedy string }

// readFeed reads a file whose rows may take so many bytes of memory.
func readFeed(kind FeedKind, path string, limit int64) (*feedTable, *feedError) {
	data, err := readRegular(path, limit)
	if err != nil {
		return nil, err
	}
	t := &feedTable{path: path}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if kind == FeedCSV {
		err = t.readCSV(data, limit)
	} else {
		err = t.readJSON(data, limit)
	}
	if err == nil && len(t.rows) == 0 {
		err = &feedError{fmt.Sprintf("%s has no rows", path), "add at least one"}
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func readRegular(path string, limit int64) ([]byte, *feedError) {
	info, err := os.Stat(path)
	var at *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &feedError{fmt.Sprintf("there is no file %s", path), "put it there; paths begin at the folder of the scenario's file"}
	case errors.As(err, &at):
		return nil, &feedError{fmt.Sprintf("cannot read %s: %v", path, at.Err), "make it readable"}
	case !info.Mode().IsRegular():
		return nil, &feedError{fmt.Sprintf("%s is not a regular file", path), "name a file"}
	case info.Size() > limit:
		return nil, tooMuch(path, fmt.Sprintf("has %d bytes", info.Size()))
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &feedError{fmt.Sprintf("cannot read %s: %v", path, pathless(err)), "make it readable"}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, &feedError{fmt.Sprintf("cannot read %s: %v", path, pathless(err)), "make it readable"}
	}
	return data, nil
}

// pathless is the error without the file's name.
func pathless(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

func tooMuch(path, what string) *feedError {
	return &feedError{fmt.Sprintf("%s %s, too much beside the plan's other feeds", path, what),
		fmt.Sprintf("keep all of them within %d MiB of memory together", MaxFeedBytes>>20)}
}

// readCSV reads lines of equally many fields, the first of which names them.
func (t *feedTable) readCSV(data []byte, limit int64) *feedError {
	r := csv.NewReader(bytes.NewReader(data))
	for {
		record, err := r.Read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return t.badRecord(err, len(record))
		}
		line, _ := r.FieldPos(0)
		if t.columns == nil {
			if err := t.header(line, record); err != nil {
				return err
			}
			continue
		}
		row := make([]any, len(record))
		for i, v := range record {
			row[i] = v
		}
		if err := t.add(line, row, limit); err != nil {
			return err
		}
	}
}

func (t *feedTable) header(line int, names []string) *feedError {
	for i, name := range names {
		if name == "" {
			return &feedError{fmt.Sprintf("%s:%d: column %d has no name", t.path, line, i+1), "name each column in the first line"}
		}
		if slices.Contains(names[:i], name) {
			return &feedError{fmt.Sprintf("%s:%d: column %q occurs twice", t.path, line, name), "give each column its own name"}
		}
	}
	t.columns = names
	return nil
}

func (t *feedTable) badRecord(err error, fields int) *feedError {
	var at *csv.ParseError
	if !errors.As(err, &at) {
		return &feedError{fmt.Sprintf("%s: %v", t.path, err), "write it as CSV"}
	}
	if errors.Is(err, csv.ErrFieldCount) {
		return &feedError{fmt.Sprintf("%s:%d: the row has %d fields, the first line names %d", t.path, at.StartLine, fields, len(t.columns)),
			"give every row the same, and quote a field that holds a comma"}
	}
	return &feedError{fmt.Sprintf("%s:%d:%d: a quote is out of place", t.path, at.Line, at.Column),
		`put the whole field between quotes, and write a quote inside as ""`}
}

// readJSON reads a list of objects.
func (t *feedTable) readJSON(data []byte, limit int64) *feedError {
	d := json.NewDecoder(bytes.NewReader(data))
	if first, err := d.Token(); err != nil {
		return t.badJSON(data, err, d.InputOffset())
	} else if first != json.Delim('[') {
		return &feedError{fmt.Sprintf("%s:%d: it holds no list", t.path, lineAt(data, d.InputOffset())), "write [{…}, {…}]"}
	}
	at, lines := map[string]int{}, lineCounter{data: data, line: 1}
	for d.More() {
		begin := d.InputOffset()
		line := lines.at(begin + int64(len(data[begin:])-len(bytes.TrimLeft(data[begin:], ", \t\r\n"))))
		var item any
		if err := d.Decode(&item); err != nil {
			return t.badJSON(data, err, d.InputOffset())
		}
		object, ok := item.(map[string]any)
		if !ok {
			return &feedError{fmt.Sprintf("%s:%d: item %d is %s, not an object", t.path, line, len(t.rows)+1, brief(item)), "write {…} for each row"}
		}
		var row []any
		t.flatten("", object, func(column string, v any) {
			i, known := at[column]
			if !known {
				i = len(t.columns)
				at[column] = i
				t.columns = append(t.columns, column)
			}
			for len(row) <= i {
				row = append(row, nil)
			}
			row[i] = v
		})
		if err := t.add(line, row, limit); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return t.badJSON(data, err, d.InputOffset())
	}
	return nil
}

// flatten calls set for every field, those of objects inside under dotted names, in the order of their names.
func (t *feedTable) flatten(prefix string, object map[string]any, set func(column string, v any)) {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if inner, ok := object[name].(map[string]any); ok {
			t.flatten(prefix+name+".", inner, set)
		} else {
			set(prefix+name, object[name])
		}
	}
}

func (t *feedTable) badJSON(data []byte, err error, offset int64) *feedError {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	msg := err.Error()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, msg = int64(len(data)), "it ends too soon"
	}
	return &feedError{fmt.Sprintf("%s:%d: not valid JSON: %s", t.path, lineAt(data, offset), msg), "write a list of objects, [{…}, {…}]"}
}

// lineAt is the line of an offset, from 1.
func lineAt(data []byte, offset int64) int {
	l := lineCounter{data: data, line: 1}
	return l.at(offset)
}

// lineCounter finds the lines of ascending offsets.
type lineCounter struct {
	data   []byte
	offset int64
	line   int
}

func (l *lineCounter) at(offset int64) int {
	offset = min(offset, int64(len(l.data)))
	l.line += bytes.Count(l.data[l.offset:offset], []byte("\n"))
	l.offset = offset
	return l.line
}

// add keeps a row.
func (t *feedTable) add(line int, row []any, limit int64) *feedError {
	t.bytes += 32
	for _, v := range row {
		t.bytes += 16
		if s, ok := v.(string); ok {
			t.bytes += 16 + int64(len(s))
		} else if v != nil {
			t.bytes += sizeOf(v)
		}
	}
	if t.bytes > limit {
		return tooMuch(t.path, fmt.Sprintf("takes more than %d MiB up to line %d", limit>>20, line))
	}
	t.rows, t.lines = append(t.rows, row), append(t.lines, line)
	return nil
}

// sizeOf is roughly the memory of a decoded JSON value that is no text.
func sizeOf(v any) int64 {
	switch v := v.(type) {
	case string:
		return 16 + int64(len(v))
	case []any:
		n := int64(24)
		for _, e := range v {
			n += 16 + sizeOf(e)
		}
		return n
	case map[string]any:
		n := int64(48)
		for k, e := range v {
			n += 48 + int64(len(k)) + sizeOf(e)
		}
		return n
	}
	return 8
}

// at is what a row has in a column, nil for nothing.
func (t *feedTable) at(row, column int) any {
	if column >= len(t.rows[row]) {
		return nil
	}
	return t.rows[row][column]
}

// complete says which row has no text, number or truth value in a column.
func (t *feedTable) complete(column int) *feedError {
	for i := range t.rows {
		value := t.at(i, column)
		switch value.(type) {
		case string, float64, bool:
			continue
		case nil:
			return &feedError{fmt.Sprintf("%s:%d: row %d has no %s", t.path, t.lines[i], i+1, t.columns[column]), "give every row one"}
		}
		return &feedError{fmt.Sprintf("%s:%d: %s of row %d is %s", t.path, t.lines[i], t.columns[column], i+1, brief(value)),
			"use text, a number or a truth value"}
	}
	return nil
}
