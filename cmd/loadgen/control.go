package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
)

// hostControl is what can be asked of the fake host while it runs.
type hostControl interface {
	setFaults(fakessh.Faults) error
	delays() (hostDelays, error) // since the start, or the last reset
	reset() error
	stats() (fakessh.Stats, error)
}

// hostDelays are how long operations were in the fake host before it began to answer, as it has recorded them itself.
type hostDelays struct{ connect, exec, sftp *stats.Histogram }

// newHostDelays converts what the host gives. The host and the generator share no code, only the encoding.
func newHostDelays(d fakessh.Delays) (out hostDelays, err error) {
	for _, h := range []struct {
		from fakessh.Histogram
		to   **stats.Histogram
	}{{d.Connect, &out.connect}, {d.Exec, &out.exec}, {d.SFTP, &out.sftp}} {
		text, err := h.from.Encode()
		if err == nil {
			*h.to, err = stats.Decode(text)
		}
		if err != nil {
			return out, fmt.Errorf("the fake host's delays: %w", err)
		}
	}
	return out, nil
}

// localControl is that of a fake host in this process.
type localControl struct{ host *fakessh.Host }

func (c localControl) setFaults(f fakessh.Faults) error { return c.host.SetFaults(f) }
func (c localControl) delays() (hostDelays, error)      { return newHostDelays(c.host.Delays()) }
func (c localControl) reset() error                     { c.host.ResetDelays(); return nil }
func (c localControl) stats() (fakessh.Stats, error)    { return c.host.Stats(), nil }

// The requests that the isolated fake host takes on its standard input, one a line. It answers each with one line of JSON.
const (
	askFaults = "faults" // with fakessh.Faults as JSON behind it
	askDelays = "delays"
	askReset  = "reset"
	askStats  = "stats"
)

// hostReply is the answer to one request.
type hostReply struct {
	Error  string          `json:"error,omitempty"`
	Delays *fakessh.Delays `json:"delays,omitempty"`
	Stats  *fakessh.Stats  `json:"stats,omitempty"`
}

// maxRequest bounds a request in bytes. A description of faults is far below it.
const maxRequest = 1 << 20

// serveControl answers requests until they end, however they do.
func serveControl(host *fakessh.Host, requests io.Reader, replies io.Writer) error {
	lines := bufio.NewScanner(requests)
	lines.Buffer(nil, maxRequest)
	out := json.NewEncoder(replies)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		if err := out.Encode(answer(host, verb, rest)); err != nil {
			return err
		}
	}
	return nil
}

func answer(host *fakessh.Host, verb, rest string) (r hostReply) {
	switch verb {
	case askFaults:
		var f fakessh.Faults
		err := json.Unmarshal([]byte(rest), &f)
		if err == nil {
			err = host.SetFaults(f)
		}
		if err != nil {
			r.Error = err.Error()
		}
	case askDelays:
		d := host.Delays()
		r.Delays = &d
	case askReset:
		host.ResetDelays()
	case askStats:
		s := host.Stats()
		r.Stats = &s
	default:
		r.Error = fmt.Sprintf("unknown request %q", verb)
	}
	return r
}

// remoteControl is that of a fake host in a process of its own. It is safe for concurrent use.
type remoteControl struct {
	mu  sync.Mutex
	in  io.Writer
	out *bufio.Reader
}

func (c *remoteControl) ask(request string) (r hostReply, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := io.WriteString(c.in, request+"\n"); err != nil {
		return r, fmt.Errorf("the fake host does not listen: %w", err)
	}
	line, err := c.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		return r, fmt.Errorf("the fake host does not answer: %w", err)
	}
	if r.Error != "" {
		return r, errors.New("the fake host: " + r.Error)
	}
	return r, nil
}

func (c *remoteControl) setFaults(f fakessh.Faults) error {
	text, err := json.Marshal(f)
	if err == nil {
		_, err = c.ask(askFaults + " " + string(text))
	}
	return err
}

func (c *remoteControl) delays() (hostDelays, error) {
	r, err := c.ask(askDelays)
	if err == nil && r.Delays == nil {
		err = errors.New("the fake host tells no delays")
	}
	if err != nil {
		return hostDelays{}, err
	}
	return newHostDelays(*r.Delays)
}

func (c *remoteControl) reset() error {
	_, err := c.ask(askReset)
	return err
}

func (c *remoteControl) stats() (fakessh.Stats, error) {
	r, err := c.ask(askStats)
	if err == nil && r.Stats == nil {
		err = errors.New("the fake host tells no figures")
	}
	if err != nil {
		return fakessh.Stats{}, err
	}
	return *r.Stats, nil
}
