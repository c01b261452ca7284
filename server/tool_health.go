package server

import (
	"context"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

func (s *Server) healthTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("server_health",
			mcp.WithDescription("Say whether the server and what it needs are well: server, audit database, SSH hosts, memory and CPU, caches, connection pools. "+
				"Checks are made at an interval; the answer is that of the last ones and carries its age."),
			mcp.WithBoolean("refresh", mcp.Description("check now and wait for it"), mcp.DefaultBool(false)),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[HealthData]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, "server.health", serverHealth),
	}
}

func serverHealth(ctx context.Context, c *call) (*HealthData, error) {
	refresh := c.boolean(false, "refresh")
	if err := c.done(); err != nil {
		return nil, err
	}
	if refresh {
		return c.s.health.refresh(ctx, c.s)
	}
	return c.s.health.get(ctx, c.s)
}

func (s *Server) performanceTool() mcpserver.ServerTool {
	return mcpserver.ServerTool{
		Tool: mcp.NewTool("debug_performance",
			mcp.WithDescription("Find out why a host is slow or fails: times name look-up, TCP, key exchange, authentication, channel, command and SFTP "+
				"over fresh connections and over pooled ones, and says in plain words what is slow, leaks, runs short or is of no use, and what to do about it. "+
				"It runs the command `true` where the profile's policy admits it."),
			mcp.WithString("operation", mcp.Required(), mcp.Description("what to time: all, or the way of connect, ssh.exec, sftp.transfer or rsync.sync"),
				mcp.Enum(DiagnoseOperations...)),
			mcp.WithString("profile_id", mcp.Required(), mcp.Description("host profile, see profile_list")),
			mcp.WithInteger("iterations", mcp.Description("fresh connections to make"), mcp.DefaultNumber(defaultIterations), mcp.Min(1), mcp.Max(maxIterations)),
			mcp.WithString("caller", mcp.Description("who is asking; recorded, not verified")),
			mcp.WithOutputSchema[Envelope[Diagnosis]](),
			mcp.WithReadOnlyHintAnnotation(true), mcp.WithDestructiveHintAnnotation(false),
			mcp.WithIdempotentHintAnnotation(true), mcp.WithOpenWorldHintAnnotation(true),
		),
		Handler: handle(s, operationDiagnosis, debugPerformance),
	}
}

func debugPerformance(ctx context.Context, c *call) (*Diagnosis, error) {
	opts := DiagnoseOptions{
		Operation: c.required("operation"), Profile: c.required("profile_id"),
		Iterations: int(c.number(defaultIterations, 1, maxIterations, "iterations")),
	}
	if err := c.done(); err != nil {
		return nil, err
	}
	return c.diagnose(ctx, opts)
}
