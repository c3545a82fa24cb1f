package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"
)

// Errors of Open that are about the file of positions.
var (
	ErrLocked  = errors.New("another agent is using the checkpoint file")
	ErrForeign = errors.New("the checkpoint file is not one of ours")
)

const (
	headBytes  = 1024 // of a file's beginning that are hashed
	checkBytes = 64   // before a position that are kept

	positionsFormat = 1
	saveInterval    = 200 * time.Millisecond // between saves: a crash sends again what was acknowledged in the last
)

// fileID is what a file system knows a file by.
type fileID struct {
	Device uint64 `json:"device"`
	Inode  uint64 `json:"inode"`
}

// position is how far a file has been read, with what tells whether it is still the same file.
type position struct {
	fileID
	Path    string `json:"path"` // when it was last read; for people
	Offset  int64  `json:"offset"`
	HeadLen int64  `json:"headLength"`       // bytes of the beginning that Head is the hash of
	Head    string `json:"head"`             // SHA-256, in hex
	Check   []byte `json:"check"`            // the bytes before Offset, in base64
	Discard bool   `json:"discard,omitzero"` // Offset is inside a record whose rest is not wanted
	Ended   bool   `json:"ended,omitzero"`   // the footer has been read
	// Seen is when the file was last there. Files not seen for a while are forgotten.
	Seen time.Time `json:"seen"`
}

// saved is the file of positions.
type saved struct {
	Format int                   `json:"format"`
	Flows  map[string][]position `json:"flows"`
}

// positions keeps the acknowledged positions of all flows in a file. It is safe for concurrent use.
type positions struct {
	path string
	ttl  time.Duration
	lock *os.File

	saving chan struct{} // holds a token while the file is written

	mu      sync.Mutex
	flows   map[string]map[fileID]position
	changed chan struct{} // has a token when there is something to save
}

// openPositions locks and reads the file; without one all is new. Errors: ErrLocked, ErrForeign.
func openPositions(path string, ttl time.Duration) (*positions, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("checkpoint file: %w", err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("checkpoint file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("checkpoint file %s: %w", path, ErrLocked)
	}
	p := &positions{path: path, ttl: ttl, lock: lock, flows: map[string]map[fileID]position{}, changed: make(chan struct{}, 1), saving: make(chan struct{}, 1)}
	if err := p.read(); err != nil {
		lock.Close()
		return nil, fmt.Errorf("checkpoint file %s: %w", path, err)
	}
	return p, nil
}

func (p *positions) read() error {
	data, err := os.ReadFile(p.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := parsePositions(data)
	if err != nil {
		return err
	}
	for name, list := range all.Flows {
		p.flows[name] = map[fileID]position{}
		for _, pos := range list {
			p.flows[name][pos.fileID] = pos
		}
	}
	return nil
}

func parsePositions(data []byte) (saved, error) {
	if strings.HasPrefix(string(data), "SQLite format 3") {
		return saved{}, fmt.Errorf("%w: it belongs to the Amazon Kinesis Agent; name another checkpointFile", ErrForeign)
	}
	var all saved
	if err := json.Unmarshal(data, &all); err != nil {
		return saved{}, fmt.Errorf("%w, or damaged; moved away, all files are new: %w", ErrForeign, err)
	}
	if all.Format != positionsFormat {
		return saved{}, fmt.Errorf("%w: its format is %d, this program reads %d", ErrForeign, all.Format, positionsFormat)
	}
	for _, list := range all.Flows {
		for _, pos := range list {
			if pos.Offset < 0 || pos.HeadLen < 0 || pos.HeadLen > min(pos.Offset, headBytes) || int64(len(pos.Check)) > min(pos.Offset, checkBytes) {
				return saved{}, fmt.Errorf("%w: a position of %q makes no sense", ErrForeign, pos.Path)
			}
		}
	}
	return all, nil
}

// of is what is known of a flow's files; known is false for a flow that never ran.
func (p *positions) of(flow string) (files []position, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	all, known := p.flows[flow]
	for _, pos := range all {
		files = append(files, pos)
	}
	return files, known
}

// acknowledge notes positions; the saver saves them.
func (p *positions) acknowledge(flow string, files []position) {
	p.mu.Lock()
	all := p.flows[flow]
	if all == nil {
		all = map[fileID]position{}
		p.flows[flow] = all
	}
	for _, pos := range files {
		pos.Seen = time.Now()
		all[pos.fileID] = pos
	}
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// seen notes that files are still there. It is saved with the next change.
func (p *positions) seen(flow string, files []fileID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, id := range files {
		if pos, ok := p.flows[flow][id]; ok {
			pos.Seen = now
			p.flows[flow][id] = pos
		}
	}
}

// save writes all positions, so that after a crash the file is as before or as now.
func (p *positions) save() error {
	p.saving <- struct{}{}
	defer func() { <-p.saving }()
	all := saved{Format: positionsFormat, Flows: map[string][]position{}}
	p.mu.Lock()
	oldest := time.Now().Add(-p.ttl)
	for name, files := range p.flows {
		list := []position{}
		for id, pos := range files {
			if pos.Seen.Before(oldest) {
				delete(files, id)
				continue
			}
			list = append(list, pos)
		}
		all.Flows[name] = list
	}
	p.mu.Unlock()
	for _, list := range all.Flows {
		slices.SortFunc(list, func(a, b position) int { return strings.Compare(a.Path, b.Path) })
	}
	data, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return err
	}
	return replace(p.path, append(bytes.TrimSpace(data), '\n'))
}

// replace makes data the durable content of a file.
func replace(path string, data []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// keep is the saver's goroutine: it saves what changes until ctx is done. Failures go to report, nil after the next success.
func (p *positions) keep(ctx context.Context, report func(error)) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for await(ctx, pause.C) && await(ctx, p.changed) {
		err := p.save()
		report(err)
		if err != nil {
			p.again()
		}
		pause.Reset(saveInterval)
	}
}

// again marks the positions as not saved.
func (p *positions) again() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// close saves what is left and gives the lock back.
func (p *positions) close() error {
	err := p.save()
	return errors.Join(err, p.lock.Close())
}

// await waits for a value; it is false when ctx is done first.
func await[T any](ctx context.Context, c <-chan T) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
