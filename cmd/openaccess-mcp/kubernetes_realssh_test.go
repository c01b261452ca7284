//go:build realssh

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/driver"
	"github.com/openaccess-mcp/openaccess-mcp/server"
)

// TestKubernetesPods runs the containers of a pod of servers and those beside a shard of the load as processes, with real nginx, on this machine. Only
// addresses and folders are changed. A call goes from the shard's side to a host, and nothing gets in without a token.
func TestKubernetesPods(t *testing.T) {
	root, host := t.TempDir(), fakessh.Start(fakessh.Options{})
	t.Cleanup(func() { host.Close() })
	must(t, host.WriteProfile(filepath.Join(root, "host"), "web-01"))
	m, load := readManifests(t, "server.yaml"), readManifests(t, "loadgen.yaml")
	tokens := filepath.Join(root, "tokens.yaml")
	token, err := server.NewToken(tokens, server.TokenOptions{Name: "loadgen"})
	must(t, err)
	moved := podFiles(t, m, root, contents(t, tokens), map[string]string{"web-01.json": contents(t, filepath.Join(root, "host/profiles/web-01.json"))},
		map[string]string{"web-01.json": contents(t, filepath.Join(root, "host/secrets/web-01.json"))})
	certificate(t, filepath.Join(root, "etc/tls"), "openaccess-mcp")
	layOut(t, filepath.Join(root, "etc/token/token.conf"), strings.ReplaceAll(readManifests(t, "secrets.yaml").secrets["openaccess-mcp-loadgen-token"].StringData["token.conf"],
		"oamcp_replace-me", token), 0o440)
	addresses := strings.NewReplacer("127.0.0.1:8731", freeAddr(t), "127.0.0.1:8732", freeAddr(t), "127.0.0.1:8721", freeAddr(t))
	layOut(t, filepath.Join(root, "etc/gateway.yaml"), addresses.Replace(m.configs["openaccess-mcp"].Data["gateway.yaml"]), 0o644)
	for _, c := range m.deployments[0].Spec.Template.Spec.Containers {
		var args []string
		for _, a := range c.Args {
			args = append(args, strings.Replace(addresses.Replace(moved(a)), "/config/gateway.yaml", "/gateway.yaml", 1))
		}
		if len(args) > 0 {
			start(t, args...)
		}
	}
	front, local := freeAddr(t), freeAddr(t)
	startNginx(t, front, strings.Replace(addresses.Replace(moved(m.configs["openaccess-mcp"].Data["nginx.conf"])), "listen 8443 ssl", "listen "+front+" ssl", 1))
	startNginx(t, local, strings.NewReplacer("openaccess-mcp:8443", front, "127.0.0.1:8720", local).Replace(moved(load.configs["loadgen"].Data["nginx.conf"])))
	d, err := driver.HTTP(t.Context(), driver.HTTPConfig{URL: "http://" + local + "/mcp", Client: driver.Client{Protocol: "2026-07-28"}})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	s, err := d.Open(t.Context())
	must(t, err)
	reply, err := s.Call(t.Context(), loadgen.Call{Tool: "ssh_exec", Args: map[string]any{"profile_id": "web-01", "command": "echo hi"}})
	if err != nil || reply.Data["stdout"] != "hi\n" {
		t.Errorf("got %+v, %v", reply, err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // as the kubelet probes
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/mcp": 401, "/status": 404, "/metrics": 404} {
		resp, err := client.Post("https://"+front+path, "application/json", strings.NewReader("{}"))
		if path == "/healthz" || path == "/readyz" {
			resp, err = client.Get("https://" + front + path)
		}
		must(t, err)
		body, _ := io.ReadAll(resp.Body)
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%s answers %d, want %d\n%s", path, resp.StatusCode, want, body)
		}
	}
}

// startNginx checks and runs a configuration of the manifests, whose temporary files go to a folder of the test, until it listens at addr.
func startNginx(t *testing.T, addr, config string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	layOut(t, file, strings.NewReplacer("pid /tmp/", "pid "+dir+"/", "temp_path /tmp/", "temp_path "+dir+"/").Replace(config), 0o644)
	path, err := exec.LookPath("nginx")
	if err != nil {
		path = "/usr/sbin/nginx" // not on every user's PATH
	}
	if out, err := exec.Command(path, "-t", "-p", dir, "-c", file).CombinedOutput(); err != nil {
		t.Fatalf("nginx does not accept the manifest's configuration: %v (install Debian's nginx)\n%s", err, out)
	}
	log := &syncLog{}
	cmd := exec.Command(path, "-g", "daemon off;", "-p", dir, "-c", file)
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("nginx said:\n%s", log)
		}
	})
	eventually(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// certificate makes tls.crt, tls.key and ca.crt for a name.
func certificate(t *testing.T, dir, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	pair := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	layOut(t, filepath.Join(dir, "tls.crt"), pair, 0o644)
	layOut(t, filepath.Join(dir, "ca.crt"), pair, 0o644)
	layOut(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
}

func contents(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	must(t, err)
	return string(data)
}
