package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzEvents wants every byte of a stream passed on in order, up to the end of its last event, and each event to end with an empty line.
func FuzzEvents(f *testing.F) {
	for _, s := range []string{"", "\n", "data: 1\n\n", "data: 1\r\n\r\ndata: 2\n\n: half", "id: 1\ndata:\n\n\n\n", strings.Repeat("x", 100) + "\n\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stream string) {
		e := eventReader{in: bufio.NewReaderSize(iotest.HalfReader(strings.NewReader(stream)), 16), most: 1 << 20}
		var passed string
		for {
			event, err := e.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(event), "\n")
			if n := len(lines); n < 2 || lines[n-1] != "" || strings.Trim(lines[n-2], "\r") != "" {
				t.Fatalf("the event %q does not end with an empty line", event)
			}
			_ = isResponse(event) // must not panic
			passed += string(event)
		}
		rest, whole := strings.CutPrefix(stream, passed)
		if !whole || strings.Contains(rest, "\n\n") {
			t.Errorf("of %q, %q was passed on", stream, passed)
		}
	})
}

// FuzzIsResponse compares the quick look at a message with decoding it.
func FuzzIsResponse(f *testing.F) {
	for _, s := range []string{`{"id":1,"result":{}}`, `{"result":1,"method":"x"}`, `{"method":"x","result":1}`, `{"a":{"result":1}}`, `[]`, `{"error":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		var members map[string]json.RawMessage
		if bytes.ContainsAny(message, "\r\n") || json.Unmarshal(message, &members) != nil {
			return
		}
		_, method := members["method"]
		_, result := members["result"]
		_, failure := members["error"]
		if method && (result || failure) {
			return // neither one nor the other
		}
		if got := isResponse([]byte("data: " + string(message) + "\n\n")); got != (result || failure) {
			t.Errorf("%s is taken for a response: %v", message, got)
		}
	})
}
