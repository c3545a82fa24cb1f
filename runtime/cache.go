package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shardmill/shardmill/runtime/fuel"
	"github.com/shardmill/shardmill/runtime/image"
)

// compileCache keeps compiled code on disk, in one directory per module, so that what belongs to a module can
// be removed with it. The engine checks only a part of what it reads back and would run damaged code, so each
// directory is sealed with a list of its files and their checksums, and one that does not match is thrown away: the
// module is compiled again.
type compileCache struct {
	root string // "" means that nothing is kept
}

const (
	sealName     = "SEAL"
	nextSealName = "SEAL.new"
)

type sealedFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c compileCache) dir(digest string) string {
	return filepath.Join(c.root, fmt.Sprintf("%s-m%d.%d", strings.ReplaceAll(digest, ":", "-"), fuel.Version, image.Version))
}

// check removes what is kept for a module unless it is whole.
func (c compileCache) check(digest string) (whole bool, err error) {
	dir := c.dir(digest)
	seal, err := os.ReadFile(filepath.Join(dir, sealName))
	if err == nil {
		if files, err := listFiles(dir); err == nil && bytes.Equal(seal, files) {
			return true, nil
		}
	}
	return false, c.remove(digest)
}

// seal makes what the engine has written for a module count.
func (c compileCache) seal(digest string) error {
	dir := c.dir(digest)
	files, err := listFiles(dir)
	if err != nil {
		return fmt.Errorf("seal the compiled code: %w", err)
	}
	next := filepath.Join(dir, nextSealName)
	if err := os.WriteFile(next, files, 0o600); err != nil {
		return fmt.Errorf("seal the compiled code: %w", err)
	}
	// Not synced: a seal that a crash has torn does not match.
	return os.Rename(next, filepath.Join(dir, sealName))
}

func (c compileCache) remove(digest string) error {
	if err := os.RemoveAll(c.dir(digest)); err != nil {
		return fmt.Errorf("remove compiled code: %w", err)
	}
	return nil
}

// retain removes everything that belongs to no module of those.
func (c compileCache) retain(digests map[string]bool) error {
	if c.root == "" {
		return nil
	}
	keep := map[string]bool{}
	for digest := range digests {
		keep[filepath.Base(c.dir(digest))] = true
	}
	entries, err := os.ReadDir(c.root)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "sha256-") && !keep[e.Name()] {
			if err := os.RemoveAll(filepath.Join(c.root, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// listFiles is the content that the seal of the directory must have: its files with their checksums, in order.
func listFiles(dir string) ([]byte, error) {
	files := []sealedFile{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == sealName || d.Name() == nextSealName {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		files = append(files, sealedFile{rel, int64(len(content)), crc32.Checksum(content, castagnoli)})
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(files)
}
