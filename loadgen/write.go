package loadgen

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
)

// fileWrite is the action of a Write step.
type fileWrite struct {
	file  *fileSet
	count int
	seed  uint64
	name  string // of the step
}

func (c *planCompiler) write(path string, s *Step, files []fileSet) *fileWrite {
	w := &fileWrite{count: s.Write.Count, seed: c.plan.Seed, name: s.Name}
	for i := range files {
		if files[i].source == s.Write.File {
			w.file = &files[i]
		}
	}
	switch {
	case w.file == nil:
		c.add(path+".write.file", fmt.Sprintf("the plan makes no file %q", s.Write.File), "write the name of one of files as it stands there")
		return w
	case !w.file.perVU && c.plan.concurrency() > 1:
		c.add(path+".write.file", fmt.Sprintf("%q is shared by iterations under way at the same time", s.Write.File),
			"put ${vu} into its name, or use one virtual user")
	}
	if all := max(1, w.file.count); w.count < 0 || w.count > all {
		c.add(path+".write.count", fmt.Sprintf("%d is out of range", w.count), fmt.Sprintf("use 1 to %d, or leave it out for all", all))
	} else if w.count == 0 {
		w.count = all
	}
	return w
}

// writeRequest is one change of files.
type writeRequest struct {
	dir       string
	vu        int
	iteration int64
}

func (w *fileWrite) String() string            { return "write" }
func (w *fileWrite) uses(variable string) bool { return variable == "workdir" }
func (w *fileWrite) render(v *vars) any        { return &writeRequest{v.workDir, v.vu, v.iteration} }

// perform gives files drawn by chance new bytes.
func (w *fileWrite) perform(_ context.Context, _ Session, rendered any) answer {
	req := rendered.(*writeRequest)
	root, err := os.OpenRoot(req.dir)
	if err != nil {
		return answer{outcome: CodeWriteFailed, message: err.Error(), replied: true}
	}
	defer root.Close()
	chance := rand.New(rand.NewChaCha8(seedKey(w.seed, w.name, req.iteration)))
	for _, i := range chance.Perm(max(1, w.file.count))[:w.count] {
		if err := w.change(root, w.file.path(req.vu, i), req.iteration); err != nil {
			return answer{outcome: CodeWriteFailed, message: err.Error(), replied: true}
		}
	}
	return answer{bytes: int64(w.count) * w.file.size, replied: true}
}

func (w *fileWrite) change(root *os.Root, name string, iteration int64) error {
	info, err := root.Stat(name)
	if err != nil {
		return err
	}
	return makeFile(root, name, w.file.size, seedKey(w.seed, name, iteration), info.ModTime().Add(writeStep))
}
