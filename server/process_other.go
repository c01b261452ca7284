//go:build !unix

package server

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }

// descriptorLimit is not known here.
func descriptorLimit() int { return 0 }
