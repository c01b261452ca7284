package remote

import (
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestSweepFindsLateFiles has the host create one of the files after the first look, as it may while it still carries out the requests of
// the session before.
func TestSweepFindsLateFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		there := map[string]bool{"here": true}
		var looked []string
		time.AfterFunc(600*time.Millisecond, func() {
			mu.Lock()
			defer mu.Unlock()
			there["late"] = true
		})
		sweepNames(t.Context(), []string{"here", "late", "never"}, func(name string) error {
			mu.Lock()
			defer mu.Unlock()
			looked = append(looked, name)
			if !there[name] {
				return fs.ErrNotExist
			}
			delete(there, name)
			return nil
		})
		if len(there) > 0 {
			t.Errorf("left behind: %v", slices.Collect(maps.Keys(there)))
		}
		slices.Sort(looked)
		if want := []string{"here", "late", "late", "late", "late", "never", "never", "never", "never"}; !slices.Equal(looked, want) {
			t.Errorf("looked for %v", looked)
		}
	})
}
