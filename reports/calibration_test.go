package reports

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

func TestCalibrationGolden(t *testing.T) {
	c := &result.Calibration{
		Schema: result.CalibrationSchema, Made: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Version: "v1.2.3", Git: "0123abcd",
		Host: result.Host{CPU: "Example CPU", Cores: 2, OS: "linux/amd64", Go: "go1.26"}, Rate: 500, DurationS: 60, Within: 0.02,
		Pacer:  []result.PacerCheck{{Rate: 500, LatenessP50NS: 61_000, LatenessP99NS: 212_000, CPUPercent: 4.2}, {Rate: 2000, LatenessP50NS: 58_000, LatenessP99NS: 180_000, CPUPercent: 11}},
		Floors: []result.CalibrationFloor{{Driver: "raw-ssh", P50NS: 402_000, P95NS: 715_000, P99NS: 1_020_000}},
		Checks: []result.CalibrationCheck{
			{Driver: "raw-ssh", Delay: "exponential, mean 10 ms", Statistic: "p50", N: 30_000, ReportedNS: 7_400_000, RecordedNS: 6_930_000, ExpectedNS: 7_361_000, Deviation: 0.0053},
			{Driver: "raw-ssh", Delay: "exponential, mean 10 ms", Statistic: "p99.9", N: 30_000, ReportedNS: 71_500_000, RecordedNS: 69_000_000, ExpectedNS: 69_500_000, Deviation: 0.0288},
		},
	}
	c.Judge()
	var b bytes.Buffer
	if err := Calibration(&b, c); err != nil {
		t.Fatal(err)
	}
	const file = "testdata/calibration.txt"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || !bytes.Equal(b.Bytes(), want) {
		t.Errorf("%s differs (%v); got\n%s", file, err, b.String())
	}
}
