//go:build conformance

package server

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/mcp"
	mcpserver "github.com/mark3labs/mcp-go/server"
)

// inputFixtures ask the client for input: by a result that wants a second call from 2026-07-28 on, by requests to the client before.
func (s *Server) inputFixtures() []mcpserver.ServerTool {
	asking := s.asking(s.listeners())
	name := func(in *input) { in.elicit("user_name", "What is your name?", field("name", "string")) }
	confirm := func(in *input) {
		in.elicit("confirm", "Please confirm", field("ok", "boolean"))
		in.next = "state-ok"
	}
	const prefix = "test_input_required_result_"
	return append(legacyFixtures(asking),
		asking(prefix+"elicitation", name),
		asking("test_streaming_elicitation", name),
		asking(prefix+"sampling", func(in *input) { in.sample("capital_question", "What is the capital of France?", 100) }),
		asking(prefix+"list_roots", func(in *input) { in.roots("client_roots") }),
		asking(prefix+"request_state", confirm),
		asking(prefix+"tampered_state", confirm),
		asking(prefix+"multiple_inputs", func(in *input) {
			name(in)
			in.sample("greeting", "Generate a greeting", 50)
			in.roots("client_roots")
			in.next = "asked"
		}),
		asking(prefix+"multi_round", func(in *input) {
			if in.state == "second" || in.state == "first" && in.answered("step1", "action") {
				in.elicit("step2", "Step 2: What is your favorite color?", field("color", "string"))
				in.next = "second"
				return
			}
			in.elicit("step1", "Step 1: What is your name?", field("name", "string"))
			in.next = "first"
		}),
		asking(prefix+"capabilities", func(in *input) {
			if c := capabilities(in.ctx); c != nil && c.Elicitation != nil {
				name(in)
				return
			}
			in.sample("greeting", "Generate a greeting", 50)
		}),
	)
}

// legacyFixtures are those of the generation in which a server sends requests to its client.
func legacyFixtures(asking func(string, func(*input), ...mcp.ToolOption) mcpserver.ServerTool) []mcpserver.ServerTool {
	schema := func(properties string) map[string]any {
		var m map[string]any
		if err := json.Unmarshal([]byte(properties), &m); err != nil {
			panic(err)
		}
		return map[string]any{"type": "object", "properties": m}
	}
	return []mcpserver.ServerTool{
		asking("test_sampling", func(in *input) { in.sample("answer", in.arguments["prompt"], 100) }, mcp.WithString("prompt", mcp.Required())),
		asking("test_elicitation", func(in *input) {
			in.elicit("answer", fmt.Sprint(in.arguments["message"]), schema(`{"username": {"type": "string"}, "email": {"type": "string"}}`))
		}, mcp.WithString("message", mcp.Required())),
		asking("test_elicitation_sep1034_defaults", func(in *input) {
			in.elicit("answer", "Please confirm", schema(`{"name": {"type": "string", "default": "John Doe"}, "age": {"type": "integer", "default": 30},
				"score": {"type": "number", "default": 95.5}, "verified": {"type": "boolean", "default": true},
				"status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"}}`))
		}),
		asking("test_elicitation_sep1330_enums", func(in *input) {
			in.elicit("answer", "Please choose", schema(`{"untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
				"titledSingle": {"type": "string", "oneOf": [{"const": "value1", "title": "First Option"}, {"const": "value2", "title": "Second Option"}]},
				"legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
				"untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
				"titledMulti": {"type": "array", "items": {"anyOf": [{"const": "value1", "title": "First Choice"}, {"const": "value2", "title": "Second Choice"}]}}}`))
		}),
	}
}

// input is a call that asks its client.
type input struct {
	ctx       context.Context
	arguments map[string]any
	responses mcp.InputResponses
	state     string // of this call, as given out with the last answer
	next      string // of the call to come; none when empty
	builder   *mcpserver.InputRequestBuilder
	answers   []string
	open      bool // something asked has no good answer yet
}

// asking returns what makes a tool that has ask say what it needs, and answers with what the client said once it has everything.
func (s *Server) asking(listeners *sync.Map) func(name string, ask func(*input), options ...mcp.ToolOption) mcpserver.ServerTool {
	return func(name string, ask func(*input), options ...mcp.ToolOption) mcpserver.ServerTool {
		handler := func(ctx context.Context, req mcp.CallToolRequest) (*mcp.CallToolResult, error) {
			result, err := round(ctx, req, ask)
			if info := mcpserver.RequestProtocolInfoFromContext(ctx); err != nil || info != nil && info.Modern {
				return result, err
			}
			for result.NeedsInput() {
				if req.Params.InputResponses, err = s.fulfil(ctx, listeners, result.InputRequests); err != nil {
					return nil, err
				}
				req.Params.RequestState = result.RequestState
				if result, err = round(ctx, req, ask); err != nil {
					return nil, err
				}
			}
			return result, nil
		}
		return mcpserver.ServerTool{Tool: mcp.NewTool(name, append(options, mcp.WithDescription("Asks the client"))...), Handler: handler}
	}
}

// round lets ask say what it needs, and answers once it has everything.
func round(ctx context.Context, req mcp.CallToolRequest, ask func(*input)) (*mcp.CallToolResult, error) {
	state, err := unseal(req.Params.RequestState)
	if err != nil {
		return nil, err
	}
	in := &input{ctx: ctx, arguments: req.GetArguments(), responses: req.Params.InputResponses, state: state, builder: mcpserver.NewInputRequestBuilder("")}
	ask(in)
	if !in.open {
		return mcp.NewToolResultText(in.next + " " + strings.Join(in.answers, " ")), nil
	}
	if in.next != "" {
		in.builder.RequestState(seal(in.next))
	}
	return in.builder.ToolResult(), nil
}

// listeners keeps the sessions whose clients listen on a stream of their own, by their ids. Of others the server keeps nothing (see sessionless).
func (s *Server) listeners() *sync.Map {
	var sessions sync.Map
	h := s.hooks()
	h.AddOnRegisterSession(func(_ context.Context, session mcpserver.ClientSession) { sessions.Store(session.SessionID(), session) })
	h.AddOnUnregisterSession(func(_ context.Context, session mcpserver.ClientSession) {
		sessions.CompareAndDelete(session.SessionID(), session)
	})
	mcpserver.WithHooks(h)(s.mcp)
	return &sessions
}

// fulfil sends requests to the client of a call, which opens its stream while it makes the call: only there do answers find their way back.
func (s *Server) fulfil(ctx context.Context, listeners *sync.Map, requests mcp.InputRequests) (mcp.InputResponses, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	id := mcpserver.ClientSessionFromContext(ctx).SessionID()
	session, ok := listeners.Load(id)
	for ; !ok; session, ok = listeners.Load(id) {
		select {
		case <-ctx.Done():
			return nil, errors.New("the client does not listen")
		case <-time.After(10 * time.Millisecond):
		}
	}
	ctx = s.mcp.WithContext(ctx, session.(mcpserver.ClientSession))
	responses := mcp.InputResponses{}
	for id, r := range requests {
		if r.Elicitation != nil {
			result, err := s.mcp.RequestElicitation(ctx, mcp.ElicitationRequest{Request: mcp.Request{Method: string(r.Method)}, Params: *r.Elicitation})
			if err != nil {
				return nil, err
			}
			responses[id] = mcp.NewElicitationInputResponse(*result)
			continue
		}
		//lint:ignore SA1019 the suite still asks for it
		result, err := s.mcp.RequestSampling(ctx, mcp.CreateMessageRequest{Request: mcp.Request{Method: string(r.Method)}, CreateMessageParams: *r.Sampling})
		if err != nil {
			return nil, err
		}
		responses[id] = mcp.NewSamplingInputResponse(*result)
	}
	return responses, nil
}

func (in *input) elicit(id, message string, schema map[string]any) {
	in.builder.Elicit(id, mcp.ElicitationParams{Message: message, RequestedSchema: schema})
	in.open = !in.answered(id, "action") || in.open
}

func (in *input) sample(id string, prompt any, tokens int) {
	message := mcp.SamplingMessage{Role: mcp.RoleUser, Content: mcp.NewTextContent(fmt.Sprint(prompt))}
	in.builder.Sample(id, mcp.CreateMessageParams{Messages: []mcp.SamplingMessage{message}, MaxTokens: tokens})
	in.open = !in.answered(id, "content") || in.open
}

func (in *input) roots(id string) {
	in.builder.Roots(id)
	in.open = !in.answered(id, "roots") || in.open
}

// answered reports whether the client answered id by an object that has key, and keeps the answer.
func (in *input) answered(id, key string) bool {
	raw, err := json.Marshal(in.responses[id])
	var m map[string]any
	if err != nil || json.Unmarshal(raw, &m) != nil || m[key] == nil {
		return false
	}
	in.answers = append(in.answers, string(raw))
	return true
}

// field is the schema of an object of one required property.
func field(name, kind string) map[string]any {
	return map[string]any{"type": "object", "properties": map[string]any{name: map[string]any{"type": kind}}, "required": []string{name}}
}

var sealKey = []byte(rand.Text())

// seal makes a state that nobody else can make.
func seal(state string) string {
	mac := hmac.New(sha256.New, sealKey)
	mac.Write([]byte(state))
	return state + "." + hex.EncodeToString(mac.Sum(nil))
}

// unseal returns what seal was given. The empty string stands for no state.
func unseal(sealed string) (string, error) {
	state, _, _ := strings.Cut(sealed, ".")
	if sealed != "" && !hmac.Equal([]byte(seal(state)), []byte(sealed)) {
		return "", fmt.Errorf("%w: the request state is not one given out", mcp.ErrInvalidParams)
	}
	return state, nil
}
