package gateway

import "strings"

// tagMark stands between the server's tag and the session id that the server gave.
const tagMark = "."

// tagged is the id by which clients know a session of b.
func (b *backend) tagged(id string) string { return b.tag + tagMark + id }

// untag takes such an id apart. An id that no gateway made has an empty tag.
func untag(id string) (tag, own string) {
	tag, own, ok := strings.Cut(id, tagMark)
	if !ok || len(tag) != tagLength {
		return "", id
	}
	return tag, own
}
