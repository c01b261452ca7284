package server

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTroubleshootingNames holds the names in docs/troubleshooting.md and docs/tuning.md to what there is: metrics with their reasons, alerts, and keys of
// the configuration.
func TestTroubleshootingNames(t *testing.T) {
	_, series := scrapeAll(t)
	queries := deployed(t)
	for _, file := range []string{"../docs/troubleshooting.md", "../docs/tuning.md"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile("`([A-Za-z0-9_.]+)(:[^`]*)?`").FindAllStringSubmatch(string(data), -1)
		if len(names) < 10 {
			t.Fatalf("%s has %d names", file, len(names))
		}
		for _, m := range names {
			name := m[1]
			section, _, dotted := strings.Cut(name, ".")
			switch {
			case strings.HasPrefix(name, "openaccess_mcp_"), strings.HasPrefix(name, "process_"), strings.HasPrefix(name, "go_"):
				if series[name] == nil && series[name+"_count"] == nil {
					t.Errorf("%s: there is no metric %s", file, name)
				}
			case strings.HasPrefix(name, "OpenAccess"):
				if queries["alert "+name] == "" {
					t.Errorf("%s: there is no alert %s", file, name)
				}
			case strings.HasSuffix(name, ".yaml"):
			case dotted && regexp.MustCompile(`^(connection_pooling|caching|resource_limits|audit|auth|http|monitoring)$`).MatchString(section):
				if _, ok := keyNamed(name); !ok {
					t.Errorf("%s: there is no key %s", file, name)
				}
			}
		}
	}
}
