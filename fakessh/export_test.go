package fakessh

import "github.com/pkg/sftp"

// ServeSFTP makes sessions use other handlers than those of the tree.
func (h *Host) ServeSFTP(handlers sftp.Handlers) { h.handlers = handlers }
