package shards

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// StartKind says where a reader starts.
type StartKind int

// The kinds of start.
const (
	Oldest        StartKind = iota // at the oldest record that is served
	Newest                         // behind the newest record: only what comes from now on
	AtSequence                     // at Start.Sequence
	AfterSequence                  // at the record behind Start.Sequence, which may be 0 for "none": the oldest
	AtTime                         // at the first record that arrived at Start.Time or later
)

// Start is where a reader starts. Its zero value is the oldest record.
type Start struct {
	Kind     StartKind
	Sequence uint64    // of AtSequence and AfterSequence
	Time     time.Time // of AtTime; not in the future
}

// Reader reads the records of one shard in order. Next is for one goroutine at a time; the other methods can
// be called from anywhere at the same time.
type Reader struct {
	st    *Stream
	shard uint32
	log   LogReader

	position atomic.Uint64
	trimmed  atomic.Uint64
	skipped  atomic.Uint64
	floor    atomic.Int64 // the next unread record arrived at this time or later, µs

	mu            sync.Mutex // guards what Behind has looked up
	lookedUp      uint64     // a position
	lookedArrival int64      // when its record arrived, µs
}

// Reader makes a reader of a shard. A sequence number that is no longer served, or a time before the
// retention, is a valid start: reading begins at the oldest record that is served, and Trimmed counts what
// lies between a sequence number and there. One that the shard has never given out is ErrInvalid.
func (st *Stream) Reader(shard ShardID, start Start) (*Reader, error) {
	const op = "read"
	s, err := st.shard(op, shard)
	if err != nil {
		return nil, err
	}
	position, err := st.position(s, start)
	if err != nil {
		return nil, st.fail(op, err)
	}
	r := &Reader{st: st, shard: uint32(shard)}
	if r.log, err = st.log.Reader(r.shard, position); err != nil {
		return nil, st.fail(op, err)
	}
	r.position.Store(position)
	r.floor.Store(math.MinInt64)
	return r, nil
}

// position is the sequence number of the record that a start names.
func (st *Stream) position(s *shardDefinition, start Start) (uint64, error) {
	shard := uint32(s.ID)
	first := record.MakeSequence(s.Epoch, 1)
	switch start.Kind {
	case Oldest:
		oldest, _ := st.trimPoint(shard)
		return oldest, nil
	case Newest:
		_, next := st.log.Bounds(shard)
		return next, nil
	case AtSequence:
		_, next := st.log.Bounds(shard)
		return max(start.Sequence, first), checkSequence(start.Sequence, s.Epoch, next)
	case AfterSequence:
		oldest, next := st.trimPoint(shard)
		if start.Sequence == 0 {
			return oldest, nil
		}
		return start.Sequence + 1, checkSequence(start.Sequence, s.Epoch, next-1)
	case AtTime:
		if now := time.Now(); start.Time.After(now) {
			return 0, invalid("time", start.Time.Format(time.RFC3339Nano), "not in the future")
		}
		oldest, _ := st.trimPoint(shard)
		at, err := st.log.SequenceAt(shard, start.Time.UnixMicro())
		return max(at, oldest), err
	}
	return 0, invalid("start", strconv.Itoa(int(start.Kind)), "oldest, newest, at or after a sequence number, or at a time")
}

// checkSequence says whether a shard of an epoch can have given out a sequence number up to newest. The
// number before its first one, with the counter 0, is fine.
func checkSequence(sequence uint64, epoch uint32, newest uint64) error {
	if record.Epoch(sequence) == epoch && sequence <= newest {
		return nil
	}
	return invalid("sequenceNumber", strconv.FormatUint(sequence, 10),
		fmt.Sprintf("%d to %d in this shard", record.MakeSequence(epoch, 0), newest))
}

// ReadAhead has what is next be read from disk while the caller sees to what it has. It is for those who read for long.
func (r *Reader) ReadAhead() { r.log.ReadAhead() }

// Next returns the records from the position on, whole stored batches of them, and moves the position behind
// them; it blocks until there is one. The run stays valid and must not be changed.
//
// Records that have passed the retention are not returned: the position moves over them, which Trimmed
// counts. Errors: a *ShardEndError when a closed shard has been read to its end, also one that closes while Next waits; ErrDamaged with a *DamageError, where
// the position stays until the damage is accepted; ErrNotFound, ErrClosed, and the context's.
func (r *Reader) Next(ctx context.Context) (record.Run, error) {
	for {
		if err := r.arrive(); err != nil {
			return record.Run{}, err
		}
		stored, err := r.log.Next(ctx)
		if err != nil && err == ctx.Err() { // not wrapped: who reads what is at hand comes here after every batch, each time with a new text
			return record.Run{}, err
		}
		if run, done, err := r.serve(stored, err); done {
			return run, err
		}
	}
}

// TryNext is Next without blocking: ok is false, without an error, when there is no record yet.
func (r *Reader) TryNext() (run record.Run, ok bool, err error) {
	for {
		if err := r.arrive(); err != nil {
			return record.Run{}, false, err
		}
		stored, ok, err := r.log.TryNext()
		if !ok && err == nil {
			return record.Run{}, false, nil
		}
		if run, done, err := r.serve(stored, err); done {
			return run, err == nil, err
		}
	}
}

// arrive looks where the reader stands before it reads on: in dropped segments, at the tip, at the end of a
// closed shard.
func (r *Reader) arrive() error {
	if err := r.st.usable(); err != nil {
		return r.st.fail("read", err)
	}
	def := r.st.def() // before the bounds: those of a closed shard stand still
	oldest, next := r.st.log.Bounds(r.shard)
	if r.position.Load() < oldest {
		r.trim(oldest)
	}
	if r.position.Load() < next {
		return nil
	}
	if s, ok := def.shard(ShardID(r.shard)); !ok || s.State == ShardClosed {
		return &ShardEndError{Stream: r.st.name, Shard: ShardID(r.shard), Children: def.children(ShardID(r.shard))}
	}
	r.floor.Store(time.Now().UnixMicro())
	return nil
}

// serve is what Next makes of the log's answer; not done when all of it is passed over.
func (r *Reader) serve(stored record.Run, err error) (run record.Run, done bool, _ error) {
	if err != nil {
		if errors.Is(err, journal.ErrEnd) || r.passExpiredDamage(err) {
			return record.Run{}, false, nil
		}
		return record.Run{}, true, r.st.fail("read", err)
	}
	if run = r.retained(stored); run.Len() == 0 {
		return run, false, nil
	}
	r.st.metrics.read(run.Len(), run.Size())
	return run, true, nil
}

// retained is the part of a stored run that is within the retention. It moves the position behind the run,
// and counts what it passes over.
func (r *Reader) retained(run record.Run) record.Run {
	first := run.First()
	end := first.Sequence + uint64(run.Len())
	r.passOver(first.Sequence)
	if cutoff := r.st.cutoff(); first.Arrival < cutoff {
		expired := 0
		for rec := range run.All() {
			if rec.Arrival >= cutoff {
				break
			}
			expired++
		}
		if expired == run.Len() {
			r.trim(max(end, r.sequenceAt(cutoff)))
			return record.Run{}
		}
		_, run = run.Split(expired)
		r.count(uint64(expired))
		first = run.First()
	}
	r.floor.Store(first.Arrival)
	r.position.Store(end)
	return run
}

// passOver moves the position to where the log went on reading: segments before it were dropped by the
// retention, or damaged records were accepted as lost.
func (r *Reader) passOver(first uint64) {
	position := r.position.Load()
	if position >= first {
		return
	}
	oldest, _ := r.st.log.Bounds(r.shard)
	if kept := min(max(oldest, position), first); kept > position {
		r.count(kept - position)
		position = kept
	}
	r.skipped.Add(first - position)
	r.position.Store(first)
}

// passExpiredDamage moves over damage whose records have all passed the retention: they would not have been
// served. It says whether it has moved.
func (r *Reader) passExpiredDamage(err error) bool {
	var damage *DamageError
	if !errors.As(err, &damage) {
		return false
	}
	at := r.sequenceAt(r.st.cutoff())
	if at <= damage.Last || at <= r.position.Load() {
		return false
	}
	r.trim(at)
	return true
}

// trim moves the position, and that of the log's reader, over records that have passed the retention.
func (r *Reader) trim(to uint64) {
	r.count(to - r.position.Load())
	r.position.Store(to)
	r.log.Seek(to)
}

func (r *Reader) count(trimmed uint64) {
	r.trimmed.Add(trimmed)
	r.st.metrics.trimmed.Add(float64(trimmed))
}

// sequenceAt is the first record that arrived at or after a time; 0 where the log cannot say.
func (r *Reader) sequenceAt(arrival int64) uint64 {
	at, err := r.st.log.SequenceAt(r.shard, arrival)
	if err != nil {
		return 0
	}
	return at
}

// Position is the sequence number of the next record wanted: start there (AtSequence) to go on.
func (r *Reader) Position() uint64 { return r.position.Load() }

// Trimmed is how many records the reader has passed over because they passed the retention before it came
// to them. They are lost to it; a reader never passes over any silently.
func (r *Reader) Trimmed() uint64 { return r.trimmed.Load() }

// Skipped is how many records the reader has passed over because they were damaged and an operator accepted
// that they are lost.
func (r *Reader) Skipped() uint64 { return r.skipped.Load() }

// Behind is the age of the next unread record that is within the retention: 0 when there is none. It looks that
// record up in the log, once for each position it is asked at. Where the record is damaged, it is the most
// that its age can be.
func (r *Reader) Behind() time.Duration {
	position := r.position.Load()
	if r.st.usable() != nil {
		return 0
	}
	if _, next := r.st.log.Bounds(r.shard); position >= next {
		return 0
	}
	arrival, cutoff := r.arrivalOf(position), r.st.cutoff()
	if arrival < cutoff {
		oldest, next := r.st.trimPoint(r.shard)
		if oldest == next {
			return 0
		}
		arrival = max(r.arrivalOf(max(position, oldest)), cutoff)
	}
	return max(time.Since(time.UnixMicro(arrival)), 0)
}

// arrivalOf is when the record at a position, which is stored, arrived; the floor where that cannot be read.
func (r *Reader) arrivalOf(position uint64) int64 {
	floor := r.floor.Load()
	r.mu.Lock()
	known, arrival := r.lookedUp == position, r.lookedArrival
	r.mu.Unlock()
	if known {
		return arrival
	}
	log, err := r.st.log.Reader(r.shard, position)
	if err != nil {
		return floor
	}
	run, ok, err := log.TryNext()
	if err != nil || !ok {
		return floor
	}
	arrival = run.First().Arrival
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lookedUp, r.lookedArrival = position, arrival
	return arrival
}
