//go:build !linux

package netem

import (
	"errors"
	"time"
)

// alarm does not exist here; Go's own timers do its work.
type alarm struct{}

func newAlarm() (*alarm, error) { return nil, errors.ErrUnsupported }

func (*alarm) set(time.Time) {}
func (*alarm) ring() bool    { return false }
func (*alarm) close()        {}
