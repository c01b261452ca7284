package gateway

import "net"

// alive is always true: a connection that the server has closed shows when it is used, and the call in it has an unknown outcome.
func alive(net.Conn) bool { return true }
