package server

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/openaccess-mcp/openaccess-mcp/server/internal/remote"
)

// planID names a plan by what it is for and what it deletes: "sync-", a hash of profile, direction, paths and options, "-", the number of
// deletions, "-", and a hash of their paths. Whoever shows it has seen a plan that deletes exactly this.
func planID(c *syncCall, deletions []string) string {
	return fmt.Sprintf("sync-%s-%d-%s", digestOf(8, c.profileID, c.direction, c.sync.Local.Full, c.remotePath, c.sync.Include, c.sync.Exclude,
		c.sync.Delete, c.sync.Content, c.sync.Permissions, c.sync.Times), len(deletions), digestOf(16, deletions))
}

// digestOf hashes values without confusing where one ends: JSON would change bytes that are not UTF-8, so strings go in as bytes.
func digestOf(size int, values ...any) string {
	for i, v := range values {
		switch v := v.(type) {
		case string:
			values[i] = []byte(v)
		case []string:
			list := make([][]byte, len(v))
			for j, s := range v {
				list[j] = []byte(s)
			}
			values[i] = list
		}
	}
	data, err := json.Marshal(values)
	if err != nil {
		panic(err) // byte strings and booleans only
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:size])
}

// maxNamed is how many deletions a refusal names.
const maxNamed = 20

// approved compares the plan made now with the one that the caller has seen.
func (c *syncCall) approved(plan *remote.SyncPlan, id string) error {
	if c.planID == id {
		return nil
	}
	shown, now := strings.Split(c.planID, "-"), strings.Split(id, "-")
	switch {
	case len(shown) != 4 || shown[0] != "sync":
		return &callError{CodePolicyViolation, fmt.Sprintf("plan_id %q is none that a dry run gave; nothing was changed", c.planID)}
	case shown[1] != now[1]:
		return &callError{CodePolicyViolation, "plan_id is of a plan with another profile, direction, path or option; nothing was changed"}
	}
	deletions := plan.Deletions()
	named := deletions[:min(len(deletions), maxNamed)]
	more := ""
	if n := len(deletions) - len(named); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return &callError{CodePolicyViolation, fmt.Sprintf(
		"the plan no longer holds: it showed %s deletions, now these %d would be made: %q%s; nothing was changed. Look at the plan of this answer and give its plan_id",
		shown[2], len(deletions), named, more)}
}
