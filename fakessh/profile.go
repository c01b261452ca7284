package fakessh

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

type profileDoc struct {
	ID        string     `json:"id"`
	Host      string     `json:"host"`
	Port      int        `json:"port"`
	Username  string     `json:"username"`
	Protocols []string   `json:"protocols"`
	Auth      profileRef `json:"auth"`
	HostKey   string     `json:"host_key"`
	Policy    policyDoc  `json:"policy"`
	Tags      []string   `json:"tags"`
	About     string     `json:"description"`
}

type profileRef struct {
	Type string `json:"type"`
	Ref  string `json:"ref"`
}

type policyDoc struct {
	MaxConcurrentSessions int      `json:"max_concurrent_sessions"`
	LocalRoots            []string `json:"local_roots"`
}

type secretDoc struct {
	Username   string `json:"username"`
	PrivateKey string `json:"private_key,omitempty"`
	Password   string `json:"password,omitempty"`
}

// WriteProfile writes dir/profiles/ID.json and dir/secrets/ID.json, ready for
// openaccess-mcp serve. The profile pins the host key; localRoots bound which
// local files transfers may name ("." if none are given). The user is the first
// by name of Options.Users, or "fake"; the secret is the user's password, or
// else a key made for the purpose that the host accepts for all its users. The
// files are readable by their owner only and replace those of an earlier run. Each
// appears whole, the secret first.
func (h *Host) WriteProfile(dir, id string, localRoots ...string) error {
	return h.WriteProfileWith(dir, id, nil, localRoots...)
}

// WriteProfileWith is WriteProfile with further fields for the profile, which
// win over those it has already.
func (h *Host) WriteProfileWith(dir, id string, fields map[string]any, localRoots ...string) error {
	if id == "" || id != filepath.Base(id) || id == "." || id == ".." {
		return fmt.Errorf("fakessh: profile id %q is no file name; use letters, digits and dashes", id)
	}
	if len(localRoots) == 0 {
		localRoots = []string{"."}
	}
	host, port := h.dialAddr()
	secret := h.secret()
	profile := profileDoc{
		ID: id, Host: host, Port: port, Username: secret.Username,
		Protocols: []string{"ssh", "sftp", "rsync", "tunnel", "vpn"},
		Auth:      profileRef{"file_ref", id},
		HostKey:   h.HostKeyLine(),
		Policy:    policyDoc{1000, localRoots},
		Tags:      []string{"fake"},
		About:     "fakessh on " + net.JoinHostPort(host, strconv.Itoa(port)),
	}
	if err := writeDoc(filepath.Join(dir, "secrets"), id, secret); err != nil {
		return err
	}
	merged, err := merge(profile, fields)
	if err != nil {
		return fmt.Errorf("fakessh: profile %s: %v", id, err)
	}
	return writeDoc(filepath.Join(dir, "profiles"), id, merged)
}

// merge lays fields over those of doc.
func merge(doc profileDoc, fields map[string]any) (any, error) {
	if len(fields) == 0 {
		return doc, nil
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	merged := map[string]any{}
	if err := json.Unmarshal(text, &merged); err != nil {
		return nil, err
	}
	maps.Copy(merged, fields)
	return merged, nil
}

// WriteProfiles writes n profiles with the ids PREFIX-1 to PREFIX-n, all of this
// host, and returns the ids.
func (h *Host) WriteProfiles(dir, prefix string, n int, localRoots ...string) ([]string, error) {
	var ids []string
	for i := range n {
		id := prefix + "-" + strconv.Itoa(i+1)
		if err := h.WriteProfile(dir, id, localRoots...); err != nil {
			return ids, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func (h *Host) secret() secretDoc {
	name := "fake"
	if len(h.opts.Users) > 0 {
		name = slices.Sorted(maps.Keys(h.opts.Users))[0]
		if password := h.opts.Users[name].Password; password != "" {
			return secretDoc{Username: name, Password: password}
		}
	}
	return secretDoc{Username: name, PrivateKey: h.profileKey.private()}
}

// writeDoc writes dir/id.json for its owner only, in one step that replaces what
// was there before.
func writeDoc(dir, id string, doc any) error {
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return fmt.Errorf("fakessh: profile %s: %v", id, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("fakessh: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("fakessh: %w", err)
	}
	_, err = temp.Write(append(text, '\n'))
	err = errors.Join(err, temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, id+".json"))
	}
	if err != nil {
		os.Remove(temp.Name())
		return fmt.Errorf("fakessh: %w", err)
	}
	return nil
}
