package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// SyncData is what rsync_sync answers.
type SyncData struct {
	Engine           string        `json:"engine" jsonschema:"sftp or rsync: what did or would do it"`
	Direction        string        `json:"direction" jsonschema:"push or pull"`
	Source           string        `json:"source"`
	Dest             string        `json:"dest"`
	FilesTransferred int           `json:"files_transferred"`
	BytesTransferred int64         `json:"bytes_transferred" jsonschema:"bytes of the transferred files"`
	DeletedFiles     int           `json:"deleted_files" jsonschema:"files, links and directories deleted from the destination"`
	Plan             []SyncChange  `json:"plan" jsonschema:"what would be done or, after a real run, what was done; in the order of the paths"`
	PlanEntries      int           `json:"plan_entries" jsonschema:"length of the whole plan"`
	PlanTruncated    bool          `json:"plan_truncated" jsonschema:"plan holds the first 10000 entries only"`
	PlanID           string        `json:"plan_id,omitempty" jsonschema:"names this plan and what it deletes; give it with dry_run false to have exactly that deleted"`
	DryRun           bool          `json:"dry_run" jsonschema:"nothing was changed"`
	Status           string        `json:"status" jsonschema:"planned, completed, or partial when something could not be done"`
	Warnings         []SyncProblem `json:"warnings,omitempty" jsonschema:"special files, which are skipped; the first 100"`
	Errors           []SyncProblem `json:"errors,omitempty" jsonschema:"what could not be read or done; the first 100"`
	ErrorCount       int           `json:"error_count" jsonschema:"how many paths could not be read or done"`
}

// SyncChange is one entry of a plan.
type SyncChange struct {
	Path       string `json:"path" jsonschema:"relative to both directories; . is the directory itself"`
	PathBase64 string `json:"path_base64,omitempty" jsonschema:"exact bytes of path, where it is not valid UTF-8"`
	Action     string `json:"action" jsonschema:"create, update, mkdir, symlink, attributes or delete"`
	Bytes      int64  `json:"bytes,omitempty" jsonschema:"size of the file to transfer"`
}

// SyncProblem is one path with which something is wrong.
type SyncProblem struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// Bounds of an answer, and of the parameters.
const (
	maxPlanEntries   = 10000
	maxListed        = 100
	defaultSyncTime  = 3600.0
	maxBandwidthKBps = 10 << 20
	maxPatterns      = 1000
)

func (s *Server) syncTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("rsync_sync",
			mcp.WithDescription("Make the contents of one directory those of another, to or from a host. A dry run, which is the default, "+
				"answers the plan and its plan_id. Deleting needs the plan_id of a dry run that still holds."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithString("direction", mcp.Required(), mcp.Description("push copies to the host, pull from it"), mcp.Enum("push", "pull")),
			mcp.WithString("source", mcp.Description("directory whose contents are copied; alias local_path (push), remote_path (pull). "+
				"The local one lies inside the profile's local_roots")),
			mcp.WithString("dest", mcp.Description("directory that gets them, made where missing; alias remote_path (push), local_path (pull)")),
			mcp.WithString("local_path", mcp.Description("source of a push, dest of a pull")),
			mcp.WithString("remote_path", mcp.Description("dest of a push, source of a pull")),
			mcp.WithBoolean("dry_run", mcp.Description("only answer what would be done"), mcp.DefaultBool(true)),
			mcp.WithBoolean("delete_extras", mcp.Description("delete from dest what source does not have"), mcp.DefaultBool(false)),
			mcp.WithString("plan_id", mcp.Description("of the dry run whose deletions are meant; needed to delete")),
			mcp.WithArray("exclude", mcp.WithStringItems(), mcp.MaxItems(maxPatterns),
				mcp.Description("patterns, by rsync's rules, of what is neither copied nor deleted")),
			mcp.WithArray("include", mcp.WithStringItems(), mcp.MaxItems(maxPatterns), mcp.Description("patterns of what is not excluded; tried before exclude")),
			mcp.WithBoolean("checksum", mcp.Description("compare files of equal size by content instead of modification time"), mcp.DefaultBool(false)),
			mcp.WithBoolean("preserve_permissions", mcp.Description("give dest the permission bits of source"), mcp.DefaultBool(true)),
			mcp.WithBoolean("preserve_timestamps", mcp.Description("give dest the modification times of source; "+
				"without them the next sync copies everything again"), mcp.DefaultBool(true)),
			mcp.WithInteger("bandwidth_limit_kbps", mcp.Description("KiB a second; 0 is no limit"), mcp.DefaultNumber(0), mcp.Min(0), mcp.Max(maxBandwidthKBps)),
			mcp.WithString("engine", mcp.Description("sftp is built in; rsync is the program installed on both sides; auto takes rsync where "+
				"both have it and a file of 8 MiB or more has changed in part"), mcp.Enum("auto", "sftp", "rsync"), mcp.DefaultString("auto")),
			mcp.WithNumber("timeout_seconds", mcp.Description("the sync is stopped after this"), mcp.DefaultNumber(defaultSyncTime), mcp.Max(maxTimeout)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[SyncData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "rsync.sync", syncDirectories),
	}
}

// syncCall is one call of rsync_sync on its way.
type syncCall struct {
	*call
	profileID, local, remotePath string
	sync                         remote.Sync
	direction, engine, planID    string
	dryRun                       bool
	timeout                      float64
	ticket                       string
}

func syncDirectories(ctx context.Context, c *call) (*SyncData, error) {
	sc := &syncCall{call: c}
	if err := sc.read(); err != nil {
		return nil, err
	}
	if err := c.authorize(sc.profileID, sc.wanted()); err != nil {
		return nil, err
	}
	if sc.sync.Delete && !sc.dryRun && sc.planID == "" {
		return nil, &callError{CodePolicyViolation, "delete_extras with dry_run false needs the plan_id of a dry run, so that what is deleted is what was shown"}
	}
	local, err := remote.OpenLocal(c.profile.Policy.LocalRoots, sc.local)
	if err != nil {
		code := CodeInvalidParameters
		if errors.Is(err, remote.ErrOutsideRoots) {
			code = CodePolicyViolation
		} else if starved(err) {
			code = CodeLimitExceeded
		}
		return nil, &callError{code, err.Error()}
	}
	defer local.Close()
	sc.sync.Local, sc.sync.Bounds = local, c.bounds()
	if sc.direction == "push" && !sc.dryRun {
		defer c.s.responses.write(sc.profileID)()
	}
	ctx, cancel := c.deadline(ctx, sc.timeout)
	defer cancel()
	t, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	y, err := remote.OpenSync(ctx, c.s.pool, t, sc.sync, sc.engine)
	if err != nil {
		return nil, err
	}
	defer y.Close()
	return sc.run(ctx, y)
}

// read takes the parameters.
func (c *syncCall) read() error {
	c.profileID = c.required("profile_id")
	c.direction = c.required("direction")
	source, dest := []string{"source", "local_path"}, []string{"dest", "remote_path"}
	c.sync.Direction = remote.Upload
	switch c.direction {
	case "pull":
		c.sync.Direction = remote.Download
		source, dest = []string{"source", "remote_path"}, []string{"dest", "local_path"}
	case "push", "":
	default:
		c.fail("direction must be push or pull, not %q", c.direction)
	}
	c.local, c.remotePath = c.required(source...), c.required(dest...)
	if c.sync.Direction == remote.Download {
		c.local, c.remotePath = c.remotePath, c.local
	}
	if strings.ContainsRune(c.remotePath, 0) {
		c.fail("the path on the host must not hold a zero byte")
	}
	c.dryRun = c.boolean(true, "dry_run")
	c.planID = c.str("plan_id")
	c.engine = c.str("engine")
	switch c.engine {
	case "":
		c.engine = remote.EngineAuto
	case remote.EngineAuto, remote.EngineSFTP, remote.EngineRsync:
	default:
		c.fail("engine must be auto, sftp or rsync, not %q", c.engine)
	}
	c.timeout = c.number(defaultSyncTime, 0.001, maxTimeout, "timeout_seconds")
	c.ticket = c.str("change_ticket")
	c.readSync()
	return c.done()
}

func (c *syncCall) readSync() {
	c.sync.Remote = c.remotePath
	c.sync.Include, c.sync.Exclude = c.strings("include"), c.strings("exclude")
	c.sync.Delete = c.boolean(false, "delete_extras")
	c.sync.Content = c.boolean(false, "checksum")
	c.sync.Permissions = c.boolean(true, "preserve_permissions")
	c.sync.Times = c.boolean(true, "preserve_timestamps")
	c.sync.BandwidthKBps = int(c.number(0, 0, maxBandwidthKBps, "bandwidth_limit_kbps"))
	c.sync.Progress = func(done, total int64) { c.progress(done, total, "") }
}

// strings reads a list of strings.
func (p *params) strings(name string) []string {
	v, ok := p.take([]string{name})
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		p.fail("%s must be a list of strings, not %T", name, v)
		return nil
	}
	if len(list) > maxPatterns {
		p.fail("%s has %d entries; %d are allowed", name, len(list), maxPatterns)
		return nil
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			p.fail("%s[%d] must be a string, not %T", name, i, e)
		}
	}
	return out
}

// wanted is what the policy is asked. A dry run changes nothing: it asks neither for the direction nor for the deletion, so that nobody
// needs a ticket to see what the ticket would be for.
func (c *syncCall) wanted() policy.Call {
	want := policy.Call{Operation: "rsync.sync", Protocol: "rsync", ChangeTicket: c.ticket, RemotePath: c.remotePath}
	if c.dryRun {
		return want
	}
	want.Actions = []string{"rsync." + c.direction}
	if c.sync.Delete {
		want.Actions = append(want.Actions, "rsync.delete")
	}
	return want
}

// run plans and, unless that is all, applies.
func (c *syncCall) run(ctx context.Context, y *remote.Syncer) (*SyncData, error) {
	start := time.Now()
	var plan *remote.SyncPlan
	var data *SyncData
	if c.dryRun || c.sync.Delete || c.planID != "" {
		var err error
		if plan, err = y.Plan(ctx); err != nil {
			return nil, err
		}
		c.timed(plan.Lease, time.Since(start))
		data = c.answer(y.Engine(), plan.Changes, plan.Skipped, plan.Problems)
		data.DryRun, data.Status = true, "planned"
		data.PlanID = planID(c, plan.Deletions())
		if c.dryRun {
			return data, nil
		}
		if err := c.approved(plan, data.PlanID); err != nil {
			return data, err
		}
	}
	stats, err := y.Apply(ctx, plan)
	c.timed(stats.Lease, time.Since(start))
	c.bytes = stats.BytesTransferred
	if err != nil && plan == nil && len(stats.Changes) == 0 && len(stats.Problems) == 0 {
		return nil, err
	}
	data = c.answer(y.Engine(), stats.Changes, stats.Skipped, stats.Problems)
	data.FilesTransferred, data.BytesTransferred, data.DeletedFiles = stats.FilesTransferred, stats.BytesTransferred, stats.Deleted
	switch {
	case err != nil:
		data.Status = "partial"
	case len(stats.Problems) > 0:
		data.Status = "partial"
		err = partial(stats.Problems)
	default:
		data.Status = "completed"
	}
	return data, err
}

// answer fills in what every answer has, within bounds.
func (c *syncCall) answer(engine string, changes []remote.Change, skipped, problems []remote.Problem) *SyncData {
	d := &SyncData{
		Engine: engine, Direction: c.direction, Source: c.sync.Local.Full, Dest: c.remotePath,
		Plan: make([]SyncChange, 0, min(len(changes), maxPlanEntries)), PlanEntries: len(changes), PlanTruncated: len(changes) > maxPlanEntries,
		Warnings: c.listed(skipped), Errors: c.listed(problems), ErrorCount: len(problems),
	}
	if c.sync.Direction == remote.Download {
		d.Source, d.Dest = d.Dest, d.Source
	}
	for _, ch := range changes[:min(len(changes), maxPlanEntries)] {
		e := SyncChange{Path: ch.Path, Action: ch.Action, Bytes: ch.Bytes}
		if !utf8.ValidString(ch.Path) {
			e.PathBase64 = base64.StdEncoding.EncodeToString([]byte(ch.Path))
		}
		d.Plan = append(d.Plan, e)
	}
	return d
}

func (c *call) listed(problems []remote.Problem) []SyncProblem {
	var out []SyncProblem
	for _, p := range problems[:min(len(problems), maxListed)] {
		out = append(out, SyncProblem{p.Path, c.clean(p.Err.Error())})
	}
	return out
}

// partial is the error of a sync that went to its end but not everywhere.
func partial(problems []remote.Problem) error {
	first := problems[0]
	msg := fmt.Sprintf("everything was synced but %q: %v", first.Path, first.Err)
	if n := len(problems) - 1; n > 0 {
		msg = fmt.Sprintf("everything was synced but %d paths, the first of them %q: %v", n+1, first.Path, first.Err)
	}
	return &callError{codeOf(first.Err), msg}
}
