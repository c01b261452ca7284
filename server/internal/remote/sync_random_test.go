package remote

import (
	"io/fs"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
)

// TestSyncRandomTrees compares with an oracle that works on the two listings.
func TestSyncRandomTrees(t *testing.T) {
	bothWays(t, noFaults, func(t *testing.T, f *syncFixture, way Direction) {
		src, dst := f.ends(way)
		for seed := range uint64(25) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			a, b := randomTree(rnd), randomTree(rnd)
			s := randomSync(rnd, toward(way))
			for _, side := range []site{src, dst} {
				if err := side.remove("."); err != nil {
					t.Fatal(err)
				}
			}
			put(t, src, a)
			put(t, dst, b)
			f.run(t, s)
			same(t, read(t, dst), expected(t, a, b, s))
			if t.Failed() {
				t.Fatalf("seed %d, %+v\nsource %v\ndestination %v", seed, s, a, b)
			}
		}
	})
}

func randomSync(rnd *rand.Rand, s Sync) Sync {
	s.Delete, s.Content, s.Permissions, s.Times = rnd.IntN(2) == 0, rnd.IntN(2) == 0, rnd.IntN(3) > 0, rnd.IntN(3) > 0
	s.Exclude = [][]string{nil, {"b"}, {"a/"}, {"/a/*", "c*"}}[rnd.IntN(4)]
	s.Include = [][]string{nil, {"/b"}, {"a/**/b"}}[rnd.IntN(3)]
	return s
}

func randomTree(rnd *rand.Rand) files {
	tree := files{".": dir()}
	var fill func(prefix string, depth int)
	fill = func(prefix string, depth int) {
		for _, name := range []string{"a", "b", "c", "c d", "é"} {
			at := prefix + name
			mtime := epoch + int64(rnd.IntN(2))
			switch rnd.IntN(6) {
			case 0, 1:
				tree[at] = node{fs.FileMode(0o600 | rnd.IntN(0o200)), strings.Repeat("xyz"[rnd.IntN(3):][:1], rnd.IntN(3)), mtime, false}
			case 2:
				tree[at] = link([]string{"a", "../b"}[rnd.IntN(2)])
			case 3, 4:
				if depth < 3 {
					tree[at] = node{fs.ModeDir | fs.FileMode(0o700|rnd.IntN(0o100)), "", mtime, false}
					fill(at+"/", depth+1)
				}
			}
		}
	}
	fill("", 0)
	return tree
}

// expected says what dst must be after the sync.
func expected(t *testing.T, src, dst files, s Sync) files {
	f, err := newFilter(s.Include, s.Exclude)
	if err != nil {
		t.Fatal(err)
	}
	// hidden asks about what is above name, too; at the destination not from a directory on that must make way.
	hidden := func(tree files, name string, makesWay func(string) bool) bool {
		for at := name; at != "." && !makesWay(at); at = path.Dir(at) {
			if f.excludes(at, tree[at].mode.IsDir()) {
				return true
			}
		}
		return false
	}
	never := func(string) bool { return false }
	makesWay := func(name string) bool {
		n, ok := src[name]
		return ok && !hidden(src, name, never) && dst[name].mode.IsDir() && !n.mode.IsDir()
	}
	want := maps.Clone(dst)
	names := slices.Sorted(maps.Keys(dst))
	slices.Reverse(names)
	for _, name := range names { // deletions, children first
		_, ok := src[name]
		gone := s.Delete && (!ok || hidden(src, name, never)) && !hidden(dst, name, makesWay)
		if (gone || makesWay(name)) && !holds(want, name) {
			delete(want, name)
		} else if n := want[name]; n.mode.IsDir() { // something in it may go
			n.ignore = true
			want[name] = n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(src)) {
		n := src[name]
		there, ok := want[name]
		inTheWay := ok && there.mode.IsDir() && !n.mode.IsDir()
		up, above := want[path.Dir(name)]
		if hidden(src, name, never) || inTheWay || name != "." && (!above || !up.mode.IsDir()) {
			continue
		}
		want[name] = merged(n, there, ok && there.mode.Type() == n.mode.Type(), s)
	}
	return want
}

func holds(tree files, dir string) bool {
	for name := range tree {
		if strings.HasPrefix(name, dir+"/") {
			return true
		}
	}
	return false
}

// merged is what becomes of one path.
func merged(n, there node, existed bool, s Sync) node {
	out := n
	if n.mode&fs.ModeSymlink != 0 {
		return out
	}
	switch {
	case s.Permissions:
	case existed:
		out.mode = there.mode
	default:
		out.mode &^= 0o022
	}
	out.ignore = !s.Times
	equal := existed && n.mode.IsRegular() && len(n.data) == len(there.data) && (s.Content && n.data == there.data || !s.Content && n.mtime == there.mtime)
	if equal {
		out.data = there.data
	}
	return out
}
