package server

import (
	"fmt"
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
	store, err := audit.Open(audit.Config{Path: a.Path, Logger: s.cfg.Logger, Redact: s.profiles.Redact})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, remedy)
	}
	return store, nil
}

// recording is a call's place in the record.
type recording struct {
	c       *call
	token   audit.Token
	outcome audit.Outcome
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

// end records the outcome.
func (r *recording) end() { r.c.s.audit.End(r.token, r.outcome) }
