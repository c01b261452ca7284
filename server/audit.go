package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/audit"
)

// openAudit opens the record of calls; nil where none is kept.
func (s *Server) openAudit() (*audit.Store, error) {
	a := s.cfg.Audit
	if !a.enabled() {
		return nil, nil
	}
	const remedy = "name a file that can be written with audit.path (--audit), or keep no record with audit.enabled: false"
	if a.Path == "" {
		return nil, fmt.Errorf("audit.path: there is no state folder, since neither HOME nor XDG_STATE_HOME is set: %s", remedy)
	}
	store, err := audit.Open(audit.Config{
		Path: a.Path, Key: a.Key, Head: a.Head, Strict: a.Durability == "strict", Patience: a.patience, Logger: s.cfg.Logger, Redact: s.profiles.Redact,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, remedy)
	}
	return store, nil
}

// validateAuditURL checks what only a store in PostgreSQL needs.
func (c *Config) validateAuditURL() (errs []error) {
	if !audit.IsURL(c.Audit.Path) {
		return nil
	}
	if err := audit.CheckURL(c.Audit.Path); err != nil {
		errs = append(errs, c.keyError("audit.path", err.Error()))
	}
	if c.Audit.Key == "" {
		errs = append(errs, c.keyError("audit.key", "a record in PostgreSQL needs the file of the key that signs it, the same for all servers that share it: name it, and it is made where there is none"))
	}
	return errs
}

// recording is a call's place in the record.
type recording struct {
	c       *call
	token   audit.Token
	outcome audit.Outcome
}

// observing are operations that touch no host and show what is wrong with a server. They are recorded, but never wait for that.
var observing = []string{"server.health", "server.stats"}

// recorded makes sure that the call may run: a strict record has its intent then.
func (r *recording) recorded(ctx context.Context, operation string) error {
	if slices.Contains(observing, operation) {
		return nil
	}
	err := r.c.s.audit.Committed(ctx, r.token)
	if err == nil {
		return nil
	}
	return &callError{CodeInternalError, fmt.Sprintf("nothing was done: %v (audit.durability: strict)", err)}
}

// begin records the intent of a call.
func (c *call) begin(operation string, start time.Time) recording {
	r := recording{c: c, outcome: audit.Outcome{Code: string(CodeInternalError)}}
	if c.s.audit == nil {
		return r
	}
	profile, _ := c.args["profile_id"].(string)
	command, _ := c.args["command"].(string)
	r.token = c.s.audit.Begin(audit.Call{
		Time: start, Operation: operation, Profile: profile, Actor: c.metadata.Actor, Caller: c.metadata.Caller, Command: command,
		Parameters: c.args,
	})
	return r
}

// end records the outcome, unless a job goes on with the call and will.
func (r *recording) end() {
	if j := r.c.job; j != nil {
		j.begin(r.token)
		return
	}
	r.c.s.audit.End(r.token, r.outcome)
}
