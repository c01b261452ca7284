package fakessh_test

import (
	"context"
	"fmt"
	"io"
	"log"

	gossh "golang.org/x/crypto/ssh"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func Example() {
	host := fakessh.Start(fakessh.Options{})
	defer host.Close()

	client, err := gossh.Dial("tcp", host.Addr(), &gossh.ClientConfig{
		User:            "anyone",
		Auth:            []gossh.AuthMethod{gossh.Password("anything")},
		HostKeyCallback: gossh.FixedHostKey(host.HostKey()),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	out, err := session.Output("echo hello")
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// hello
	// <nil>
}

func ExampleHost_Handle() {
	host := fakessh.Start(fakessh.Options{Users: map[string]fakessh.User{"ann": {Password: "secret"}}})
	defer host.Close()
	host.Handle("uptime", func(_ context.Context, c *fakessh.Command) int {
		fmt.Fprintf(c.Stdout, "up 3 days, says %s\n", c.User)
		return 0
	})

	client, err := gossh.Dial("tcp", host.Addr(), &gossh.ClientConfig{
		User:            "ann",
		Auth:            []gossh.AuthMethod{gossh.Password("secret")},
		HostKeyCallback: gossh.FixedHostKey(host.HostKey()),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		log.Fatal(err)
	}
	out, _ := session.Output("uptime")
	fmt.Print(string(out))
	fmt.Printf("%+v\n", host.Stats().Commands["uptime"])
	// Output:
	// up 3 days, says ann
	// {Started:1 Finished:1 Killed:0}
}

func ExampleHost_FS() {
	host := fakessh.Start(fakessh.Options{})
	defer host.Close()
	if err := host.FS().WriteFile("/etc-motd", []byte("welcome\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	file, err := host.FS().Open("etc-motd")
	if err != nil {
		log.Fatal(err)
	}
	defer file.Close()
	text, _ := io.ReadAll(file)
	fmt.Print(string(text))
	// Output: welcome
}
