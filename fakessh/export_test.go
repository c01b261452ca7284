package fakessh

import (
	"time"

	"github.com/pkg/sftp"
)

// ServeSFTP makes sessions use other handlers than those of the tree.
func (h *Host) ServeSFTP(handlers sftp.Handlers) { h.handlers = handlers }

// SetGrace sets how long Close waits.
func (h *Host) SetGrace(d time.Duration) { h.grace = d }
