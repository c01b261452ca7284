package main

import (
	"os"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// readCertificate reads the file of --calibration, nil for none.
func readCertificate(file string) (*result.Calibration, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, usage("--calibration: cannot read %s: %v; make one with loadgen calibrate --out FILE", file, unwrapped(err))
	}
	defer f.Close()
	c, err := result.ReadCalibration(f)
	if err != nil {
		return nil, usage("--calibration %s: %w", file, err)
	}
	return c, nil
}
