package secret

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Value is a text that refuses to print: every way of fmt, log/slog and the
// encoders to show it gives "[redacted]". Reveal is the only way to the text.
// The zero value is empty. Values are immutable and safe for concurrent use.
type Value struct {
	// A pointer, so that fmt shows at most an address where Value sits in an
	// unexported field, on which fmt calls no methods.
	text *string
}

// NewValue hides s.
func NewValue(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{&s}
}

// Reveal returns the hidden text.
func (v Value) Reveal() string {
	if v.text == nil {
		return ""
	}
	return *v.text
}

// IsZero says whether the hidden text is empty.
func (v Value) IsZero() bool { return v.text == nil }

// String returns "[redacted]".
func (Value) String() string { return redacted }

// GoString returns "[redacted]".
func (Value) GoString() string { return redacted }

// Format writes "[redacted]" for every verb and flag.
func (Value) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// MarshalText returns "[redacted]".
func (Value) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// LogValue returns "[redacted]".
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }
