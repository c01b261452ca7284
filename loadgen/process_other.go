//go:build !linux

package loadgen

import (
	"errors"
	"time"
)

var errNoAccounts = errors.New("the accounts of processes are read on Linux alone")

func readProcess(int) (processUsage, error) { return processUsage{}, errNoAccounts }

func ownThreadWait() time.Duration { return 0 }

func kernelSleep(d time.Duration) { time.Sleep(d) }

func throttled() time.Duration { return 0 }
