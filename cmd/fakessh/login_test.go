package main

import (
	"encoding/json"
	"net"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	gossh "golang.org/x/crypto/ssh"
)

// sshEcho logs in with a written profile and runs echo, or wants the login to
// fail: [!] ssh-echo DIR ID.
func sshEcho(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] ssh-echo DIR ID")
	}
	client, err := login(ts, args[0], args[1])
	if neg && err != nil {
		return
	}
	ts.Check(err)
	if neg {
		client.Close()
		ts.Fatalf("the login works")
	}
	defer client.Close()
	session, err := client.NewSession()
	ts.Check(err)
	out, err := session.Output("echo it works")
	ts.Check(err)
	if string(out) != "it works\n" {
		ts.Fatalf("echo gives %q", out)
	}
}

// login dials the host of a profile as a server would.
func login(ts *testscript.TestScript, dir, id string) (*gossh.Client, error) {
	var profile struct {
		Host, Username string
		Port           int
		HostKey        string `json:"host_key"`
	}
	var secret struct {
		Password   string
		PrivateKey string `json:"private_key"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(dir+"/profiles/"+id+".json")), &profile))
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(dir+"/secrets/"+id+".json")), &secret))
	key, _, _, _, err := gossh.ParseAuthorizedKey([]byte(profile.HostKey))
	ts.Check(err)
	auth := gossh.Password(secret.Password)
	if secret.PrivateKey != "" {
		signer, err := gossh.ParsePrivateKey([]byte(secret.PrivateKey))
		ts.Check(err)
		auth = gossh.PublicKeys(signer)
	}
	return gossh.Dial("tcp", net.JoinHostPort(profile.Host, strconv.Itoa(profile.Port)), &gossh.ClientConfig{
		User: profile.Username, Auth: []gossh.AuthMethod{auth}, HostKeyCallback: gossh.FixedHostKey(key),
	})
}
