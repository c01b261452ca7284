package loadgen

import (
	"context"
	"errors"
	"fmt"
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
	outcome string // "" for success
	message string // goes with outcome
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
}

func (c *planCompiler) toolCall(path string, s *Step, sc scope) *toolCall {
	args := s.Args
	if args == nil {
		args = map[string]any{}
	}
	t := &toolCall{tool: s.Tool, args: compileTemplate(path+".args", args, sc, c.text)}
	for i, ch := range s.Checks {
		compiled, at, msg, remedy := compileCheck(ch)
		if at != "" {
			c.add(fmt.Sprintf("%s.checks[%d].%s", path, i, at), msg, remedy)
		}
		t.checks = append(t.checks, compiled)
	}
	return t
}

// text notes a mistake in a text with variables.
func (c *planCompiler) text(path string, err *textError) { c.add(path, err.msg, err.remedy) }

func (t *toolCall) String() string            { return t.tool }
func (t *toolCall) uses(variable string) bool { return t.args.uses(variable) }
func (t *toolCall) render(v *vars) any        { return t.args.render(v) }

// perform calls the tool and judges what it answers.
func (t *toolCall) perform(ctx context.Context, session Session, rendered any) answer {
	args, _ := rendered.(map[string]any)
	reply, err := session.Call(ctx, Call{Tool: t.tool, Args: args})
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{outcome: CodeTimeout, message: contextMessage(ctx)}
	case err != nil && errors.Is(err, context.DeadlineExceeded):
		return answer{outcome: CodeTimeout, message: err.Error()}
	case err != nil:
		return answer{outcome: CodeTransport, message: err.Error()}
	case reply.Code != "":
		return answer{outcome: reply.Code, message: reply.Error, timing: reply.Timing, replied: true}
	}
	a := answer{bytes: payload(reply.Data), data: reply.Data, timing: reply.Timing, replied: true}
	for i := range t.checks {
		if ok, why := t.checks[i].holds(reply.Data); !ok {
			a.outcome, a.message = CodeCheckFailed, why
			break
		}
	}
	return a
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
