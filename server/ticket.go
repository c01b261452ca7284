package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
)

// ticketPatience is how long the check of a change ticket may take.
const ticketPatience = 10 * time.Second

// maxTicketAnswer bounds what is read of what a check says.
const maxTicketAnswer = 4 << 10

// ticketQuestion is what a check of change tickets is asked.
type ticketQuestion struct {
	Ticket    string `json:"ticket"`
	Profile   string `json:"profile_id"`
	Operation string `json:"operation"`
	Actor     string `json:"actor"`
	Caller    string `json:"caller,omitempty"` // a claim
}

// checkTicket asks the profile's change_ticket_check whether a ticket that was needed holds. Whatever is no clear yes is a no.
func (c *call) checkTicket(want policy.Call, d policy.Decision) error {
	check := c.profile.Policy.ChangeTicketCheck
	if d.Ticket == "" || check == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, ticketPatience)
	defer cancel()
	q := ticketQuestion{want.ChangeTicket, c.metadata.ProfileID, want.Operation, c.metadata.Actor, c.metadata.Caller}
	ask := askProgram
	if isURL(check) {
		ask = askURL
	}
	if err := ask(ctx, check, q); err != nil {
		return &callError{CodePolicyViolation, fmt.Sprintf("refused by rule change_ticket_check of profile %s: the ticket was not confirmed: %v",
			c.metadata.ProfileID, err)}
	}
	return nil
}

// askProgram runs the program with ticket, profile and operation as its arguments and the whole question as its input. It says yes by its exit status
// 0. It gets no variables of this process but PATH.
func askProgram(ctx context.Context, program string, q ticketQuestion) error {
	question, err := json.Marshal(q)
	if err != nil {
		return err
	}
	var said bounded
	cmd := osexec.CommandContext(ctx, program, q.Ticket, q.Profile, q.Operation)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Dir = filepath.Dir(program)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(question), &said, &said
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the check did not answer in time: %w", context.Cause(ctx))
	case err != nil && said.text() != "":
		return fmt.Errorf("the check said no (%w): %s", err, said.text())
	case err != nil:
		return fmt.Errorf("the check said no: %w", err)
	}
	return nil
}

// bounded keeps the begin of what is written to it.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxTicketAnswer-b.Len())])
	return len(p), nil
}

// text is what was written, on one line.
func (b *bounded) text() string {
	return strings.Join(strings.Fields(strings.ToValidUTF8(b.String(), "?")), " ")
}

// ticketClient follows no redirection: only the address that the profile names is trusted. It keeps no connection.
var ticketClient = &http.Client{
	Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// askURL posts the question. The answer is yes by a status of 200 to 299.
func askURL(ctx context.Context, address string, q ticketQuestion) error {
	question, err := json.Marshal(q)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(question))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := ticketClient.Do(req)
	if err != nil {
		if u, ok := err.(*url.Error); ok {
			err = u.Err // the address may hold a credential
		}
		return fmt.Errorf("the check cannot be asked: %w", err)
	}
	defer resp.Body.Close()
	var said bounded
	if _, err := io.Copy(&said, io.LimitReader(resp.Body, maxTicketAnswer)); err != nil {
		return fmt.Errorf("the check broke off: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the check said no (%s): %s", resp.Status, said.text())
	}
	return nil
}

// checkTicketCheck finds what is wrong with change_ticket_check.
func checkTicketCheck(p *profile.Profile) []profile.FieldError {
	check := p.Policy.ChangeTicketCheck
	const field = "policy.change_ticket_check"
	switch u, err := url.Parse(check); {
	case check == "":
	case isURL(check) && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http"):
		return []profile.FieldError{{Field: field, Message: "not an address", Remedy: `write it as "https://tickets.example.com/check"`}}
	case !isURL(check) && !filepath.IsAbs(check):
		return []profile.FieldError{{Field: field, Message: "neither an http or https address nor the absolute path of a program",
			Remedy: `write "https://tickets.example.com/check" or "/usr/local/bin/check-ticket", for example`}}
	}
	return nil
}
