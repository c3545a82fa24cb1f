package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"

	"github.com/shardmill/shardmill/runtime/fuel"
	"github.com/shardmill/shardmill/runtime/image"
	"github.com/shardmill/shardmill/runtime/wasm"
)

// compileCache keeps compiled code on disk, in one directory per module, so that what belongs to a module can
// be removed with it. The engine checks only a part of what it reads back and would run damaged code, so each
// directory is sealed with a list of its files and their checksums, and one that does not match is thrown away: the
// module is compiled again.
type compileCache struct {
	root   string // "" means that nothing is kept
	engine string // names the engine that has compiled
}

const (
	sealName     = "SEAL"
	nextSealName = "SEAL.new"

	modulePrefix = "sha256-" // of a module's folder
	stagedPrefix = "new-"    // of one that is being filled for it
)

type sealedFile struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c compileCache) dir(digest string) string {
	return filepath.Join(c.root, fmt.Sprintf("%s-m%d.%d-%s", strings.ReplaceAll(digest, ":", "-"), fuel.Version, image.Version, c.engine))
}

// nameEngine finds the engine's name, which is another one with each version of it, and where processors can do other things: it would not read what was
// compiled then, but compile it again, beside what is sealed. So it is what the engine calls the code of an empty module.
func (c *compileCache) nameEngine(ctx context.Context) error {
	if c.root == "" {
		return nil
	}
	dir, err := c.stage()
	if err != nil {
		return err
	}
	var files []string
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err == nil {
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache))
		_, err = r.CompileModule(ctx, wasm.Header)
		err = errors.Join(err, r.Close(ctx), cache.Close(ctx))
	}
	if err == nil {
		files, err = fs.Glob(os.DirFS(dir), "*/*")
	}
	if err == nil {
		sum := sha256.Sum256([]byte(strings.Join(files, "\n")))
		c.engine = hex.EncodeToString(sum[:4])
	}
	return errors.Join(err, c.unstage(dir))
}

// sealed says, without looking closer, whether there is anything for a module.
func (c compileCache) sealed(digest string) bool {
	_, err := os.Stat(filepath.Join(c.dir(digest), sealName))
	return err == nil
}

// check removes what is kept for a module unless it is whole.
func (c compileCache) check(digest string) (whole bool, err error) {
	if isWhole(c.dir(digest)) {
		return true, nil
	}
	return false, c.remove(digest)
}

// isWhole is whether a folder is what it was when it was sealed.
func isWhole(dir string) bool {
	seal, err := os.ReadFile(filepath.Join(dir, sealName))
	if err != nil {
		return false
	}
	files, err := listFiles(dir)
	return err == nil && bytes.Equal(seal, files)
}

// stage makes a folder for somebody else to compile a module into. It is to be adopted, or removed with unstage; what a killed host left is removed by
// retain.
func (c compileCache) stage() (dir string, err error) {
	if err := os.MkdirAll(c.root, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(c.root, stagedPrefix)
}

// adopt makes what was compiled into a folder of stage, and sealed, what is kept for a module.
func (c compileCache) adopt(dir, digest string) error {
	if !isWhole(dir) {
		return errors.New("what was compiled is not what has arrived")
	}
	if err := c.remove(digest); err != nil {
		return err
	}
	return os.Rename(dir, c.dir(digest))
}

// unstage removes a folder of stage, if it is still there.
func (c compileCache) unstage(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove what was not compiled: %w", err)
	}
	return nil
}

// seal makes what the engine has written into a folder count.
func (c compileCache) seal(dir string) error {
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

// retain removes everything that belongs to no module of those. It is called before anything is compiled. While the engine has no name, as on a disk that
// was full, nothing is known to be useless.
func (c compileCache) retain(digests map[string]bool) error {
	if c.root == "" || c.engine == "" {
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
		if strings.HasPrefix(e.Name(), stagedPrefix) || strings.HasPrefix(e.Name(), modulePrefix) && !keep[e.Name()] {
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
