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
	Direction        string `json:"direction"`
	LocalPath        string `json:"local_path"`
	RemotePath       string `json:"remote_path"`
	Files            int    `json:"files"`
	BytesTransferred int64  `json:"bytes_transferred"`
	Checksum         string `json:"checksum" jsonschema:"SHA-256 of the local file's bytes, as sha256:<hex>"`
	Verified         bool   `json:"verified" jsonschema:"the remote copy was read again and has the same SHA-256"`
	Status           string `json:"status" jsonschema:"completed"`
}

func (s *Server) transferTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("sftp_transfer",
			mcp.WithDescription("Copy one file to or from a host over SFTP. The destination is replaced at once when all of it has arrived."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithString("direction", mcp.Required(), mcp.Description("upload (or put), download (or get)"), mcp.Enum("upload", "put", "download", "get")),
			mcp.WithString("local_path", mcp.Required(), mcp.Description("file on this machine, inside the profile's local_roots")),
			mcp.WithString("remote_path", mcp.Required(), mcp.Description("file on the host; relative paths start at the login directory")),
			mcp.WithBoolean("checksum", mcp.Description("read the remote copy again and compare its SHA-256"), mcp.DefaultBool(false)),
			mcp.WithBoolean("create_dirs", mcp.Description("make missing parent directories"), mcp.DefaultBool(true)),
			mcp.WithString("mode", mcp.Description("permission bits of the destination in octal, such as 0644; the source's by default")),
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
		Verify:     c.boolean(false, "checksum"),
		CreateDirs: c.boolean(true, "create_dirs"),
		Mode:       c.fileMode("mode"),
	}
	ticket := c.str("change_ticket")
	if strings.ContainsRune(remotePath, 0) || strings.HasSuffix(remotePath, "/") {
		c.fail("remote_path must name a file")
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	want := policy.Call{
		Operation: "sftp.transfer", Protocol: "sftp", ChangeTicket: ticket, Actions: []string{"sftp." + string(direction)},
	}
	if err := c.authorize(id, want); err != nil {
		return nil, err
	}
	var err error
	if file.Local, err = remote.OpenLocal(c.profile.Policy.LocalRoots, local); err != nil {
		code := CodeInvalidParameters
		if errors.Is(err, remote.ErrOutsideRoots) {
			code = CodePolicyViolation
		}
		return nil, &callError{code, err.Error()}
	}
	defer file.Local.Close()
	ctx, cancel := c.deadline(ctx, maxTimeout)
	defer cancel()
	t, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	moved, err := remote.Transfer(ctx, c.s.pool, t, file)
	if err != nil {
		return nil, err
	}
	c.timed(moved.Lease, moved.Remote)
	c.bytes = moved.Bytes
	return &TransferData{
		Direction: string(direction), LocalPath: file.Local.Full, RemotePath: remotePath, Files: 1,
		BytesTransferred: moved.Bytes, Checksum: "sha256:" + moved.SHA256, Verified: file.Verify, Status: "completed",
	}, nil
}

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
