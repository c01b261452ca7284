package loadgen

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// sessionStep is the action of a Session step. It works on the session of the user whose iteration it is in.
type sessionStep struct{ what SessionStep }

func (c *planCompiler) session(path string, s *Step) action {
	switch s.Session {
	case SessionOpen, SessionClose, SessionAbandon:
	default:
		c.add(path+".session", fmt.Sprintf("nothing is done to a session by %q", s.Session), "use open, close or abandon")
	}
	return &sessionStep{s.Session}
}

func (a *sessionStep) String() string     { return "session " + string(a.what) }
func (a *sessionStep) uses(string) bool   { return false }
func (a *sessionStep) render(v *vars) any { return v.user }

func (a *sessionStep) perform(ctx context.Context, _ Session, rendered any) answer {
	u, _ := rendered.(*user)
	var err error
	switch a.what {
	case SessionOpen:
		err = u.openSession(ctx)
	case SessionClose:
		err = u.closeSession()
	default:
		err = u.abandonSession()
	}
	switch {
	case err == nil:
		return answer{replied: true}
	case ctx.Err() != nil:
		return answer{outcome: CodeTimeout, message: contextMessage(ctx)}
	case errors.Is(err, context.DeadlineExceeded):
		return answer{outcome: CodeTimeout, message: err.Error()}
	}
	return answer{outcome: CodeTransport, message: err.Error()}
}

// sessions finds session steps that cannot work: one is opened before it is closed, and one at a time.
func (c *planCompiler) sessions(list string, steps []Step) {
	open := false
	for i := range steps {
		path := fmt.Sprintf("%s[%d].session", list, i)
		switch what := steps[i].Session; {
		case what == SessionOpen && open:
			c.add(path, "the iteration has a session of its own already", "close or abandon it first")
		case what == SessionOpen:
			open = true
		case what != "" && !open:
			c.add(path, "the iteration has no session of its own", "open one before it")
		case what != "":
			open = false
		}
	}
}

// openSession gives the user's iteration a session of its own.
func (u *user) openSession(ctx context.Context) error {
	s, err := u.x.driver.Open(ctx)
	if err == nil {
		u.own = s
	}
	return err
}

func (u *user) closeSession() error {
	s := u.own
	u.own = nil
	return s.Close()
}

func (u *user) abandonSession() error {
	s, ok := u.own.(Abandoner)
	if !ok {
		return fmt.Errorf("sessions over %s cannot be abandoned", u.x.driver.Info().Kind)
	}
	u.own = nil
	return s.Abandon()
}

// holdStep is the action of a Hold step.
type holdStep struct{ pause time.Duration }

func (c *planCompiler) hold(path string, s *Step) action {
	if s.Hold < 0 {
		c.add(path+".hold", "the pause is negative", "set it to 1ms or more")
	}
	return &holdStep{s.Hold}
}

func (a *holdStep) String() string     { return "hold" }
func (a *holdStep) uses(string) bool   { return false }
func (a *holdStep) render(v *vars) any { return nil }

// perform waits. A pause that is cut short has held for as long as the run let it.
func (a *holdStep) perform(ctx context.Context, _ Session, _ any) answer {
	_ = sleepTimer(ctx, time.Now().Add(a.pause))
	return answer{replied: true}
}
