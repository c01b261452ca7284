package loadgen

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

// fileEqual compiles the names of a check that compares files.
func (c *planCompiler) fileEqual(path string, ch Check, sc scope) (files [2]text) {
	if ch.Field != "" || ch.Op != "" || ch.Value != nil {
		c.add(path, "the check compares both a field and files", "keep field, op and value, or file_equal")
	}
	for i, name := range []struct{ key, path string }{{"local", ch.FileEqual.Local}, {"with", ch.FileEqual.With}} {
		at := path + ".file_equal." + name.key
		if name.path == "" {
			c.add(at, "names no file", "write its path; a relative one begins at ${workdir}")
		}
		t, err := parseText(name.path, sc)
		if err != nil {
			c.text(at, err.(*textError))
		}
		files[i] = t
	}
	return files
}

// compareFiles says how two files differ, "" when their bytes are the same.
func compareFiles(local, with string) (why string) {
	a, size, err := openForComparison(local)
	if err != nil {
		return fmt.Sprintf("cannot compare %s: %v", local, pathless(err))
	}
	defer a.Close()
	b, wanted, err := openForComparison(with)
	if err != nil {
		return fmt.Sprintf("cannot compare with %s: %v", with, pathless(err))
	}
	defer b.Close()
	x, y := bufio.NewReaderSize(a, 64<<10), bufio.NewReaderSize(b, 64<<10)
	for at := int64(0); ; at++ {
		got, errA := x.ReadByte()
		want, errB := y.ReadByte()
		switch {
		case errA == io.EOF && errB == io.EOF:
			return ""
		case errA == io.EOF || errB == io.EOF:
			return fmt.Sprintf("%s has %d bytes, want the %d of %s: one is the beginning of the other", local, size, wanted, with)
		case errA != nil || errB != nil:
			return fmt.Sprintf("cannot compare %s with %s: %v %v", local, with, errA, errB)
		case got != want:
			return fmt.Sprintf("%s (%d bytes) differs from %s (%d bytes) at byte %d: it is 0x%02x, want 0x%02x", local, size, with, wanted, at, got, want)
		}
	}
}

func openForComparison(name string) (f *os.File, size int64, err error) {
	if f, err = os.Open(name); err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("it is not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}
