package server

import (
	"context"
	"errors"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// TransferData is what sftp_transfer answers.
type TransferData struct {
	Direction        string            `json:"direction"`
	LocalPath        string            `json:"local_path"`
	RemotePath       string            `json:"remote_path"`
	Files            int               `json:"files" jsonschema:"regular files that have arrived"`
	Directories      int               `json:"directories,omitempty" jsonschema:"directories made"`
	Symlinks         int               `json:"symlinks,omitempty" jsonschema:"symbolic links copied"`
	Unchanged        int               `json:"unchanged,omitempty" jsonschema:"files that an earlier resumable transfer had completed"`
	BytesTransferred int64             `json:"bytes_transferred" jsonschema:"payload that went over the connection"`
	ResumedFrom      int64             `json:"resumed_from,omitempty" jsonschema:"bytes that an earlier transfer had left and that were kept"`
	Checksum         string            `json:"checksum,omitempty" jsonschema:"SHA-256 of the one local file's bytes, as sha256:<hex>"`
	Verified         bool              `json:"verified" jsonschema:"the remote copies were read again and have the same SHA-256"`
	Status           string            `json:"status" jsonschema:"completed, partial where something of a directory was not moved, or planned by a dry run"`
	DryRun           bool              `json:"dry_run,omitempty" jsonschema:"nothing was moved; files and bytes are what an upload would move"`
	Failed           []TransferProblem `json:"failed,omitempty" jsonschema:"what was not moved, at most 100 of it"`
	FailedCount      int               `json:"failed_count,omitempty"`
	Untried          int               `json:"untried,omitempty" jsonschema:"entries that were not begun"`
	Warnings         []TransferProblem `json:"warnings,omitempty" jsonschema:"files that changed while they were read, at most 100 of them"`
}

// TransferProblem is a path of a transfer, relative to the directory that is moved, and what is wrong with it.
type TransferProblem struct {
	Path  string `json:"path"`
	Error string `json:"error"`
}

// maxProblems bounds the lists of an answer.
const maxProblems = 100

func transferProblems(ps []remote.Problem) []TransferProblem {
	var list []TransferProblem
	for _, p := range ps[:min(len(ps), maxProblems)] {
		list = append(list, TransferProblem{p.Path, p.Err.Error()})
	}
	return list
}

func (s *Server) transferTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("sftp_transfer",
			mcp.WithDescription("Copy a file, or with recursive a directory, to or from a host over SFTP. Each file's destination is replaced at once "+
				"when all of it has arrived. A directory's contents go into the destination directory."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithString("direction", mcp.Required(), mcp.Description("upload (or put), download (or get)"), mcp.Enum("upload", "put", "download", "get")),
			mcp.WithString("local_path", mcp.Required(), mcp.Description("file or directory on this machine, inside the profile's local_roots")),
			mcp.WithString("remote_path", mcp.Required(), mcp.Description("file or directory on the host; relative paths start at the login directory")),
			mcp.WithBoolean("recursive", mcp.Description("move a directory with all that it holds; links are copied as links"), mcp.DefaultBool(false)),
			mcp.WithBoolean("resume", mcp.Description("keep what has arrived when the transfer is cut, and go on from what an earlier call with resume kept"),
				mcp.DefaultBool(false)),
			mcp.WithBoolean("checksum", mcp.Description("read the remote copy again and compare its SHA-256"), mcp.DefaultBool(false)),
			mcp.WithBoolean("create_dirs", mcp.Description("make missing parent directories"), mcp.DefaultBool(true)),
			mcp.WithString("mode", mcp.Description("permission bits of the destination's files in octal, such as 0644; the source's by default")),
			mcp.WithInteger("bandwidth_limit_kbps", mcp.Description("at most so many times 1024 bytes a second; 0 is no limit"),
				mcp.DefaultNumber(0), mcp.Min(0), mcp.Max(maxBandwidth)),
			mcp.WithBoolean("dry_run", mcp.Description("check profile, policy and local path, contact nobody"), mcp.DefaultBool(false)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[TransferData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "sftp.transfer", transfer),
	}
}

func transfer(ctx context.Context, c *call) (*TransferData, error) {
	id := c.required("profile_id")
	direction := c.direction()
	local, remotePath := c.required("local_path"), c.required("remote_path")
	file := remote.File{
		Direction:  direction,
		Remote:     remotePath,
		Recursive:  c.boolean(false, "recursive"),
		Resume:     c.boolean(false, "resume"),
		Limit:      remote.NewBandwidth(int(c.number(0, 0, maxBandwidth, "bandwidth_limit_kbps"))),
		Progress:   c.progress,
		Verify:     c.boolean(false, "checksum"),
		CreateDirs: c.boolean(true, "create_dirs"),
		Mode:       c.fileMode("mode"),
	}
	ticket, dryRun := c.str("change_ticket"), c.boolean(false, "dry_run")
	if strings.ContainsRune(remotePath, 0) || !file.Recursive && strings.HasSuffix(remotePath, "/") {
		c.fail("remote_path must name a file, or a directory with recursive")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	want := policy.Call{
		Operation: "sftp.transfer", Protocol: "sftp", ChangeTicket: ticket, RemotePath: remotePath, Actions: []string{"sftp." + string(direction)},
	}
	if err := c.authorize(id, want); err != nil {
		return nil, err
	}
	var err error
	if file.Local, err = remote.OpenLocal(c.profile.Policy.LocalRoots, local); err != nil {
		code := CodeInvalidParameters
		if errors.Is(err, remote.ErrOutsideRoots) {
			code = CodePolicyViolation
		} else if starved(err) {
			code = CodeLimitExceeded
		}
		return nil, &callError{code, err.Error()}
	}
	defer file.Local.Close()
	file.Bounds = c.bounds()
	if dryRun {
		return plannedTransfer(ctx, file)
	}
	if direction == remote.Upload {
		defer c.s.responses.write(id)()
	}
	ctx, cancel := c.deadline(ctx, maxTimeout)
	defer cancel()
	t, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	moved, err := remote.Transfer(ctx, c.s.pool, t, file)
	if moved == nil {
		return nil, err
	}
	c.timed(moved.Lease, moved.Remote)
	c.bytes = moved.Bytes
	data := &TransferData{
		Direction: string(direction), LocalPath: file.Local.Full, RemotePath: remotePath,
		Files: moved.Files, Directories: moved.Dirs, Symlinks: moved.Links, Unchanged: moved.Unchanged,
		BytesTransferred: moved.Bytes, ResumedFrom: moved.ResumedFrom, Verified: file.Verify, Status: "completed",
		Failed: transferProblems(moved.Failed), FailedCount: len(moved.Failed), Untried: moved.Untried, Warnings: transferProblems(moved.Warnings),
	}
	if moved.SHA256 != "" {
		data.Checksum = "sha256:" + moved.SHA256
	}
	if err != nil {
		data.Status, data.Verified = "partial", false
	}
	return data, err
}

// plannedTransfer says what a transfer would do, as far as this machine alone tells.
func plannedTransfer(ctx context.Context, file remote.File) (*TransferData, error) {
	data := &TransferData{Direction: string(file.Direction), LocalPath: file.Local.Full, RemotePath: file.Remote, Status: "planned", DryRun: true}
	if file.Direction != remote.Upload {
		return data, nil
	}
	found, err := file.Local.Survey(ctx, file.Recursive)
	if err != nil {
		return nil, err
	}
	data.Files, data.Directories, data.Symlinks, data.BytesTransferred = found.Files, found.Dirs, found.Links, found.Bytes
	return data, nil
}

// maxBandwidth is the highest bandwidth limit in kB/s: a terabyte.
const maxBandwidth = 1 << 30

// direction reads the direction by either of its names.
func (c *call) direction() remote.Direction {
	switch d := c.required("direction"); d {
	case "upload", "put":
		return remote.Upload
	case "download", "get":
		return remote.Download
	case "":
	default:
		c.fail("direction must be upload (put) or download (get), not %q", d)
	}
	return ""
}
