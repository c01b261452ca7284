package server

import (
	"encoding/json"

	"github.com/mark3labs/mcp-go/mcp"
)

// Code classifies a failed call; it stands in the envelope's metadata.error_code.
type Code string

// The error codes.
const (
	CodeProfileNotFound      Code = "PROFILE_NOT_FOUND"
	CodePolicyViolation      Code = "POLICY_VIOLATION"
	CodeAuthenticationFailed Code = "AUTHENTICATION_FAILED"
	CodeAuthorizationFailed  Code = "AUTHORIZATION_FAILED"
	CodeInvalidParameters    Code = "INVALID_PARAMETERS"
	CodeLimitExceeded        Code = "LIMIT_EXCEEDED"
	CodeTimeout              Code = "TIMEOUT"
	CodeHostKeyMismatch      Code = "HOST_KEY_MISMATCH"
	CodeConnectionFailed     Code = "CONNECTION_FAILED"
	CodeOutcomeUnknown       Code = "OUTCOME_UNKNOWN"
	CodeInternalError        Code = "INTERNAL_ERROR"
)

// codes are all of them.
var codes = []string{
	string(CodeProfileNotFound), string(CodePolicyViolation), string(CodeAuthenticationFailed), string(CodeAuthorizationFailed),
	string(CodeInvalidParameters), string(CodeLimitExceeded), string(CodeTimeout), string(CodeHostKeyMismatch), string(CodeConnectionFailed),
	string(CodeOutcomeUnknown), string(CodeInternalError),
}

// Envelope is the structured content of every tool's result. Data is absent when the call failed before there was any; a command
// that was stopped leaves the output that had arrived.
type Envelope[T any] struct {
	Success  bool     `json:"success"`
	Data     *T       `json:"data,omitempty"`
	Error    string   `json:"error,omitempty" jsonschema:"what went wrong and what to do about it"`
	Metadata Metadata `json:"metadata"`
}

// Metadata says who called what, and where the time went.
type Metadata struct {
	ProfileID string `json:"profile_id,omitempty"`
	Actor     string `json:"actor" jsonschema:"who the server holds the caller to be"`
	Caller    string `json:"caller,omitempty" jsonschema:"who the caller says it is; recorded, not verified"`
	ErrorCode Code   `json:"error_code,omitempty"`
	// RetryAfter is in seconds.
	RetryAfter float64 `json:"retry_after_s,omitempty" jsonschema:"seconds to wait before trying again, where the server refused for want of room"`
	// Redacted counts Marks.
	Redacted int64  `json:"redacted,omitempty" jsonschema:"secrets of the profile that were taken out of the output; [redacted] stands in their place"`
	Timing   Timing `json:"timing"`
}

// Timing splits a call. All values are seconds.
type Timing struct {
	Queue   float64 `json:"queue" jsonschema:"seconds waiting for a slot"`
	Dial    float64 `json:"dial" jsonschema:"seconds waiting for a connection to be made"`
	Channel float64 `json:"channel" jsonschema:"seconds opening a channel"`
	Remote  float64 `json:"remote" jsonschema:"seconds the host worked"`
	Reused  bool    `json:"reused" jsonschema:"the SSH connection was open already"`
}

// result encodes env once and gives it both as structured content and, for clients that read no structured content, as text.
func result(env any, failed bool) (*mcp.CallToolResult, error) {
	data, err := json.Marshal(env)
	if err != nil {
		return nil, err
	}
	return &mcp.CallToolResult{
		Content:              []mcp.Content{mcp.NewTextContent(string(data))},
		RawStructuredContent: data,
		IsError:              failed,
	}, nil
}
