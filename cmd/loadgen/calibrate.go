package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/openaccess-mcp/openaccess-mcp/fakessh"
	"github.com/openaccess-mcp/openaccess-mcp/fakessh/netem"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
	"github.com/openaccess-mcp/openaccess-mcp/loadgen/stats"
	"github.com/openaccess-mcp/openaccess-mcp/reports"
	"github.com/openaccess-mcp/openaccess-mcp/reports/result"
)

// calibrateOptions are the flags of the calibrate command.
type calibrateOptions struct {
	server   string
	rate     float64
	duration time.Duration
	within   float64
	out      string
	json     bool
	quiet    bool
}

func calibrateCommand() *cobra.Command {
	var o calibrateOptions
	cmd := &cobra.Command{
		Use:   "calibrate",
		Short: "Check the load generator on this machine and print a certificate",
		Long: `calibrate checks the instrument itself. It measures how late calls leave at 500 and 2000 a second. Then it lets a fake host, in a
process of its own, inject delays of a known distribution (log-normal, exponential, bimodal), measures them as an open
executor would, by SSH alone (raw-ssh) and through the server, and compares p50, p95, p99 and p99.9 with what the host
recorded itself, with the path's own cost added, which commands without a delay show in the same time.

The certificate goes to standard output, and with --out to a file that loadgen run --calibration FILE puts into its reports.
Exit codes: 0 it held; 1 a percentile is off by more than --within; 4 the generator could not do its work.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.server, "server", "", "server program (default openaccess-mcp beside loadgen or on PATH)")
	f.Float64Var(&o.rate, "rate", 500, "calls per second of each comparison")
	f.DurationVar(&o.duration, "duration", 20*time.Second, "length of each of the six comparisons")
	f.Float64Var(&o.within, "within", 2, "deviation allowed, in percent")
	f.StringVar(&o.out, "out", "", "also write the certificate to `FILE`, as JSON")
	f.BoolVar(&o.json, "json", false, "print the certificate as JSON")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

func (o *calibrateOptions) check() error {
	switch {
	case !(o.rate > 0):
		return usage("--rate %g is not above 0: give calls per second", o.rate)
	case o.duration.Seconds()*o.rate < 2500:
		return usage("--duration %v at %g/s makes fewer than 2500 calls, too few for p99.9: raise one of them", o.duration, o.rate)
	case !(o.within > 0):
		return usage("--within %g is not above 0: give percent", o.within)
	case isURL(o.server) || o.server == "inprocess":
		return usage("--server %s: calibrate starts the server itself: name its program", o.server)
	}
	return nil
}

func (o *calibrateOptions) run(cmd *cobra.Command) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	work, err := newWorkspace()
	if err != nil {
		return err
	}
	defer work.remove()
	flags := &runOptions{server: o.server, transport: "stdio", target: "fake", isolate: true}
	tgt, err := openTarget(cmd.Context(), flags, work, services{})
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := tgt.close(); closeErr != nil && err == nil {
			err = harness("%w", closeErr)
		}
	}()
	srv, err := newServerChoice(flags, work, tgt)
	if err != nil {
		return err
	}
	notes := cmd.ErrOrStderr()
	if o.quiet {
		notes = io.Discard
	}
	c := &calibration{o: o, srv: srv, target: tgt, notes: notes, cert: &result.Calibration{
		Schema: result.CalibrationSchema, Made: time.Now().UTC().Truncate(time.Second), Version: version(), Git: revision(), Host: result.ThisHost(),
		Rate: o.rate, DurationS: o.duration.Seconds(), Within: o.within / 100,
	}}
	if err := c.measure(cmd.Context()); err != nil {
		return err
	}
	return c.finish(cmd.OutOrStdout())
}

// calibration is a calibrate command at work.
type calibration struct {
	o      *calibrateOptions
	srv    *serverChoice
	target *target
	notes  io.Writer
	cert   *result.Calibration
}

// injected are the delays that are measured, with their names.
var injected = []struct {
	name string
	dist netem.Dist
}{
	{"log-normal, median 20 ms, σ 0.5", netem.LogNormal(20*time.Millisecond, 0.5)},
	{"exponential, mean 10 ms", netem.Exponential(10 * time.Millisecond)},
	{"bimodal, 10 ms, 2 % at 200 ms", netem.Bimodal(0.02, 10*time.Millisecond, 200*time.Millisecond)},
}

// compared are the percentiles of a comparison.
var compared = []struct {
	name string
	q    float64
}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}}

func (c *calibration) measure(ctx context.Context) error {
	for _, rate := range []float64{500, 2000} {
		if err := c.pacer(ctx, rate); err != nil {
			return err
		}
	}
	for _, driver := range []*loadgen.ArmDriver{{Kind: "raw-ssh"}, nil} {
		if err := c.driver(ctx, driver); err != nil {
			return err
		}
	}
	c.cert.Judge()
	return nil
}

// pacer measures how late calls to nowhere leave.
func (c *calibration) pacer(ctx context.Context, rate float64) error {
	fmt.Fprintf(c.notes, "loadgen: calibrate: pacer at %g/s\n", rate)
	none := func(context.Context, loadgen.Arm) (loadgen.Driver, error) { return nowhere{}, nil }
	cells, cpu, err := c.open(ctx, 5*time.Second, loadgen.Arm{}, none, nil, part("pacer", undelayed, rate))
	if err != nil {
		return err
	}
	cell := &cells[0]
	p50, _ := cell.Lateness.Percentile(0.5)
	p99, _ := cell.Lateness.Percentile(0.99)
	c.cert.Pacer = append(c.cert.Pacer, result.PacerCheck{
		Rate: rate, LatenessP50NS: int64(p50), LatenessP99NS: int64(p99), CPUPercent: 100 * cpu.Seconds() / cell.Measured.Seconds(),
	})
	return nil
}

// driver measures each delay through a driver, and beside it the floor.
func (c *calibration) driver(ctx context.Context, d *loadgen.ArmDriver) error {
	name := "server over stdio"
	if d != nil {
		name = d.Kind
	}
	var floors stats.Histogram
	for _, in := range injected {
		m, err := c.delayed(ctx, name, in.name, d, in.dist)
		if err != nil {
			return err
		}
		floors.Merge(m.floor)
		for _, k := range compared {
			check, err := compare(m.reported, m.recorded, m.floor, k.q)
			if err != nil {
				return harness("%s, %s: %w", name, in.name, err)
			}
			check.Driver, check.Delay, check.Statistic = name, in.name, k.name
			c.cert.Checks = append(c.cert.Checks, check)
		}
	}
	f := result.CalibrationFloor{Driver: name}
	for q, to := range map[float64]*int64{0.5: &f.P50NS, 0.95: &f.P95NS, 0.99: &f.P99NS} {
		v, _ := floors.Percentile(q)
		*to = int64(v)
	}
	c.cert.Floors = append(c.cert.Floors, f)
	return nil
}

// compare holds what was reported against what the host recorded and the floor.
func compare(reported, recorded, floor *stats.Histogram, q float64) (result.CalibrationCheck, error) {
	r, ok1 := reported.Percentile(q)
	rec, ok2 := recorded.Percentile(q)
	want, ok3 := stats.SumPercentile(recorded, floor, q)
	if !ok1 || !ok2 || !ok3 || want <= 0 {
		return result.CalibrationCheck{}, fmt.Errorf("too few calls for the percentile %g: %d of %d recorded", q, reported.Count(), recorded.Count())
	}
	return result.CalibrationCheck{
		N: reported.Count(), ReportedNS: int64(r), RecordedNS: int64(rec), ExpectedNS: int64(want), Deviation: float64(r)/float64(want) - 1,
	}, nil
}

// undelayed is the command that the host does not delay, and floorShare how many of them are sent for each that it does.
const (
	undelayed  = "true"
	floorShare = 0.4
)

// comparison is what was measured of one delay: what loadgen reports, what the host recorded, and what commands without a delay took in the
// same time, since what the machine gives changes from one minute to the next.
type comparison struct{ reported, recorded, floor *stats.Histogram }

// delayed measures while the host delays commands.
func (c *calibration) delayed(ctx context.Context, name, what string, d *loadgen.ArmDriver, delay netem.Dist) (*comparison, error) {
	fmt.Fprintf(c.notes, "loadgen: calibrate: %s: %s, %v\n", name, what, c.o.duration)
	if err := c.target.control.setFaults(fakessh.Faults{Seed: 1, Exec: fakessh.ExecFaults{Delay: delay, Except: undelayed}}); err != nil {
		return nil, harness("%w", err)
	}
	var resetErr error
	begun := false
	cells, _, err := c.open(ctx, c.o.duration, loadgen.Arm{Driver: d}, c.srv.open, func(p loadgen.Progress) {
		if p.Phase == loadgen.PhaseMeasure && !begun {
			begun, resetErr = true, c.target.control.reset() // what the warm-up left
		}
	}, part("delayed", "echo loadgen", c.o.rate), part("floor", undelayed, floorShare*c.o.rate))
	if err := errors.Join(err, resetErr); err != nil {
		return nil, err
	}
	delays, err := c.target.control.delays()
	if err != nil {
		return nil, harness("%w", err)
	}
	return &comparison{reported: cells[0].Latency, recorded: delays.exec, floor: cells[1].Latency}, nil
}

// part sends a command at a rate.
func part(name, command string, rate float64) loadgen.Part {
	return loadgen.Part{
		Name: name, Executor: &loadgen.Executor{Kind: loadgen.Open, Rate: rate},
		Steps: []loadgen.Step{{Name: "exec", Tool: "ssh_exec", Args: map[string]any{"profile_id": "${profile}", "command": command}}},
	}
}

// open measures parts beside each other and gives a cell for each; cpu is what this process took.
func (c *calibration) open(ctx context.Context, duration time.Duration, arm loadgen.Arm, open loadgen.Opener, progress func(loadgen.Progress), parts ...loadgen.Part) (cells []loadgen.Cell, cpu time.Duration, err error) {
	plan := &loadgen.Plan{
		Name: "calibrate", Operation: "ssh.exec", Seed: 1, Arms: []loadgen.Arm{arm},
		Executor: loadgen.Executor{Warmup: time.Second, Duration: duration}, Mix: parts,
	}
	tuneThreads(plan)
	opts := c.target.fit(plan, loadgen.Options{Progress: progress, Log: slog.New(slog.NewTextHandler(c.notes, &slog.HandlerOptions{Level: slog.LevelWarn}))})
	r, err := loadgen.Run(ctx, plan, open, opts)
	switch {
	case err != nil:
		return nil, 0, harness("calibrate: %w", err)
	case r.Interrupted:
		return nil, 0, &exitError{exitInterrupted, errors.New("interrupted: there is no certificate")}
	case !r.Generator.Valid:
		return nil, 0, harness("the load generator was too late or too busy on this machine just now: %s", r.Generator.Why[0])
	case len(r.Cells) != len(parts):
		return nil, 0, harness("calibrate: %d cells of %d parts", len(r.Cells), len(parts))
	}
	for i := range r.Cells {
		if cell := &r.Cells[i]; len(cell.Errors) > 0 {
			return nil, 0, harness("calls failed: %v", cell.ErrorSamples)
		}
	}
	return r.Cells, r.Generator.CPU, nil
}

// finish prints and keeps the certificate.
func (c *calibration) finish(stdout io.Writer) error {
	if c.o.out != "" {
		if err := c.keep(); err != nil {
			return harness("--out: cannot write %s: %v; name another file", c.o.out, unwrapped(err))
		}
	}
	print := reports.Calibration
	if c.o.json {
		print = result.WriteCalibration
	}
	if err := print(stdout, c.cert); err != nil {
		return written(err)
	}
	if !c.cert.OK {
		return &exitError{code: exitMissed}
	}
	return nil
}

func (c *calibration) keep() error {
	f, err := os.Create(c.o.out)
	if err != nil {
		return err
	}
	return errors.Join(result.WriteCalibration(f, c.cert), f.Close())
}

// nowhere is a driver whose calls return at once.
type nowhere struct{}

func (nowhere) Open(context.Context) (loadgen.Session, error) { return nowhere{}, nil }
func (nowhere) Call(context.Context, loadgen.Call) (loadgen.Reply, error) {
	return loadgen.Reply{}, nil
}
func (nowhere) Info() loadgen.DriverInfo { return loadgen.DriverInfo{Kind: "nowhere"} }
func (nowhere) Close() error             { return nil }
