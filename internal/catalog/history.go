package catalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// History keeps the newest of a series of notes, in one bounded JetStream stream. Unlike tables and blobs it has one copy only: a
// note that cannot be read is left out, and a stream that cannot be opened is made anew, empty, with a warning in the log. Its
// methods may be called from several goroutines.
type History struct {
	catalog *Catalog
	name    string
	stream  jetstream.Stream
}

// History opens a series of notes, or makes it: the newest ones are kept, at most so many and so many bytes. name is a table's
// name. Error: ErrInvalid, ErrClosed, that of ctx, what JetStream answers.
func (c *Catalog) History(ctx context.Context, name string, notes int, bytes int64) (*History, error) {
	if err := checkName("history", name); err != nil {
		return nil, fmt.Errorf("catalog: history: %w", err)
	}
	end, err := c.begin()
	if err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", name, err)
	}
	defer end()
	h := &History{catalog: c, name: name}
	config := jetstream.StreamConfig{
		Name: h.streamName(), Description: "notes of the catalog", Subjects: []string{h.subject()},
		Storage: jetstream.FileStorage, Replicas: 1,
		MaxMsgs: int64(notes), MaxBytes: bytes, Discard: jetstream.DiscardOld, AllowDirect: true,
	}
	open := func() (jetstream.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return c.js.CreateOrUpdateStream(ctx, config)
	}
	if h.stream, err = open(); err == nil || ctx.Err() != nil {
		return h, err
	}
	c.log.Warn("notes cannot be opened and are given up", "history", name, "error", err)
	if err := c.js.DeleteStream(ctx, h.streamName()); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("catalog: history %s: %w", name, err)
	}
	if h.stream, err = createAgain(ctx, open); err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", name, err)
	}
	return h, nil
}

func (h *History) streamName() string { return "NOTES_" + h.name }
func (h *History) subject() string    { return "$NOTES." + h.name }

// Append adds a note of at most 512 KiB; it is on disk when it returns. Errors: ErrInvalid, ErrNoSpace (notes do not use the space
// that is kept for definitions), ErrClosed, that of ctx, what JetStream answers.
func (h *History) Append(ctx context.Context, note []byte) error {
	end, err := h.catalog.begin()
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	defer end()
	if len(note) > MaxNoteBytes {
		return fmt.Errorf("catalog: history %s: %w: a note of %d bytes, more than %d", h.name, ErrInvalid, len(note), MaxNoteBytes)
	}
	if err := h.catalog.space.forWrite(len(note)); err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := h.catalog.js.Publish(ctx, h.subject(), note); err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	return nil
}

// MaxNoteBytes is how long a note may be.
const MaxNoteBytes = 512 << 10

// Notes are those that are kept and can be read, oldest first. Errors: ErrClosed, that of ctx, what JetStream answers when it is
// asked what there is.
func (h *History) Notes(ctx context.Context) ([][]byte, error) {
	end, err := h.catalog.begin()
	if err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	defer end()
	call, cancel := context.WithTimeout(ctx, callTimeout)
	info, err := h.stream.Info(call)
	cancel()
	if err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	var notes [][]byte
	lost := 0
	for n := info.State.FirstSeq; n <= info.State.LastSeq && n > 0; n++ {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		m, err := h.stream.GetMsg(call, n)
		cancel()
		if ctx.Err() != nil {
			return nil, fmt.Errorf("catalog: history %s: %w", h.name, ctx.Err())
		}
		if err != nil {
			lost++
			continue
		}
		notes = append(notes, m.Data)
	}
	if lost > 0 {
		h.catalog.log.Warn("notes cannot be read and are left out", "history", h.name, "notes", lost)
	}
	return notes, nil
}
