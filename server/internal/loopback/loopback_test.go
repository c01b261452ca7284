package loopback

import (
	"net/http"
	"testing"
)

func TestCheck(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:0": true, "127.8.9.1:80": true, "[::1]:80": true, "localhost:1": true, "LOCALHOST:1": true,
		"0.0.0.0:0": false, ":80": false, "[::]:0": false, "192.0.2.1:80": false, "example.com:80": false, "localhost.example.com:1": false, "nonsense": false,
	} {
		if err := Check(addr); (err == nil) != ok {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestForeign(t *testing.T) {
	for _, tc := range []struct {
		host, origin string
		foreign      bool
	}{
		{"127.0.0.1:1", "", false},
		{"localhost", "http://[::1]:3", false},
		{"[::1]", "", false},
		{"evil.example", "", true},
		{"127.0.0.1.evil.example:80", "", true},
		{"", "", true},
		{"localhost:1", "https://evil.example", true},
		{"localhost:1", "null", true},
		{"localhost:1", "http://localhost.evil.example", true},
		{"localhost:1", "http://%zz", true},
	} {
		r := &http.Request{Host: tc.host, Header: http.Header{}}
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		if why := Foreign(r); (why != "") != tc.foreign {
			t.Errorf("Host %q, Origin %q: %q", tc.host, tc.origin, why)
		}
	}
}
