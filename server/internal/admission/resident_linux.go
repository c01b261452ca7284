package admission

import (
	"bytes"
	"os"
	"strconv"
)

// residentReader returns a function that reads the resident bytes of the process, and one that ends it.
func residentReader() (read func() (int64, bool), done func()) {
	f, err := os.Open("/proc/self/statm")
	if err != nil {
		return managed, func() {}
	}
	page := int64(os.Getpagesize())
	buf := make([]byte, 128)
	return func() (int64, bool) {
		n, _ := f.ReadAt(buf, 0)
		fields := bytes.Fields(buf[:n])
		if len(fields) < 2 {
			return managed()
		}
		pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
		return pages * page, err == nil
	}, func() { f.Close() }
}
