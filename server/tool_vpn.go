package server

import (
	"context"
	"net"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/policy"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/profile"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/vpn"
)

// VPNData is what vpn_wireguard_toggle answers.
type VPNData struct {
	PeerID        string `json:"peer_id"`
	Status        string `json:"status" jsonschema:"up or down; what it is now, where dry_run is set"`
	DryRun        bool   `json:"dry_run,omitempty" jsonschema:"nothing was changed"`
	Interface     string `json:"interface,omitempty" jsonschema:"name of the network interface, or userspace for a network stack inside the server"`
	IPAddress     string `json:"ip_address,omitempty" jsonschema:"this end's first address in the tunnel"`
	LastHandshake string `json:"last_handshake,omitempty" jsonschema:"when the peer last answered a handshake, RFC 3339"`
}

func (s *Server) vpnTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("vpn_wireguard_toggle",
			mcp.WithDescription("Bring a WireGuard peer of a profile up or down. Up answers once the peer has completed a handshake; "+
				"profiles that are reached via the peer can be used from then on. Down ends the SSH connections that go through it."),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("profile that defines the peer, see profile_list")),
			mcp.WithString("peer_id", mcp.Required(), mcp.Description("id of the peer in the profile's vpn.peers")),
			mcp.WithString("action", mcp.Required(), mcp.Description("up or down; a peer that is so already stays so"), mcp.Enum("up", "down")),
			mcp.WithBoolean("dry_run", mcp.Description("check profile, policy and peer, change nothing"), mcp.DefaultBool(false)),
			mcp.WithString("change_ticket", mcp.Description("ticket that allows the change, where the profile asks for one")),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[VPNData]](),
			mcp.WithReadOnlyHintAnnotation(false), mcp.WithDestructiveHintAnnotation(true),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "vpn.wireguard_toggle", toggleVPN),
	}
}

func toggleVPN(ctx context.Context, c *call) (*VPNData, error) {
	id, peerID, action := c.required("profile_id"), c.required("peer_id"), c.required("action")
	ticket, dryRun := c.str("change_ticket"), c.boolean(false, "dry_run")
	if action != "up" && action != "down" && action != "" {
		c.fail("action must be up or down, not %q", action)
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	if err := c.authorize(id, policy.Call{Operation: "vpn.wireguard_toggle", Protocol: "vpn", ChangeTicket: ticket}); err != nil {
		return nil, err
	}
	if dryRun {
		return c.plannedVPN(ctx, id, peerID)
	}
	ctx, cancel := c.deadline(ctx, maxTimeout)
	defer cancel()
	leave, err := c.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	start := time.Now()
	defer func() { c.metadata.Timing.Remote = time.Since(start).Seconds() }()
	status, err := c.s.setVPN(ctx, id, peerID, action == "up")
	if err != nil {
		return nil, err
	}
	return vpnData(peerID, status), nil
}

// plannedVPN finds the peer with its keys and says what it is now.
func (c *call) plannedVPN(ctx context.Context, id, peerID string) (*VPNData, error) {
	up := c.s.vpn.IsUp(id + "/" + peerID)
	if _, err := c.s.profiles.WireGuard(ctx, id, peerID); err != nil && !up {
		return nil, err
	}
	data := &VPNData{PeerID: peerID, Status: "down", DryRun: true}
	if up {
		data.Status = "up"
	}
	return data, nil
}

func vpnData(peerID string, s vpn.Status) *VPNData {
	if !s.Up {
		return &VPNData{PeerID: peerID, Status: "down"}
	}
	return &VPNData{
		PeerID: peerID, Status: "up", Interface: s.Interface, IPAddress: s.Addresses[0].Addr().String(),
		LastHandshake: s.LastHandshake.UTC().Format(time.RFC3339Nano),
	}
}

// setVPN brings a peer up, or down with the pooled connections that go through it. A peer that has gone from its profile can still be
// brought down.
func (s *Server) setVPN(ctx context.Context, id, peerID string, up bool) (vpn.Status, error) {
	w, err := s.profiles.WireGuard(ctx, id, peerID)
	if up {
		if err != nil {
			return vpn.Status{}, err
		}
		return s.vpn.Up(ctx, vpn.Peer{
			Name: w.Name, PublicKey: w.PublicKey, Endpoint: w.Endpoint, Addresses: w.Addresses, AllowedIPs: w.AllowedIPs, DNS: w.DNS,
			Keepalive: w.Keepalive, MTU: w.MTU, TUN: w.Mode == profile.ModeTUN, PrivateKey: w.PrivateKey, PresharedKey: w.PresharedKey,
		})
	}
	name := id + "/" + peerID
	if err != nil && !s.vpn.IsUp(name) {
		return vpn.Status{}, err
	}
	status, err := s.vpn.Down(ctx, name)
	if err == nil {
		s.pool.DropVPN(name)
	}
	return status, err
}

// dial opens the byte stream to a target, through its tunnel where it has one.
func (s *Server) dial(ctx context.Context, t *profile.Target) (net.Conn, error) {
	if t.VPN != "" {
		return s.traffic.counted(s.vpn.Dial(ctx, t.VPN, t.Addr))
	}
	var d net.Dialer
	return s.traffic.counted(d.DialContext(ctx, "tcp", t.Addr))
}
