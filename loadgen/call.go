package loadgen

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// Outcomes that the generator itself gives; all others are the server's error codes. CodeCheckFailed is one more.
const (
	CodeTransport   = "TRANSPORT"    // no reply came: the connection broke or the server spoke out of turn
	CodeTimeout     = "TIMEOUT"      // no reply came before the run had to end, or to a TCP step in time
	CodeTCPFailed   = "TCP_FAILED"   // a TCP step could not connect, or its connection broke
	CodeWriteFailed = "WRITE_FAILED" // a Write step could not change a file
)

// answer is a step's outcome as judged.
type answer struct {
	outcome string    // "" for success
	message string    // goes with outcome
	cut     time.Time // when the client cancelled it, as the step wants
	told    time.Time // when the first progress came
	bytes   int64
	data    map[string]any
	timing  Timing
	replied bool
}

// toolCall is the action of calling an MCP tool.
type toolCall struct {
	tool   string
	args   template
	checks []check

	cancelAfter time.Duration
	progress    bool
}

// toolRequest is one call.
type toolRequest struct {
	args  map[string]any
	wants []rendered // by check
}

func (c *planCompiler) toolCall(path string, s *Step, sc scope) *toolCall {
	args := s.Args
	if args == nil {
		args = map[string]any{}
	}
	t := &toolCall{tool: s.Tool, args: compileTemplate(path+".args", args, sc, c.text)}
	for i, ch := range s.Checks {
		t.checks = append(t.checks, c.check(fmt.Sprintf("%s.checks[%d]", path, i), ch, sc))
	}
	t.cancelAfter, t.progress = s.CancelAfter, s.Progress
	if t.cancelAfter < 0 {
		c.add(path+".cancel_after", fmt.Sprintf("%v is before the call", t.cancelAfter), "set a duration above 0, or leave it out")
	}
	if t.cancelAfter > 0 && len(s.Save) > 0 {
		c.add(path+".save", "a call that is cancelled has no result to save", "leave save or cancel_after out")
	}
	return t
}

// text notes a mistake in a text with variables.
func (c *planCompiler) text(path string, err *textError) { c.add(path, err.msg, err.remedy) }

func (t *toolCall) String() string { return t.tool }

func (t *toolCall) uses(variable string) bool {
	return t.args.uses(variable) || slices.ContainsFunc(t.checks, func(c check) bool { return c.uses(variable) })
}

func (t *toolCall) render(v *vars) any {
	req := &toolRequest{}
	req.args, _ = t.args.render(v).(map[string]any)
	for i := range t.checks {
		req.wants = append(req.wants, t.checks[i].render(v))
	}
	return req
}

// perform calls the tool.
func (t *toolCall) perform(ctx context.Context, session Session, rendered any) answer {
	call := Call{Tool: t.tool, Args: rendered.(*toolRequest).args}
	var told, cut moment
	if t.progress {
		call.Progress = told.mark
	}
	if t.cancelAfter > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		timer := time.AfterFunc(t.cancelAfter, func() {
			cut.mark()
			cancel()
		})
		defer timer.Stop()
	}
	a := t.call(ctx, session, call, &cut)
	a.told = told.time()
	return a
}

// call makes one call. An error of a call that cut marks is what the step wants.
func (t *toolCall) call(ctx context.Context, session Session, call Call, cut *moment) answer {
	reply, err := session.Call(ctx, call)
	switch {
	case err != nil && !cut.time().IsZero() && context.Cause(ctx) == context.Canceled:
		return answer{cut: cut.time(), replied: true}
	case err != nil && ctx.Err() != nil:
		return answer{outcome: CodeTimeout, message: contextMessage(ctx)}
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		return answer{outcome: CodeTimeout, message: err.Error()}
	case err != nil:
		return answer{outcome: CodeTransport, message: err.Error()}
	case reply.Code != "":
		return answer{outcome: reply.Code, message: reply.Error, timing: reply.Timing, replied: true}
	}
	return answer{bytes: payload(reply.Data), data: reply.Data, timing: reply.Timing, replied: true}
}

// judge checks a successful answer.
func (t *toolCall) judge(a *answer, rendered any) {
	for i := range t.checks {
		if ok, why := t.checks[i].holds(a.data, rendered.(*toolRequest).wants[i]); !ok {
			a.outcome, a.message = CodeCheckFailed, why
			return
		}
	}
}

// moment is a time that is marked once, by whichever goroutine is first. The zero value is not marked.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) mark() {
	now := time.Now()
	m.at.CompareAndSwap(nil, &now)
}

// time is the zero time while the moment is not marked.
func (m *moment) time() time.Time {
	if at := m.at.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

func contextMessage(ctx context.Context) string {
	return "no reply: " + context.Cause(ctx).Error()
}

// payload is how many bytes a call moved: what a transfer reports, or the length of a command's output.
func payload(data map[string]any) int64 {
	if n, ok := data["bytes_transferred"].(float64); ok {
		return int64(n)
	}
	stdout, _ := data["stdout"].(string)
	stderr, _ := data["stderr"].(string)
	return int64(len(stdout) + len(stderr))
}
