package gateway_test

import (
	"context"
	"fmt"

	"github.com/openaccess-mcp/openaccess-mcp/server/gateway"
)

// A gateway over two servers, asked how they are before it runs.
func ExampleNew() {
	g, err := gateway.New(gateway.Config{
		Listen:   "127.0.0.1:0",
		Backends: []gateway.Backend{{URL: "http://127.0.0.1:8731/mcp"}, {URL: "http://127.0.0.1:8732", Drain: true}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, b := range g.Status().Backends {
		fmt.Println(b.URL, b.State)
	}
	ctx, stop := context.WithCancel(context.Background())
	stop() // at once; a program would do so at SIGTERM
	fmt.Println(g.Run(ctx))
	// Output:
	// http://127.0.0.1:8731/mcp ready
	// http://127.0.0.1:8732/mcp drained
	// <nil>
}
