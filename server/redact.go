package server

import (
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
	"github.com/openaccess-mcp/openaccess-mcp/server/internal/secret"
)

// clean takes the profile's secrets out of what its host, or an error, says in few words.
func (c *call) clean(text string) string {
	id := c.metadata.ProfileID
	if id == "" {
		id, _ = c.args["profile_id"].(string)
	}
	if id == "" || c.s.profiles == nil {
		return text
	}
	clean, _, n := c.s.profiles.Redactor(id).Clean([]byte(text), false)
	c.metadata.Redacted += int64(n)
	return string(clean)
}

// cleanable is how many bytes to keep of a stream so that cleanOutput can give limit of them.
func cleanable(r *secret.Redactor, limit int64) int64 { return limit + int64(r.Longest()) + 1 }

// cleanOutput takes secrets out of both streams, of which as many bytes were kept as cleanable says, and cuts them to limit.
func cleanOutput(r *secret.Redactor, out *remote.Output, limit int64) (count int64) {
	var cutOut, cutErr bool
	var n, m int
	out.Stdout, cutOut, n = cleanStream(r, out.Stdout, limit)
	out.Stderr, cutErr, m = cleanStream(r, out.Stderr, limit)
	out.Truncated = cutOut || cutErr
	return int64(n + m)
}

// cleanStream does so with one. Where more came than was kept, what may be the begin of a secret goes.
func cleanStream(r *secret.Redactor, b []byte, limit int64) (clean []byte, cut bool, count int) {
	more := int64(len(b)) == cleanable(r, limit)
	clean, _, count = r.Clean(b, more)
	if int64(len(clean)) > limit {
		return clean[:limit], true, count
	}
	return clean, more, count
}
