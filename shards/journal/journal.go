package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Errors of opening.
var (
	// ErrFormat: the directory is no journal, or one of a newer format version.
	ErrFormat = errors.New("not a journal that this version can read")
)

// ErrEnd: all records of a shard that has ended have been read, or the shard was forgotten.
var ErrEnd = errors.New("end of the shard")

// Errors of writing. The put is not acknowledged and its sequence numbers are not taken.
var (
	// ErrClosed: the journal has been closed.
	ErrClosed = errors.New("journal is closed")
	// ErrShard: the journal has no shard of that number.
	ErrShard = errors.New("unknown shard")
	// ErrSealed: a shard is sealed, so that none of the put was stored.
	ErrSealed = errors.New("shard is sealed")
	// ErrTooLarge: the parts of one put come to more than MaxPutBytes.
	ErrTooLarge = fmt.Errorf("put is larger than %d bytes", MaxPutBytes)
	// ErrNoSpace: the disk or its quota is full. Puts succeed again when there is space.
	ErrNoSpace = errors.New("disk is full")
	// ErrReadOnly: the file system is read-only.
	ErrReadOnly = errors.New("disk is read-only")
	// ErrDisk: a write or fdatasync failed in another way. Whether the records survive a restart is unknown
	// until the next put succeeds, which disowns them.
	ErrDisk = errors.New("disk failed")
	// ErrRevision: the checkpoint is not at the expected revision, so that another owner has moved it.
	ErrRevision = errors.New("checkpoint has another revision")
)

// MaxPutBytes is the most that the encoded records of one Append may come to.
const MaxPutBytes = 256 << 20

// Options say where a journal is and what it may use.
type Options struct {
	Dir     string        // its directory; made when missing
	Name    string        // the stream's name, for errors and logs
	Shards  []Shard       // opened when the journal does not know them yet
	Cache   *Cache        // tail cache; nil means one of its own of 8 MiB
	Traffic *Traffic      // shared by the journals of one disk; nil means one of its own
	Spares  *Spares       // files of dropped segments, to be used again; nil means none
	FS      FS            // nil means the operating system's
	Logger  *slog.Logger  // nil means none
	Metric  *Metrics      // nil means none
	Sizes   SegmentSizing // zero means the defaults
}

// SegmentSizing says how segment files grow, in bytes.
type SegmentSizing struct {
	Segment int64 // the largest a segment is planned to be; 0 means 64 MiB; at most 2 GiB
	First   int64 // the smallest, and the first of a new journal; 0 means 64 KiB
	// Checkpoints is the most that all saved checkpoints may come to, each with its state, its consumer's name and 56 to 63 bytes
	// besides: every segment begins with all of them. 0 means 256 MiB; at most 1 GiB.
	Checkpoints int64
}

func (s SegmentSizing) withDefaults() SegmentSizing {
	if s.Segment == 0 {
		s.Segment = 64 << 20
	}
	if s.First == 0 {
		s.First = 64 << 10
	}
	if s.Checkpoints == 0 {
		s.Checkpoints = 256 << 20
	}
	s.Segment, s.Checkpoints = min(s.Segment, 2<<30), min(s.Checkpoints, 1<<30)
	return s
}

// Shard names a shard to open: its number and the epoch of its sequence numbers.
type Shard struct {
	ID    uint32
	Epoch uint32
	// Next is what the sequence number of its next record must have come to, when that is known from elsewhere; 0 when
	// not. A journal that has come to less has lost records, which are damage then.
	Next uint64
}

// shardState is what the journal holds of one shard.
type shardState struct {
	id    uint32
	next  uint64 // the sequence number that the next record gets
	floor lostFront
	spans []*span    // oldest segment first
	lost  damageList // accepted
	wake  chan struct{}
	plan  shardPlan // the writer's

	sealed atomic.Bool // puts are refused
	ended  bool        // there will be no more records
}

// lostFront says that a shard should begin earlier than it does: at sequence, which was in a segment or before it.
type lostFront struct{ sequence, segment uint64 }

// oldest is the first sequence number that can still be read; next for an empty shard.
func (s *shardState) oldest() uint64 {
	if s.floor.sequence > 0 {
		return s.floor.sequence
	}
	if len(s.spans) > 0 {
		return s.spans[0].first
	}
	return s.next
}

// Journal is one open journal. Its methods may be called concurrently.
type Journal struct {
	opt Options
	log *slog.Logger
	id  journalID

	files   handles
	writer  writer
	acked   ackedFile
	trimmer trimmer
	done    chan struct{} // closed by Close
	workers sync.WaitGroup
	company atomic.Int32 // > 0 while several readers want the same chunks

	mu          sync.Mutex // guards the rest; never held over I/O
	closed      bool
	shards      map[uint32]*shardState
	segments    []*segment // oldest first; the last is the active one
	checkpoints map[checkpointKey]Checkpoint
	// checkpointBytes is what they take in a segment's table.
	checkpointBytes int64
	tail            tail
	ledger          ledger     // damage that was found
	accepted        damageList // of what belongs to no shard; the others are with their shards
}

// Open opens the journal in opt.Dir, making it when there is none. It reads the indexes of sealed segments and
// scans the last one. Damage that it finds does not keep it from opening: it is logged and listed by
// Damage. Errors: ErrFormat, ErrNoSpace, ErrReadOnly, ErrDisk, ctx's.
func Open(ctx context.Context, opt Options) (*Journal, error) {
	if opt.FS == nil {
		opt.FS = osFS{}
	}
	if opt.Cache == nil {
		opt.Cache = NewCache(8 << 20)
	}
	if opt.Traffic == nil {
		opt.Traffic = NewTraffic()
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Metric == nil {
		opt.Metric = NewMetrics(nil)
	}
	opt.Sizes = opt.Sizes.withDefaults()
	j := &Journal{
		opt:         opt,
		log:         opt.Logger.With("stream", opt.Name),
		done:        make(chan struct{}),
		shards:      map[uint32]*shardState{},
		ledger:      ledger{},
		checkpoints: map[checkpointKey]Checkpoint{},
	}
	j.files.fs = opt.FS
	j.writer.j = j
	j.trimmer.turn = make(chan struct{}, 1)
	j.acked.journal = j
	if err := j.open(ctx); err != nil {
		j.closeFiles()
		return nil, j.wrap("open", err)
	}
	return j, nil
}

func (j *Journal) open(ctx context.Context) error {
	if err := j.opt.FS.MkdirAll(j.opt.Dir); err != nil {
		return err
	}
	blind, err := j.recover(ctx)
	if err != nil {
		return err
	}
	if j.id == (journalID{}) {
		rand.Read(j.id[:]) //nolint:errcheck // crypto/rand.Read never fails
	}
	if len(j.segments) == 0 { // a new journal: its folder's name has to be durable too
		if err := j.opt.FS.SyncDir(filepath.Dir(j.opt.Dir)); err != nil {
			return err
		}
	}
	if err := j.acked.open(); err != nil {
		return err
	}
	return j.addShards(ctx, j.opt.Shards, blind)
}

// Close waits for the put under way, marks the journal as closed in order and closes its files. Waiting readers get
// ErrClosed. A second call does nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.done)
	j.mu.Unlock()
	j.writer.stop()
	if j.writer.preparing != nil {
		close(j.writer.preparing.stop)
	}
	j.workers.Wait()
	err := j.acked.sync()
	return j.wrap("close", errors.Join(err, j.closeFiles()))
}

// begin keeps Close waiting until the caller calls j.workers.Done. It fails when the journal is closed.
func (j *Journal) begin() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return ErrClosed
	}
	j.workers.Add(1)
	return nil
}

func (j *Journal) closeFiles() error {
	err := j.acked.abandon()
	if p := j.writer.preparing; p != nil {
		err = errors.Join(err, j.discard(p.seg))
	}
	j.mu.Lock()
	segments := slices.Clone(j.segments)
	j.mu.Unlock()
	for _, s := range segments {
		err = errors.Join(err, j.files.drop(s))
	}
	return err
}

// Bounds says which sequence numbers of a shard are there: from oldest on, below next. They are equal when the
// shard is empty, and both 0 when it is unknown.
func (j *Journal) Bounds(shard uint32) (oldest, next uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.shards[shard]
	if s == nil {
		return 0, 0
	}
	return s.oldest(), s.next
}

// Size is the number of bytes that the segment files hold, prepared space included, and their number.
func (j *Journal) Size() (bytes int64, segments int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segments {
		bytes += s.size.Load()
	}
	return bytes, len(j.segments)
}

func (j *Journal) segmentPath(number uint64) string {
	return filepath.Join(j.opt.Dir, segmentName(number))
}

// wrap adds what was attempted and where, and gives disk errors their sentinel.
func (j *Journal) wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	var errno syscall.Errno
	if errors.As(err, &errno) && !isSentinel(err) {
		switch errno {
		case syscall.ENOSPC, syscall.EDQUOT:
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		case syscall.EROFS, syscall.EBADF: // a file of a read-only disk was opened for reading only
			err = fmt.Errorf("%w: %w", ErrReadOnly, err)
		default:
			err = fmt.Errorf("%w: %w", ErrDisk, err)
		}
	}
	return fmt.Errorf("journal of stream %q: %s: %w", j.opt.Name, operation, err)
}

func isSentinel(err error) bool {
	for _, s := range []error{ErrNoSpace, ErrReadOnly, ErrDisk} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

func micros() int64 { return time.Now().UnixMicro() }
