package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

func TestParseLatency(t *testing.T) {
	l, err := parseLatency("exec=5ms,sftp=1s~100ms", 7)
	if err != nil {
		t.Fatal(err)
	}
	if l.Seed != 7 || l.Connect != nil {
		t.Errorf("seed %d, connect set: %v", l.Seed, l.Connect != nil)
	}
	r := rand.New(rand.NewPCG(7, 0))
	if got := l.Exec(r); got != 5*time.Millisecond {
		t.Errorf("exec waits %v", got)
	}
	a, b := l.SFTP(r), l.SFTP(r)
	if a == b || a < 500*time.Millisecond || a > 1500*time.Millisecond {
		t.Errorf("sftp waits %v and %v, want two draws around 1s", a, b)
	}
}

func TestParseLatencyRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"exec":              "has no =",
		"exec=":             `"" is no duration`,
		"exec=5":            `"5" is no duration`,
		"exec=-5ms":         `"-5ms" is no duration`,
		"exec=5ms~":         `"" is no duration`,
		"shell=5ms":         `unknown operation "shell"`,
		"exec=1ms,exec=2ms": "stands twice",
		"exec=1ms,":         "has no =",
	} {
		if _, err := parseLatency(text, 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %s", text, err, want)
		}
	}
}

func FuzzParseLatency(f *testing.F) {
	f.Add("exec=5ms~1ms,sftp=500us,connect=1s")
	f.Add("exec=~,=")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLatency(text, 1)
		if err != nil {
			return
		}
		r := rand.New(rand.NewPCG(1, 0))
		for _, d := range []fakessh.Delay{l.Connect, l.Exec, l.SFTP} {
			if d != nil {
				d(r)
			}
		}
	})
}
