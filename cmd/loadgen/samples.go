package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// samplesFile is where --samples puts the samples of a run. A nil one takes none.
type samplesFile struct {
	name   string
	file   *os.File
	export *loadgen.Export
}

// checkSamples finds mistakes in --samples and --samples-max.
func (o *runOptions) checkSamples() error {
	switch {
	case o.samples == "" && o.overrides.changed("samples-max"):
		return usage("--samples-max bounds the file of --samples, which is not given: add it, or drop this")
	case o.samples != "" && !strings.HasSuffix(o.samples, ".gz"):
		return usage("--samples %s: the file is CSV compressed by gzip: end its name in .csv.gz", o.samples)
	case o.samplesMax < 1:
		return usage("--samples-max %d is not above 0: give a number of samples", o.samplesMax)
	}
	return nil
}

func openSamples(name string, limit int64) (*samplesFile, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Create(name)
	if err != nil {
		return nil, usage("--samples: %w", err)
	}
	return &samplesFile{name: name, file: f, export: loadgen.StartExport(f, limit)}, nil
}

// into adds the export to the options of runs.
func (s *samplesFile) into(opts loadgen.Options) loadgen.Options {
	if s != nil {
		opts.Export = s.export
	}
	return opts
}

// close completes the file and says what it holds.
func (s *samplesFile) close(w io.Writer) error {
	if s == nil {
		return nil
	}
	counts, err := s.export.Close()
	if closeErr := s.file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return harness("cannot write the samples: %w", err)
	}
	fmt.Fprintf(w, "%s: %d samples", s.name, counts.Written)
	if counts.Beyond > 0 {
		fmt.Fprintf(w, "; left out: the last %d, beyond --samples-max", counts.Beyond)
	}
	if counts.Late > 0 {
		fmt.Fprintf(w, "; left out: %d that came faster than they could be written", counts.Late)
	}
	fmt.Fprintln(w)
	return nil
}
