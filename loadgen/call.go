package loadgen

import (
	"context"
	"errors"
)

// Outcomes that the generator itself gives; all others are the server's error codes.
const (
	CodeTransport = "TRANSPORT" // no reply came: the connection broke or the server spoke out of turn
	CodeTimeout   = "TIMEOUT"   // no reply came before the run had to end
)

// answer is a call's reply as judged.
type answer struct {
	outcome string // "" for success
	message string // goes with outcome
	bytes   int64
	timing  Timing
	replied bool
}

// render gives the arguments of one call.
func (s *step) render(v *vars) map[string]any {
	args, _ := s.args.render(v).(map[string]any)
	return args
}

// call runs the step's tool and judges what it answers.
func (s *step) call(ctx context.Context, session Session, args map[string]any) answer {
	reply, err := session.Call(ctx, Call{Tool: s.tool, Args: args})
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
	a := answer{bytes: payload(reply.Data), timing: reply.Timing, replied: true}
	for i := range s.checks {
		if ok, why := s.checks[i].holds(reply.Data); !ok {
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
