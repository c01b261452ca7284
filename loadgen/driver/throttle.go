package driver

import (
	"io"
	"time"
)

// slowReader reads no faster than rate bytes per second, in about twenty pieces a second.
type slowReader struct {
	r    io.Reader
	rate int64
}

// throttled bounds how fast r is read; a rate of 0 does not.
func throttled(r io.Reader, rate int64) io.Reader {
	if rate == 0 {
		return r
	}
	return slowReader{r, rate}
}

func (s slowReader) Read(p []byte) (int, error) {
	p = p[:min(int64(len(p)), max(1, s.rate/20))]
	n, err := s.r.Read(p)
	time.Sleep(time.Duration(int64(n) * int64(time.Second) / s.rate))
	return n, err
}
