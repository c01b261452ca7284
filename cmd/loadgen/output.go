package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// outFiles are the files of --out and how they are rendered. The result comes first: from it the others can be made again.
var outFiles = []struct {
	name   string
	render reports.Render
}{
	{"result.json", reports.JSON}, {"report.md", reports.Markdown}, {"report.html", reports.HTML}, {"junit.xml", reports.JUnit},
}

// probeSize is what must fit into the folder of --out before a run starts, in bytes.
const probeSize = 256 << 10

// prepareOut makes the folder of --out and writes a file into it for trial, so that a run is not made in vain.
func prepareOut(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return harness("--out: cannot make %s: %v; name a folder that can be written", dir, unwrapped(err))
	}
	name, err := writeTemp(dir, make([]byte, probeSize))
	if err != nil {
		return harness("--out: cannot write into %s: %v; make room or name another folder", dir, unwrapped(err))
	}
	if err := os.Remove(name); err != nil {
		return harness("--out: cannot write into %s: %v; name another folder", dir, unwrapped(err))
	}
	return nil
}

// output writes the report to standard output and, with a folder, the files.
func output(stdout io.Writer, dir, format string, d *result.Doc) error {
	unlessEnding()
	var errs []error
	if dir != "" {
		for _, f := range outFiles {
			if err := writeFile(filepath.Join(dir, f.name), f.render, d); err != nil {
				errs = append(errs, fmt.Errorf("--out: cannot write %s: %v; make room or name another folder", filepath.Join(dir, f.name), unwrapped(err)))
				break // the others would fail alike
			}
		}
	}
	render, err := rendererFor(format, stdout)
	if err == nil {
		err = render(stdout, d)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("cannot write the report to standard output: %v", unwrapped(err)))
	}
	if len(errs) > 0 {
		return &exitError{exitHarness, errors.Join(errs...)}
	}
	return nil
}

// widestReport is the most columns that a report on a terminal takes: beyond, rows are hard to follow.
const widestReport = 100

// rendererFor finds a format; text fits the terminal behind w.
func rendererFor(format string, w io.Writer) (reports.Render, error) {
	if columns, _, ok := terminalSize(w); ok && format == "text" {
		return reports.TextFor(min(columns, widestReport)), nil
	}
	return reports.Renderer(format)
}

// writeFile renders a file whole or not at all: under another name first.
func writeFile(name string, render reports.Render, d *result.Doc) error {
	var b bytes.Buffer
	if err := render(&b, d); err != nil {
		return err
	}
	temp, err := writeTemp(filepath.Dir(name), b.Bytes())
	if err != nil {
		return err
	}
	if err := os.Chmod(temp, 0o644); err != nil {
		os.Remove(temp)
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		os.Remove(temp)
		return err
	}
	return nil
}

// writeTemp writes a new file into dir, to the disk, and leaves none behind when it fails.
func writeTemp(dir string, data []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, ".loadgen-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
