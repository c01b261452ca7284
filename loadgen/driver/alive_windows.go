package driver

import "net"

// alive is always true: a connection that the server has closed shows when it is used.
func alive(net.Conn) bool { return true }
