//go:build !linux

package loadgen

import (
	"errors"
	"time"
)

var errNoAccounts = errors.New("the accounts of processes are read on Linux alone")

func readProcess(int) (processUsage, error) { return processUsage{}, errNoAccounts }

func threadWait() (wait time.Duration, ok bool) { return 0, false }

func throttled() time.Duration { return 0 }
