//go:build conformance

package server

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// NewConformance is New with the tools that the official MCP conformance suite calls added to the server's own. They are in no product: this file
// is built with the tag conformance alone. Transports, sessions, access checks and hooks are those of every Server.
func NewConformance(cfg Config) (*Server, error) {
	s, err := New(cfg)
	if err != nil {
		return nil, err
	}
	mcpserver.WithToolCapabilities(true)(s.mcp) // some of its tools change the list
	mcpserver.WithLogging()(s.mcp)
	s.mcp.AddTools(s.contentFixtures()...)
	s.mcp.AddTools(s.noticeFixtures()...)
	s.mcp.AddTools(schemaFixtures()...)
	s.mcp.AddTools(s.inputFixtures()...)
	return s, nil
}

// canned makes a tool without parameters.
func canned(name, description string, handler mcpserver.ToolHandlerFunc) mcpserver.ServerTool {
	return mcpserver.ServerTool{Tool: mcp.NewTool(name, mcp.WithDescription(description)), Handler: handler}
}

// Content that a client must be able to take, the smallest of each kind: a PNG of one pixel and a WAV of no sample.
const (
	pixel   = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
	silence = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
)

// contentFixtures answer with each kind of content, or an error.
func (s *Server) contentFixtures() []mcpserver.ServerTool {
	answer := func(content ...mcp.Content) mcpserver.ToolHandlerFunc {
		return func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return &mcp.CallToolResult{Content: content}, nil
		}
	}
	text := func(uri, mime, body string) mcp.Content {
		return mcp.NewEmbeddedResource(mcp.TextResourceContents{URI: uri, MIMEType: mime, Text: body})
	}
	return []mcpserver.ServerTool{
		canned("test_simple_text", "Answers with a text", answer(mcp.NewTextContent("This is a simple text response for testing."))),
		canned("test_image_content", "Answers with an image", answer(mcp.NewImageContent(pixel, "image/png"))),
		canned("test_audio_content", "Answers with a sound", answer(mcp.NewAudioContent(silence, "audio/wav"))),
		canned("test_embedded_resource", "Answers with a resource", answer(text("test://embedded-resource", "text/plain", "This is an embedded resource content."))),
		canned("test_multiple_content_types", "Answers with a text, an image and a resource", answer(mcp.NewTextContent("Multiple content types test:"),
			mcp.NewImageContent(pixel, "image/png"), text("test://mixed-content-resource", "application/json", `{"test":"data","value":123}`))),
		canned("test_error_handling", "Always fails", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			return mcp.NewToolResultError("This tool intentionally returns an error for testing"), nil
		}),
		canned("test_missing_capability", "Needs a client that can sample", func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			if c := capabilities(ctx); c == nil || c.Sampling == nil {
				return nil, mcp.MissingRequiredClientCapabilityError{Capability: "sampling"}
			}
			return mcp.NewToolResultText("the client can sample"), nil
		}),
		canned("test_trigger_tool_change", "Changes the list of tools", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			s.mcp.AddTools(canned("test_added", "Was added", answer(mcp.NewTextContent("added"))))
			s.mcp.DeleteTools("test_added")
			return mcp.NewToolResultText("the list has changed"), nil
		}),
	}
}

// noticeFixtures send notifications while they run: progress by the way of the server's own tools, and log messages.
func (s *Server) noticeFixtures() []mcpserver.ServerTool {
	logging := func(ctx context.Context, _ mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		for _, message := range []string{"Tool execution started", "Tool processing data", "Tool execution completed"} {
			if err := s.mcp.SendLogMessageToClient(ctx, mcp.NewLoggingMessageNotification(mcp.LoggingLevelInfo, "conformance", message)); err != nil {
				return nil, err
			}
			time.Sleep(50 * time.Millisecond)
		}
		return mcp.NewToolResultText("three messages logged"), nil
	}
	return []mcpserver.ServerTool{
		canned("test_tool_with_logging", "Logs three messages", logging),
		canned("test_logging_tool", "Logs three messages", logging),
		canned("test_tool_with_progress", "Reports its progress", func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			reporter := s.newProgress(ctx, req)
			for _, done := range []int64{0, 50, 100} {
				reporter.report(done, 100, "")
				time.Sleep(progressGap)
			}
			reporter.end()
			return mcp.NewToolResultText("done"), nil
		}),
		canned("test_reconnection", "Answers after a while", func(context.Context, mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			time.Sleep(100 * time.Millisecond)
			return mcp.NewToolResultText("Reconnection test completed successfully"), nil
		}),
	}
}

// schemaFixtures have input schemas whose every keyword must reach the client, and a parameter that travels in a header, too.
func schemaFixtures() []mcpserver.ServerTool {
	const full = `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
		"$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
		"properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}, "contactMethod": {"type": "string", "enum": ["phone", "email"]},
			"phone": {"type": "string"}, "email": {"type": "string"}},
		"allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
		"if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
		"then": {"required": ["phone"]}, "else": {"required": ["email"]}, "additionalProperties": false}`
	const header = `{"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}`
	echo := func(_ context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
		return mcp.NewToolResultText(fmt.Sprint(req.GetArguments())), nil
	}
	return []mcpserver.ServerTool{
		{Tool: mcp.NewToolWithRawSchema("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", json.RawMessage(full)), Handler: echo},
		{Tool: mcp.NewToolWithRawSchema("test_header", "Has a parameter in a header", json.RawMessage(header)), Handler: echo},
	}
}

// capabilities is what the client declared in the request; nil before 2026-07-28.
func capabilities(ctx context.Context) *mcp.ClientCapabilities {
	if info := mcpserver.RequestProtocolInfoFromContext(ctx); info != nil {
		return info.ClientCapabilities
	}
	return nil
}
