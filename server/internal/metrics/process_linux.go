package metrics

import (
	"strings"

	"github.com/prometheus/procfs"
)

// ReadProcess asks the kernel for the accounts of this process.
func ReadProcess() Process {
	u := unknown
	p, err := procfs.Self()
	if err != nil {
		return u
	}
	if stat, err := p.Stat(); err == nil {
		u.Virtual, u.Resident = int64(stat.VirtualMemory()), int64(stat.ResidentMemory())
		u.CPU, u.Threads = stat.CPUTime(), int64(stat.NumThreads)
	}
	if targets, err := p.FileDescriptorTargets(); err == nil {
		u.Descriptors, u.Sockets = int64(len(targets)), 0
		for _, t := range targets {
			if strings.HasPrefix(t, "socket:") {
				u.Sockets++
			}
		}
	}
	if limits, err := p.Limits(); err == nil {
		u.MaxDescriptors = int64(limits.OpenFiles)
	}
	if net, err := p.Netstat(); err == nil && net.InOctets != nil && net.OutOctets != nil {
		u.Received, u.Sent = int64(*net.InOctets), int64(*net.OutOctets)
	}
	return u
}
