package loadgen

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	kernelTime = false
	os.Exit(m.Run())
}
