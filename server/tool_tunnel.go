package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// TunnelData is what tunnel_create answers.
type TunnelData struct {
	TunnelID   string `json:"tunnel_id"`
	TunnelType string `json:"tunnel_type" jsonschema:"local, remote or dynamic"`
	ListenHost string `json:"listen_host"`
	ListenPort int    `json:"listen_port"`
	Target     string `json:"target,omitempty" jsonschema:"host:port it leads to; absent for dynamic tunnels"`
	ExpiresAt  string `json:"expires_at" jsonschema:"when it closes by itself, RFC 3339"`
	Status     string `json:"status" jsonschema:"open, or planned by a dry run"`
	DryRun     bool   `json:"dry_run,omitempty" jsonschema:"nothing was opened; tunnel_id is empty"`
}

// TunnelClosedData is what tunnel_close answers.
type TunnelClosedData struct {
	TunnelID string `json:"tunnel_id"`
	Status   string `json:"status" jsonschema:"closed, or planned by a dry run"`
	DryRun   bool   `json:"dry_run,omitempty" jsonschema:"nothing was closed; the figures are those of now"`
	BytesIn  int64  `json:"bytes_in" jsonschema:"bytes carried from those who connected to the target"`
	BytesOut int64  `json:"bytes_out" jsonschema:"bytes carried from the target to those who connected"`
	Total    int64  `json:"connections_total"`
}

// TunnelInfo is what tunnel_list tells of a tunnel.
type TunnelInfo struct {
	TunnelID   string `json:"tunnel_id"`
	ProfileID  string `json:"profile_id"`
	TunnelType string `json:"tunnel_type"`
	ListenHost string `json:"listen_host"`
	ListenPort int    `json:"listen_port"`
	Target     string `json:"target,omitempty"`
	Owner      string `json:"owner" jsonschema:"who opened it"`
	CreatedAt  string `json:"created_at" jsonschema:"RFC 3339"`
	ExpiresAt  string `json:"expires_at" jsonschema:"RFC 3339"`
	State      string `json:"state" jsonschema:"open, reconnecting (the host was not reached and is tried again) or dead"`
	Reason     string `json:"reason,omitempty" jsonschema:"why it is not open"`
	BytesIn    int64  `json:"bytes_in" jsonschema:"bytes carried from those who connected to the target"`
	BytesOut   int64  `json:"bytes_out" jsonschema:"bytes carried from the target to those who connected"`
	Open       int64  `json:"connections_open"`
	Total      int64  `json:"connections_total" jsonschema:"connections accepted, failed ones included"`
	Failed     int64  `json:"connections_failed" jsonschema:"connections that did not reach their target"`
}

// TunnelListData is what tunnel_list answers.
type TunnelListData struct {
	Tunnels []TunnelInfo `json:"tunnels"`
}

// Limits of tunnel_create's parameters.
const (
	defaultTTL    = 3600.0
	maxTTL        = 86400.0
	createTimeout = 60.0 // seconds, for reaching the host and for its answer
)

func (s *Server) tunnelTools() []mcpserver.ServerTool {
	return []mcpserver.ServerTool{s.tunnelCreateTool(), s.tunnelCloseTool(), s.tunnelListTool()}
}

func (s *Server) tunnelCreateTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("tunnel_create",
			mcp.WithDescription("Open a TCP tunnel through a host: local (listen here, connect from the host), remote (listen on the host, connect "+
				"from here) or dynamic (a SOCKS5 proxy here). It stays until tunnel_close or its ttl_seconds."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithString("tunnel_type", mcp.Required(), mcp.Enum("local", "remote", "dynamic"), mcp.Description("which end listens")),
			mcp.WithString("listen_host", mcp.Description("address to listen on; others than loopback only where the profile allows them"),
				mcp.DefaultString("127.0.0.1")),
			mcp.WithInteger("listen_port", mcp.Description("port to listen on; 0 takes a free one"), mcp.DefaultNumber(0), mcp.Min(0), mcp.Max(65535)),
			mcp.WithString("target_host", mcp.Description("where a local or remote tunnel leads")),
			mcp.WithInteger("target_port", mcp.Description("its port"), mcp.Min(1), mcp.Max(65535)),
			mcp.WithNumber("ttl_seconds", mcp.Description("the tunnel closes after this, or sooner where the profile's max_session_seconds says so"),
				mcp.DefaultNumber(defaultTTL), mcp.Min(1), mcp.Max(maxTTL)),
			mcp.WithBoolean("dry_run", mcp.Description("check profile and policy, open nothing"), mcp.DefaultBool(false)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[TunnelData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(false), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "tunnel.create", createTunnel),
	}
}

func (s *Server) tunnelCloseTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("tunnel_close",
			mcp.WithDescription("Close a tunnel that you opened. Connections in it get two seconds to end."),
			mcp.WithString("tunnel_id", mcp.Required(), mcp.Description("as tunnel_create or tunnel_list names it")),
			mcp.WithBoolean("dry_run", mcp.Description("check tunnel and policy, close nothing"), mcp.DefaultBool(false)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[TunnelClosedData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(false), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "tunnel.close", closeTunnel),
	}
}

func (s *Server) tunnelListTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("tunnel_list",
			mcp.WithDescription("List the tunnels with what they carried and whether their host is reached."),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[TunnelListData]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(false),
		),
		Handler: handle(s, "tunnel.list", listTunnels),
	}
}

func createTunnel(ctx context.Context, c *call) (*TunnelData, error) {
	id := c.required("profile_id")
	spec := c.tunnelSpec()
	ttl := time.Duration(c.number(defaultTTL, 1, maxTTL, "ttl_seconds") * float64(time.Second))
	ticket, dryRun := c.str("change_ticket"), c.boolean(false, "dry_run")
	if err := c.done(); err != nil {
		return nil, err
	}
	want := policy.Call{
		Operation: "tunnel.create", Protocol: "tunnel", ChangeTicket: ticket, Listen: spec.ListenHost,
	}
	if spec.Kind != remote.DynamicTunnel {
		want.Target = net.JoinHostPort(spec.TargetHost, strconv.Itoa(spec.TargetPort))
	}
	if err := c.authorize(id, want); err != nil {
		return nil, err
	}
	if limit := c.policy.SessionLimit(); limit > 0 {
		ttl = min(ttl, limit)
	}
	if dryRun {
		return &TunnelData{
			TunnelType: string(spec.Kind), ListenHost: spec.ListenHost, ListenPort: spec.ListenPort, Target: want.Target,
			ExpiresAt: time.Now().Add(ttl).UTC().Format(time.RFC3339), Status: "planned", DryRun: true,
		}, nil
	}
	ctx, cancel := c.deadline(ctx, createTimeout)
	defer cancel()
	_, leave, err := c.admit(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	t, err := c.openTunnel(ctx, spec, ttl)
	if err != nil {
		return nil, err
	}
	now := t.Status()
	return &TunnelData{
		TunnelID: t.id, TunnelType: string(t.kind), ListenHost: now.ListenHost, ListenPort: now.ListenPort, Target: t.target,
		ExpiresAt: t.expires.UTC().Format(time.RFC3339), Status: "open",
	}, nil
}

// tunnelSpec reads what kind of tunnel is wanted, and what that kind needs.
func (c *call) tunnelSpec() remote.TunnelSpec {
	spec := remote.TunnelSpec{Kind: remote.TunnelKind(c.required("tunnel_type")), ListenHost: c.str("listen_host")}
	spec.ListenPort = c.port(0, "listen_port")
	spec.TargetHost = c.str("target_host")
	spec.TargetPort = c.port(1, "target_port")
	if spec.ListenHost == "" {
		spec.ListenHost = "127.0.0.1"
	}
	c.host(spec.ListenHost, "listen_host")
	switch given := spec.TargetHost != "" || spec.TargetPort != 0; spec.Kind {
	case remote.LocalTunnel, remote.RemoteTunnel:
		if spec.TargetHost == "" || spec.TargetPort == 0 {
			c.fail("a %s tunnel needs target_host and target_port", spec.Kind)
			break
		}
		c.host(spec.TargetHost, "target_host")
	case remote.DynamicTunnel:
		if given {
			c.fail("a dynamic tunnel takes no target_host and target_port: its clients name their targets")
		}
	case "":
	default:
		c.fail("tunnel_type must be local, remote or dynamic, not %q", spec.Kind)
	}
	return spec
}

// port reads a whole number from low to 65535; 0 where there is none.
func (c *call) port(low float64, name string) int {
	n := c.number(0, low, 65535, name)
	if n != math.Trunc(n) {
		c.fail("%s must be a whole number, not %v", name, n)
	}
	return int(n)
}

// host checks that text can be a host name or an IP address.
func (c *call) host(text, name string) {
	if _, err := netip.ParseAddr(text); err == nil {
		return
	}
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:[]@*", r) }
	if len(text) > 253 || strings.ContainsFunc(text, bad) {
		c.fail("%s must be a host name or an IP address without brackets and port, not %q", name, text)
	}
}

func closeTunnel(_ context.Context, c *call) (*TunnelClosedData, error) {
	id := c.required("tunnel_id")
	ticket, dryRun := c.str("change_ticket"), c.boolean(false, "dry_run")
	if err := c.done(); err != nil {
		return nil, err
	}
	t := c.s.tunnels.get(id)
	if t == nil {
		return nil, &callError{CodeInvalidParameters, fmt.Sprintf("there is no tunnel %q; it may have expired, see tunnel_list", id)}
	}
	c.metadata.ProfileID = t.profileID
	if t.owner != c.metadata.Actor {
		return nil, &callError{CodeAuthorizationFailed, fmt.Sprintf("tunnel %s belongs to %s", id, t.owner)}
	}
	want := policy.Call{Operation: "tunnel.close", Protocol: "tunnel", ChangeTicket: ticket}
	if err := c.authorize(t.profileID, want); err != nil && !errors.Is(err, profile.ErrNotFound) { // a tunnel may outlive its profile
		return nil, err
	}
	if dryRun {
		now := t.Status()
		return &TunnelClosedData{TunnelID: id, Status: "planned", DryRun: true, BytesIn: now.BytesIn, BytesOut: now.BytesOut, Total: now.Total}, nil
	}
	c.s.tunnels.end(t)
	end := t.Status()
	c.bytes = end.BytesIn + end.BytesOut
	return &TunnelClosedData{TunnelID: id, Status: "closed", BytesIn: end.BytesIn, BytesOut: end.BytesOut, Total: end.Total}, nil
}

func listTunnels(_ context.Context, c *call) (*TunnelListData, error) {
	if err := c.done(); err != nil {
		return nil, err
	}
	data := &TunnelListData{Tunnels: []TunnelInfo{}}
	for _, t := range c.s.tunnels.list() {
		if !c.identity.AdmitsProfile(t.profileID) {
			continue
		}
		now := t.Status()
		data.Tunnels = append(data.Tunnels, TunnelInfo{
			TunnelID: t.id, ProfileID: t.profileID, TunnelType: string(t.kind), ListenHost: now.ListenHost, ListenPort: now.ListenPort,
			Target: t.target, Owner: t.owner, CreatedAt: t.created.UTC().Format(time.RFC3339), ExpiresAt: t.expires.UTC().Format(time.RFC3339),
			State: string(now.State), Reason: now.Reason, BytesIn: now.BytesIn, BytesOut: now.BytesOut,
			Open: now.Open, Total: now.Total, Failed: now.Failed,
		})
	}
	return data, nil
}
