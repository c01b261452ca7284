package driver

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/mcp"

	"github.com/openaccess-mcp/openaccess-mcp/loadgen"
)

// The MCP protocol versions that drivers speak. Older servers answer the first with a version of theirs, which is then spoken.
const (
	ProtocolStateful  = mcp.LATEST_LEGACY_PROTOCOL_VERSION // "2025-11-25": a handshake, and a session on the server
	ProtocolStateless = mcp.ProtocolVersion20260728        // "2026-07-28": every request says who calls and in which version
)

// checkProtocol completes and judges the protocol version of a configuration.
func checkProtocol(version *string) error {
	if *version == "" {
		*version = ProtocolStateful
	}
	if !mcp.IsValidProtocolVersion(*version) {
		return fmt.Errorf("protocol %q is not known: use one of %s", *version, strings.Join(mcp.ValidProtocolVersions, ", "))
	}
	return nil
}

const (
	clientName    = "openaccess-loadgen"
	clientVersion = "1"
)

// wire is what a protocol version puts into each request.
type wire struct {
	version string
	meta    string // members of params._meta; empty under versions with a handshake
}

func newWire(version string) wire {
	w := wire{version: version}
	if mcp.IsModernProtocol(version) {
		w.meta = fmt.Sprintf(`%q:%q,%q:{"name":%q,"version":%q},%q:{}`, mcp.MetaKeyProtocolVersion, version,
			mcp.MetaKeyClientInfo, clientName, clientVersion, mcp.MetaKeyClientCapabilities)
	}
	return w
}

// stateless reports whether there is no session on the server.
func (w wire) stateless() bool { return w.meta != "" }

// appendCall appends the request of a tool call, a line of its own. Its progress token is its id.
func (w wire) appendCall(b []byte, id int64, c loadgen.Call) ([]byte, error) {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendInt(b, id, 10)
	b = append(b, `,"method":"tools/call","params":{`...)
	if w.meta != "" || c.Progress != nil {
		b = append(append(b, `"_meta":{`...), w.meta...)
		if c.Progress != nil {
			if w.meta != "" {
				b = append(b, ',')
			}
			b = strconv.AppendInt(append(b, `"progressToken":`...), id, 10)
		}
		b = append(b, `},`...)
	}
	b = append(b, `"name":`...)
	b = appendString(b, c.Tool)
	b = append(b, `,"arguments":`...)
	b, err := appendObject(b, c.Args)
	return append(b, "}}\n"...), err
}

// helloMethod is the first request to a server.
func (w wire) helloMethod() string {
	if w.stateless() {
		return string(mcp.MethodServerDiscover)
	}
	return string(mcp.MethodInitialize)
}

// appendHello appends the first request: the handshake, or the question who the server is where there is no handshake.
func (w wire) appendHello(b []byte, id int64) []byte {
	if w.stateless() {
		return fmt.Appendf(b, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"_meta":{%s}}}`+"\n", id, w.helloMethod(), w.meta)
	}
	return fmt.Appendf(b, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":%q,"version":%q}}}`+"\n",
		id, w.helloMethod(), w.version, clientName, clientVersion)
}

// initialized is the notification that ends a handshake.
const initialized = `{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n"

// greeting is what a server says of itself.
type greeting struct{ version, name, serverVersion string }

// greeting reads the answer to the first request.
func (w wire) greeting(m message) (greeting, error) {
	if m.result == nil {
		return greeting{}, errors.New(m.reply.Error)
	}
	var res struct {
		ProtocolVersion   string                     `json:"protocolVersion"`
		SupportedVersions []string                   `json:"supportedVersions"`
		ServerInfo        mcp.Implementation         `json:"serverInfo"`
		Meta              map[string]json.RawMessage `json:"_meta"`
	}
	if err := json.Unmarshal(m.result, &res); err != nil {
		return greeting{}, fmt.Errorf("the server's answer to %s: %w", w.helloMethod(), err)
	}
	if !w.stateless() {
		if !mcp.IsValidProtocolVersion(res.ProtocolVersion) {
			return greeting{}, fmt.Errorf("the server speaks protocol version %q, which is unknown here", res.ProtocolVersion)
		}
		return greeting{res.ProtocolVersion, res.ServerInfo.Name, res.ServerInfo.Version}, nil
	}
	if !slices.Contains(res.SupportedVersions, w.version) {
		return greeting{}, fmt.Errorf("the server speaks %s, not %s", strings.Join(res.SupportedVersions, ", "), w.version)
	}
	if info := res.Meta[mcp.MetaKeyServerInfo]; info != nil {
		if err := json.Unmarshal(info, &res.ServerInfo); err != nil {
			return greeting{}, fmt.Errorf("the server's answer to %s: %w", w.helloMethod(), err)
		}
	}
	return greeting{w.version, res.ServerInfo.Name, res.ServerInfo.Version}, nil
}

// appendAnswer appends the answer to a request of the server: to ping, and to others that they are not known.
func appendAnswer(b []byte, m message) []byte {
	if m.method == string(mcp.MethodPing) {
		return fmt.Appendf(b, `{"jsonrpc":"2.0","id":%s,"result":{}}`+"\n", m.rawID)
	}
	return fmt.Appendf(b, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"method not found"}}`+"\n", m.rawID, mcp.METHOD_NOT_FOUND)
}
