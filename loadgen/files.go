package loadgen

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// makeFiles writes the plan's files into dir. Their bytes depend on the seed and the name alone.
func makeFiles(dir string, seed uint64, files []File) error {
	if len(files) == 0 {
		return nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open work directory: %w", err)
	}
	defer root.Close()
	for _, f := range files {
		if err := makeFile(root, seed, f); err != nil {
			return fmt.Errorf("make file %s of %d bytes in %s: %w", f.Name, f.Size, dir, err)
		}
	}
	return nil
}

func makeFile(root *os.Root, seed uint64, f File) (err error) {
	if err := root.MkdirAll(filepath.Dir(f.Name), 0o755); err != nil {
		return err
	}
	w, err := root.Create(f.Name)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := w.Close(); err == nil {
			err = cerr
		}
	}()
	key := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, seed), f.Name...))
	_, err = io.CopyN(w, rand.NewChaCha8(key), f.Size)
	return err
}
