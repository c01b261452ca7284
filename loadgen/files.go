package loadgen

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxFiles bounds the files of a plan, copies for virtual users included.
const maxFiles = 100_000

// Modification times, which are the same in every run: comparisons by whole seconds must see a change, however soon it comes.
var fileTime = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

const writeStep = 2 * time.Second

// fileSet is a File compiled.
type fileSet struct {
	source string // File.Name
	name   text   // up to the number
	digits int    // of the number, padded with zeros
	rest   text   // after the number
	count  int    // 0 for one file without a number
	size   int64
	perVU  bool
}

var numberForm = regexp.MustCompile(`%(0[1-9])?d`)

// files compiles the plan's files.
func (c *planCompiler) files(files []File) []fileSet {
	var out []fileSet
	total := 0
	seen := map[string]bool{}
	for i, f := range files {
		path := fmt.Sprintf("files[%d]", i)
		set := c.file(path, f)
		if seen[filepath.Clean(f.Name)] {
			c.add(path+".name", fmt.Sprintf("file %q occurs twice", f.Name), "give each file its own name")
		}
		seen[filepath.Clean(f.Name)] = true
		copies := 1
		if set.perVU {
			copies = max(1, c.plan.concurrency())
		}
		if total += copies * max(1, f.Count); f.Count > maxFiles || total > maxFiles {
			c.add(path, fmt.Sprintf("the plan has more than %d files", maxFiles), "make fewer, for fewer virtual users or a lower max_in_flight")
			return out
		}
		out = append(out, set)
	}
	return out
}

func (c *planCompiler) file(path string, f File) fileSet {
	set := fileSet{source: f.Name, count: f.Count, size: f.Size}
	if f.Size < 0 {
		c.add(path+".size", "the size is negative", "set it to 0 or more bytes")
	}
	if f.Count < 0 {
		c.add(path+".count", "the count is negative", "set it to 1 or more, or leave it out for one file without a number")
	}
	numbers := numberForm.FindAllStringIndex(f.Name, -1)
	name, rest := f.Name, ""
	switch {
	case f.Name == "":
		c.add(path+".name", "the file has no name", "name it")
		return set
	case !filepath.IsLocal(f.Name):
		c.add(path+".name", fmt.Sprintf("%q leads out of the work directory", f.Name), "use a relative path without ..")
		return set
	case f.Count > 0 && len(numbers) != 1:
		c.add(path+".name", fmt.Sprintf("%q has no place for the number of each file", f.Name), "write one number such as %03d in it")
		return set
	case f.Count > 0:
		at := numbers[0]
		set.digits, _ = strconv.Atoi(strings.Trim(f.Name[at[0]:at[1]], "%d"))
		name, rest = f.Name[:at[0]], f.Name[at[1]:]
	case strings.Contains(f.Name, "%"):
		c.add(path+".name", fmt.Sprintf("%q has a number, but the file has no count", f.Name), "set count, or leave the number out")
	}
	set.name, set.rest = c.fileName(path+".name", name), c.fileName(path+".name", rest)
	set.perVU = set.name.uses("vu") || set.rest.uses("vu")
	return set
}

// fileName parses a part of a file's name, in which ${vu} is the one variable.
func (c *planCompiler) fileName(path, name string) text {
	t, err := parseText(name, scope{})
	if err != nil {
		c.text(path, err.(*textError))
		return nil
	}
	for _, p := range t {
		if p.name != "" && p.name != "vu" {
			c.add(path, fmt.Sprintf("${%s} cannot name a file that is made before the run", p.name), "use ${vu} alone")
			return nil
		}
	}
	return t
}

// path gives the name of file i of a virtual user.
func (f *fileSet) path(vu, i int) string {
	v := vars{vu: vu}
	if f.count == 0 {
		return f.name.render(&v)
	}
	return fmt.Sprintf("%s%0*d%s", f.name.render(&v), f.digits, i, f.rest.render(&v))
}

// makeFiles writes files into dir for the virtual users 0 to vus−1. Their bytes depend on the seed and the name alone.
func makeFiles(dir string, seed uint64, files []fileSet, vus int) error {
	if len(files) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open work directory: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		copies := 1
		if f.perVU {
			copies = vus
		}
		for i := range copies * max(1, f.count) {
			name := f.path(i/max(1, f.count), i%max(1, f.count))
			if err := makeFile(root, name, f.size, seedKey(seed, name, -1), fileTime); err != nil {
				return fmt.Errorf("make file %s of %d bytes in %s: %w", name, f.size, dir, err)
			}
		}
	}
	return nil
}

func makeFile(root *os.Root, name string, size int64, key [32]byte, modified time.Time) (err error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	w, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(w, rand.NewChaCha8(key), size)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return root.Chtimes(name, modified, modified)
}

// seedKey turns a seed, a name and an iteration into the key of a stream of bytes.
func seedKey(seed uint64, name string, iteration int64) [32]byte {
	b := binary.LittleEndian.AppendUint64(nil, seed)
	b = binary.LittleEndian.AppendUint64(b, uint64(iteration))
	return sha256.Sum256(append(b, name...))
}
