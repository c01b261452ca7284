package scenarios

import (
	"path/filepath"
	"testing"
)

// TestTuningScenarios keeps the scenarios behind docs/tuning.md valid.
func TestTuningScenarios(t *testing.T) {
	files, err := filepath.Glob("../docs/examples/tuning/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		if _, err := Load(file); err != nil {
			t.Error(err)
		}
	}
}
