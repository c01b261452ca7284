package loadgen

import (
	"context"
	"fmt"
)

// open makes the arm ready to be measured: its driver, its sessions and its setup. close is due whether it succeeds or not.
func (x *execution) open(ctx context.Context, open Opener) error {
	d, err := open(ctx, x.arm)
	if err != nil {
		return fmt.Errorf("open driver: %w", err)
	}
	x.driver = d
	for _, l := range x.loads {
		n := l.exec.sessions(x.arm.Driver)
		for range n {
			s, err := d.Open(ctx)
			if err != nil {
				return fmt.Errorf("open session %d of %d: %w", len(l.sessions)+1, n, err)
			}
			l.sessions = append(l.sessions, s)
		}
	}
	x.observer = startObserver(d, x.session(), x.r.plan.statsEvery())
	x.ready = true
	x.r.progress.phase(PhaseSetup)
	return x.once(ctx, "setup", x.r.prog.setup)
}

// close runs the teardown and ends what open began.
func (x *execution) close() {
	if x.driver == nil {
		return
	}
	if x.observer != nil {
		x.observer.stop()
	}
	if x.ready {
		x.teardown()
	}
	for _, l := range x.loads {
		for _, s := range l.sessions {
			_ = s.Close() // the driver's Close reports what matters
		}
	}
	if err := x.driver.Close(); err != nil {
		x.r.opts.Log.Warn("closing the driver failed", "arm", x.arm.Name, "err", err)
	}
}

// session is the one that setup and teardown use.
func (x *execution) session() Session { return x.loads[0].sessions[0] }

// teardown runs with time of its own, since an interrupt must not keep it from cleaning up.
func (x *execution) teardown() {
	x.r.progress.phase(PhaseTeardown)
	ctx, cancel := context.WithTimeout(context.Background(), teardownTimeout)
	defer cancel()
	for i := range x.r.prog.teardown {
		if err := x.once(ctx, "teardown", x.r.prog.teardown[i:i+1]); err != nil {
			x.r.opts.Log.Warn("cleaning up failed", "err", err)
		}
	}
}

// once calls steps in order up to the first that fails, each for every profile if it names one.
func (x *execution) once(ctx context.Context, list string, steps []step) error {
	for i := range steps {
		profiles := x.r.opts.Profiles
		if !steps[i].action.uses("profile") {
			profiles = []string{""}
		}
		for _, profile := range profiles {
			v := x.vars(profile)
			a := steps[i].run(ctx, x.session(), steps[i].action.render(&v), &v)
			if a.outcome != "" {
				return fmt.Errorf("%s step %s (%v%s): %s: %s", list, steps[i].name, steps[i].action, on(profile), a.outcome, a.message)
			}
		}
	}
	return nil
}

func (x *execution) vars(profile string) vars {
	return vars{profile: profile, workDir: x.r.opts.WorkDir, remoteDir: x.remoteDir, run: x.r.opts.Vars}
}

func on(profile string) string {
	if profile == "" {
		return ""
	}
	return " on " + profile
}
