package driver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// events reads the messages of an event stream. What is not data (names, ids, comments) is passed over.
type events struct {
	r    *bufio.Reader
	data []byte
	long []byte // a line longer than r's buffer
}

func newEvents(r io.Reader) *events { return &events{r: bufio.NewReader(r)} }

// next returns the data of the next event that has any, valid until the call after. The error is io.EOF at the end of the stream.
func (e *events) next() ([]byte, error) {
	e.data = e.data[:0]
	for {
		line, err := e.line()
		if err != nil {
			return nil, err
		}
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			e.data = append(append(e.data, bytes.TrimPrefix(value, []byte(" "))...), '\n')
		}
		if len(e.data) > maxLine {
			return nil, errEvent
		}
		if len(line) == 0 && len(e.data) > 0 {
			return e.data[:len(e.data)-1], nil
		}
	}
}

var errEvent = fmt.Errorf("the server sent an event of more than %d MiB", maxLine>>20)

// line reads one line without its end.
func (e *events) line() ([]byte, error) {
	e.long = e.long[:0]
	for {
		part, err := e.r.ReadSlice('\n')
		if err == nil && len(e.long) == 0 {
			return bytes.TrimRight(part, "\r\n"), nil
		}
		e.long = append(e.long, part...)
		switch {
		case len(e.long) > maxLine:
			return nil, errEvent
		case err == nil:
			return bytes.TrimRight(e.long, "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}
