package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
)

// parseLatency reads OP=MEAN[~STDDEV] pairs, separated by commas. Each of the
// operations connect, exec and sftp may stand once.
func parseLatency(text string, seed uint64) (fakessh.Latency, error) {
	l := fakessh.Latency{Seed: seed}
	if text == "" {
		return l, nil
	}
	for _, pair := range strings.Split(text, ",") {
		op, value, ok := strings.Cut(pair, "=")
		if !ok {
			return l, fmt.Errorf("%q has no =; write OP=MEAN or OP=MEAN~STDDEV", pair)
		}
		var target *fakessh.Delay
		switch op {
		case "connect":
			target = &l.Connect
		case "exec":
			target = &l.Exec
		case "sftp":
			target = &l.SFTP
		default:
			return l, fmt.Errorf("unknown operation %q; there are connect, exec and sftp", op)
		}
		if *target != nil {
			return l, fmt.Errorf("operation %q stands twice", op)
		}
		delay, err := parseDelay(value)
		if err != nil {
			return l, fmt.Errorf("%s: %v", op, err)
		}
		*target = delay
	}
	return l, nil
}

func parseDelay(text string) (fakessh.Delay, error) {
	mean, stddev, spread := strings.Cut(text, "~")
	m, err := parseWait(mean)
	if err != nil || !spread {
		return fakessh.Fixed(m), err
	}
	s, err := parseWait(stddev)
	return fakessh.Normal(m, s), err
}

func parseWait(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; write one such as 5ms", text)
	}
	return d, nil
}
