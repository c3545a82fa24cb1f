package triggers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards"
)

// Target is where Seek moves a mapping to.
type Target struct {
	Position Position  // Oldest, Newest or AtTime; "" with Sequence
	Time     time.Time // with AtTime, not in the future
	Sequence uint64    // the record to go on with, of Shard; 0 = by Position
	Shard    string    // the shard to move, as "shardId-000000000000"; "" = all of them, which a Sequence does not allow
}

// check refuses what is no target.
func (g *Target) check(now time.Time) error {
	switch {
	case g.Sequence != 0 && (g.Position != "" || !g.Time.IsZero()):
		return field.Invalid("sequence", strconv.FormatUint(g.Sequence, 10), "left out with a position")
	case g.Sequence != 0 && g.Shard == "":
		return field.Invalid("shard", "", "the shard that the sequence number is of")
	case g.Sequence != 0:
		return nil
	}
	switch g.Position {
	case Oldest, Newest:
		if !g.Time.IsZero() {
			return field.Invalid("time", g.Time.Format(time.RFC3339Nano), "left out unless the position is timestamp")
		}
	case AtTime:
		if g.Time.IsZero() || g.Time.After(now) {
			return field.Invalid("time", g.Time.Format(time.RFC3339Nano), "not in the future")
		}
	default:
		return field.Invalid("position", string(g.Position), "oldest, newest or timestamp")
	}
	return nil
}

func (g *Target) start() shards.Start {
	switch {
	case g.Sequence != 0:
		return shards.Start{Kind: shards.AtSequence, Sequence: g.Sequence}
	case g.Position == Newest:
		return shards.Start{Kind: shards.Newest}
	case g.Position == AtTime:
		return shards.Start{Kind: shards.AtTime, Time: g.Time}
	}
	return shards.Start{Kind: shards.Oldest}
}

// Seek moves a mapping to another position, in one shard or in all of them: it stops the mapping at a batch boundary, as Close does, saves
// the new checkpoints and starts it again. What lies between is delivered again, or not at all. A tumbling window that is open is
// forgotten. Shards that have children are read before them, as ever. Errors: ErrInvalid (as *FieldError), ErrNotFound, ErrFailed,
// ErrClosed, and those of saving: then some shards may have been moved.
func (t *Triggers) Seek(ctx context.Context, name string, to Target) (Status, error) {
	end, err := t.begin(ctx)
	var s Status
	if err == nil {
		defer end()
		s, err = t.seek(ctx, name, to)
	}
	if err != nil {
		return Status{}, fmt.Errorf("triggers: seek %q: %w", shorten(name), err)
	}
	return s, nil
}

func (t *Triggers) seek(ctx context.Context, name string, to Target) (Status, error) {
	r := t.lookup(name)
	if r == nil {
		return Status{}, ErrNotFound
	}
	if err := to.check(time.Now()); err != nil {
		return Status{}, err
	}
	if s := r.status(time.Now()); s.State == Failed {
		return Status{}, fmt.Errorf("%w: %s", ErrFailed, s.Reason)
	}
	listed := r.source.Shards()
	if to.Shard != "" {
		if listed = only(listed, to.Shard); len(listed) == 0 {
			return Status{}, field.Invalid("shard", to.Shard, "one of the stream's shards")
		}
	}
	t.halt(ctx, r)
	err := move(context.WithoutCancel(ctx), r.source, r.def.consumer(), listed, to.start(), carryOn(r.markers, r.def.ID))
	r.resume()
	if err != nil {
		return Status{}, err
	}
	said := []any{"position", to.Position, "shards", len(listed)}
	if !to.Time.IsZero() {
		said = append(said, "time", to.Time)
	}
	if to.Sequence != 0 {
		said = append(said, "sequence", to.Sequence)
	}
	r.log.Info("the mapping was moved", said...)
	return r.status(time.Now()), nil
}

func only(listed []shards.ShardID, name string) []shards.ShardID {
	for _, id := range listed {
		if id.String() == name {
			return []shards.ShardID{id}
		}
	}
	return nil
}

// move saves the checkpoints of a consumer in some shards so that it goes on at a start. keep makes their state of what it was; nil = none.
func move(ctx context.Context, source Source, consumer string, listed []shards.ShardID, start shards.Start, keep func(shards.ShardID, []byte) []byte) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for _, shard := range listed {
		g.Go(func() error {
			r, err := source.Reader(shard, start)
			if errors.Is(err, shards.ErrNoShard) { // it has passed the retention meanwhile
				return nil
			}
			if err != nil {
				return err
			}
			cp, _ := source.Checkpoint(consumer, shard)
			moved := shards.Checkpoint{Consumer: consumer, Shard: uint32(shard), Sequence: r.Position() - 1, Revision: cp.Revision}
			if keep != nil {
				moved.State = keep(shard, cp.State)
			}
			_, err = source.SaveCheckpoint(ctx, moved)
			if errors.Is(err, shards.ErrNoShard) {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}
