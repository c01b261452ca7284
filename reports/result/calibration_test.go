package result

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func certificate() *Calibration {
	c := &Calibration{
		Schema: CalibrationSchema, Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Version: "v1", Host: Host{CPU: "a CPU", Cores: 2, OS: "linux/amd64", Go: "go1.26"},
		Rate: 500, DurationS: 60, Within: 0.02,
		Pacer:  []PacerCheck{{Rate: 500, LatenessP50NS: 60_000, LatenessP99NS: 200_000, CPUPercent: 4}},
		Floors: []CalibrationFloor{{Driver: "raw-ssh", P50NS: 400_000, P95NS: 700_000, P99NS: 1_000_000}},
		Checks: []CalibrationCheck{
			{Driver: "raw-ssh", Delay: "fixed, 20 ms", Statistic: "p50", N: 30_000, ReportedNS: 20_600_000, RecordedNS: 20_100_000, ExpectedNS: 20_500_000, Deviation: 0.0049},
			{Driver: "raw-ssh", Delay: "fixed, 20 ms", Statistic: "p99", N: 30_000, ReportedNS: 20_900_000, RecordedNS: 20_100_000, ExpectedNS: 21_300_000, Deviation: -0.0188},
		},
	}
	c.Judge()
	return c
}

func TestCalibrationJudge(t *testing.T) {
	c := certificate()
	if !c.OK || len(c.Why) != 0 || c.Worst() != 0.0188 {
		t.Errorf("ok %v, why %q, worst %v", c.OK, c.Why, c.Worst())
	}
	c.Checks[1].Deviation = -0.021
	if c.Judge(); c.OK || len(c.Why) != 1 || c.Why[0] != "raw-ssh, fixed, 20 ms: p99 is -2.1 % off, more than 2 %" {
		t.Errorf("ok %v, why %q", c.OK, c.Why)
	}
	c.Checks = nil
	if c.Judge(); c.OK {
		t.Error("a certificate of nothing holds")
	}
}

func TestCalibrationRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := WriteCalibration(&b, certificate()); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	c, err := ReadCalibration(&b)
	if err != nil || c.Checks[1].ExpectedNS != 21_300_000 || !c.OK {
		t.Errorf("%+v, %v", c, err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"no JSON", "certificate", "it is no JSON"},
		{"another schema", `{"schema":"x"}`, `its schema is "x"`},
		{"empty", `{"schema":"` + CalibrationSchema + `"}`, "lacks made, rate or duration_s"},
		{"edited", strings.Replace(text, "-0.0188", "-0.2", 1), "its verdict is not what its figures say"},
		{"too long", strings.Repeat(" ", maxCalibration+1), "more than 1048576 bytes"},
	} {
		if _, err := ReadCalibration(strings.NewReader(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}
