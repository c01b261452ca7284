//go:build proof && linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// asAbuser has the test's program be an abuser, whose work is the value.
const asAbuser = "OPENACCESS_TEST_ABUSER"

func init() {
	if text := os.Getenv(asAbuser); text != "" {
		if err := abuseUntilEOF(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// abuser is the work of a process that does nothing but what must be refused.
type abuser struct {
	Address           string
	Idle              int    // connections that say nothing, or no more than the begin of a request
	Good, Old, Scoped string // tokens: in order, expired, and for another profile

	opened atomic.Int64
}

// abuseReport is what an abuser saw.
type abuseReport struct {
	Kinds  []kindSeen
	Opened int64 // idle connections, those that came again included
}

// kindSeen is what became of one kind of request.
type kindSeen struct {
	Name           string
	Refused, Wrong int64
	Taken          int64 // most bytes of a body
	Last           string
}

// add adds what another abuser saw.
func (r *abuseReport) add(more abuseReport) {
	r.Opened += more.Opened
	if r.Kinds == nil {
		r.Kinds = more.Kinds
		return
	}
	for i, k := range more.Kinds {
		sum := &r.Kinds[i]
		sum.Refused, sum.Wrong, sum.Taken = sum.Refused+k.Refused, sum.Wrong+k.Wrong, max(sum.Taken, k.Taken)
		if k.Last != "" {
			sum.Last = k.Last
		}
	}
}

// abuseUntilEOF writes an empty report once all has begun, and a full one when standard input has ended.
func abuseUntilEOF(text string) error {
	var a abuser
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	kinds := a.kinds()
	stop := a.begin(kinds)
	if err := out.Encode(abuseReport{}); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
	report := abuseReport{Opened: a.opened.Load()}
	for _, k := range kinds {
		report.Kinds = append(report.Kinds, k.kindSeen)
	}
	return out.Encode(report)
}

func (a *abuser) kinds() []*refused {
	return []*refused{
		{kindSeen: kindSeen{Name: "no token"}, want: "401"},
		{kindSeen: kindSeen{Name: "a wrong token"}, want: "401", header: "Authorization: Bearer " + a.Good + "x\r\n"},
		{kindSeen: kindSeen{Name: "an expired token"}, want: "401", header: "Authorization: Bearer " + a.Old + "\r\n"},
		{kindSeen: kindSeen{Name: "a token for another profile"}, want: "200", body: "AUTHORIZATION_FAILED", header: "Authorization: Bearer " + a.Scoped + "\r\n"},
		{kindSeen: kindSeen{Name: "a foreign origin"}, want: "403", header: "Origin: https://evil.example\r\nAuthorization: Bearer " + a.Good + "\r\n"},
		{kindSeen: kindSeen{Name: "a foreign host"}, want: "403", host: "evil.example", header: "Authorization: Bearer " + a.Good + "\r\n"},
		{kindSeen: kindSeen{Name: "1 GiB"}, want: "413", length: 1 << 30, header: "Authorization: Bearer " + a.Good + "\r\n", pause: 200 * time.Millisecond},
		{kindSeen: kindSeen{Name: "1 GiB without a token"}, want: "401", length: 1 << 30, pause: 200 * time.Millisecond},
		{kindSeen: kindSeen{Name: "1 GiB of unknown length"}, length: -1, header: "Authorization: Bearer " + a.Good + "\r\n", pause: time.Second},
	}
}

// opening is the time from one idle connection to the next: they do not come, and so do not come again, all at once.
const opening = 2 * time.Millisecond

// begin starts everything, and returns once the idle connections have been opened. stop ends it all.
func (a *abuser) begin(kinds []*refused) (stop func()) {
	done := make(chan struct{})
	var running, opened sync.WaitGroup
	for i := range a.Idle {
		time.Sleep(opening)
		opened.Add(1)
		running.Go(func() { a.idle(i%4 == 0, done, sync.OnceFunc(opened.Done)) })
	}
	opened.Wait()
	for _, k := range kinds {
		running.Go(func() { k.keepAsking(a.Address, done) })
	}
	return func() { close(done); running.Wait() }
}

// idle keeps a connection open, and opens it again two seconds after the server has closed it, as a client does that comes back.
func (a *abuser) idle(speaks bool, done <-chan struct{}, opened func()) {
	for {
		c, err := net.Dial("tcp", a.Address)
		opened()
		if err == nil {
			a.opened.Add(1)
			if speaks {
				_, _ = io.WriteString(c, "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
			}
			hold(c, done)
		}
		select {
		case <-done:
			return
		case <-time.After(2 * time.Second):
		}
	}
}

// hold keeps a connection until the other side, or done, ends it.
func hold(c net.Conn, done <-chan struct{}) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, c)
	}()
	select {
	case <-done:
	case <-ended:
	}
	c.Close()
	<-ended
}

// message is the call of a tool in the newer wire.
const message = `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"ssh_exec","arguments":{"profile_id":"fake","command":"true"},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

const messageHeader = "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nMcp-Protocol-Version: 2026-07-28\r\n" +
	"Mcp-Method: tools/call\r\nMcp-Name: ssh_exec\r\n"

// refused is one kind of request that must be refused.
type refused struct {
	kindSeen
	header, host string
	want         string // status
	body         string // a word of the answer's body; empty for any
	length       int64  // of the request's body where that is no message; -1 says none
	pause        time.Duration
}

// keepAsking asks over a new connection each time, until done.
func (k *refused) keepAsking(addr string, done <-chan struct{}) {
	pause := max(k.pause, 20*time.Millisecond)
	for {
		status, body, err := k.ask(addr)
		switch {
		case err != nil && k.length != 0: // cut off in the middle of the body, before the answer was read
			k.Refused++
		case err == nil && (k.want == "" && status != "200" || status == k.want) && strings.Contains(body, k.body):
			k.Refused++
		default:
			k.Wrong++
			k.Last = fmt.Sprintf("%s %.200s %v", status, body, err)
		}
		select {
		case <-done:
			return
		case <-time.After(pause):
		}
	}
}

func (k *refused) ask(addr string) (status, body string, err error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	host := k.host
	if host == "" {
		host = addr
	}
	head := "POST /mcp HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" + messageHeader + k.header
	switch {
	case k.length > 0:
		head += "Content-Length: " + strconv.FormatInt(k.length, 10) + "\r\n\r\n"
	case k.length < 0:
		head += "Transfer-Encoding: chunked\r\n\r\n"
	default:
		head += "Content-Length: " + strconv.Itoa(len(message)) + "\r\n\r\n" + message
	}
	answer := make(chan []byte, 1)
	go func() {
		all, _ := io.ReadAll(io.LimitReader(c, 1<<20))
		answer <- all
	}()
	if _, err = io.WriteString(c, head); err == nil && k.length != 0 {
		err = k.pour(c)
	}
	text := <-answer
	if len(text) == 0 {
		return "", "", fmt.Errorf("no answer: %w", orEOF(err))
	}
	line, rest, _ := strings.Cut(string(text), "\r\n")
	_, status, _ = strings.Cut(line, " ")
	status, _, _ = strings.Cut(status, " ")
	return status, rest, nil
}

// orEOF makes an error of none.
func orEOF(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// pour writes a body of 1 GiB, until the server takes no more.
func (k *refused) pour(c net.Conn) error {
	block := bytes.Repeat([]byte(" "), 64<<10)
	sent := int64(0)
	defer func() { k.Taken = max(k.Taken, sent) }()
	for sent < 1<<30 {
		if k.length < 0 {
			if _, err := fmt.Fprintf(c, "%x\r\n", len(block)); err != nil {
				return err
			}
		}
		n, err := c.Write(block)
		sent += int64(n)
		if err == nil && k.length < 0 {
			_, err = io.WriteString(c, "\r\n")
		}
		if err != nil {
			return err
		}
	}
	return nil
}
