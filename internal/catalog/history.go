package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// History keeps the newest note under each of many keys, in one bounded JetStream stream: a subject per key, with one message each. A key's note is
// pushed out by nothing but the next one under that key, as long as all of them together stay within the bound; beyond it those go that were written longest ago.
// Unlike tables and blobs it has one copy only: a note that cannot be read is left out, and a stream that cannot be opened is made anew, empty, with a
// warning in the log. Its methods may be called from several goroutines.
type History struct {
	catalog *Catalog
	name    string
	stream  jetstream.Stream
	early   jetstream.Stream // of a program that had one subject for all notes; nil where there is none
}

// EarlyKey is that of the notes that an earlier program has left, which kept the newest ones of all. There may be many; no others come.
const EarlyKey = ""

// MaxNoteBytes is how long a note may be.
const MaxNoteBytes = 512 << 10

// History opens notes, or makes a place for them of at most so many bytes. name is a table's name. Error: ErrInvalid, ErrClosed, that of ctx,
// what JetStream answers.
func (c *Catalog) History(ctx context.Context, name string, bytes int64) (*History, error) {
	if err := checkName("history", name); err != nil {
		return nil, fmt.Errorf("catalog: history: %w", err)
	}
	end, err := c.begin()
	if err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", name, err)
	}
	defer end()
	h := &History{catalog: c, name: name}
	if h.stream, err = h.open(ctx, bytes); err != nil {
		return nil, fmt.Errorf("catalog: history %s: %w", name, err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	h.early, err = c.js.Stream(call, h.earlyName())
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		c.log.Warn("notes of an earlier program cannot be opened and are left out", "history", name, "error", err)
	}
	return h, ctx.Err()
}

func (h *History) open(ctx context.Context, bytes int64) (jetstream.Stream, error) {
	js := h.catalog.js
	config := jetstream.StreamConfig{
		Name: h.streamName(), Description: "notes of the catalog, the newest of each key", Subjects: []string{h.subjects() + ">"},
		Storage: jetstream.FileStorage, Replicas: 1,
		MaxMsgsPerSubject: 1, MaxBytes: bytes, Discard: jetstream.DiscardOld, AllowDirect: true,
	}
	open := func() (jetstream.Stream, error) {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return js.CreateOrUpdateStream(ctx, config)
	}
	s, err := open()
	if err == nil || ctx.Err() != nil {
		return s, err
	}
	h.catalog.log.Warn("notes cannot be opened and are given up", "history", h.name, "error", err)
	if err := js.DeleteStream(ctx, h.streamName()); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, err
	}
	return createAgain(ctx, open)
}

func (h *History) streamName() string        { return "PAST_" + h.name }
func (h *History) subjects() string          { return "$PAST." + h.name + "." }
func (h *History) subject(key string) string { return h.subjects() + encodeKey(key) }
func (h *History) earlyName() string         { return "NOTES_" + h.name }

// Put keeps a note of at most MaxNoteBytes in the place of what is under the key; it is on disk when it returns. A key is as a table's. Errors:
// ErrInvalid, ErrNoSpace (notes do not use the space that is kept for definitions), ErrClosed, that of ctx, what JetStream answers; after the last two it may
// be there.
func (h *History) Put(ctx context.Context, key string, note []byte) error {
	end, err := h.catalog.begin()
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	defer end()
	if err := checkKey(key); err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	if len(note) > MaxNoteBytes {
		return fmt.Errorf("catalog: history %s: %w: a note of %d bytes, more than %d", h.name, ErrInvalid, len(note), MaxNoteBytes)
	}
	if err := h.catalog.space.forWrite(len(note)); err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := h.catalog.js.Publish(ctx, h.subject(key), note); err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	return nil
}

// Forget removes what is under a key, which need not be anything; under EarlyKey, all that an earlier program has left. Errors: ErrNoSpace, ErrClosed,
// that of ctx, what JetStream answers.
func (h *History) Forget(ctx context.Context, key string) error {
	end, err := h.catalog.begin()
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	defer end()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if key == EarlyKey {
		err = h.catalog.js.DeleteStream(ctx, h.earlyName())
	} else if err = h.catalog.space.forRelief(); err == nil {
		err = h.stream.Purge(ctx, jetstream.WithPurgeSubject(h.subject(key)))
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	return nil
}

// Notes hands over what is kept and can be read, in no order, but those of EarlyKey first, the oldest first. The note is the receiver's. Errors: ErrClosed, that
// of ctx, what JetStream answers when it is asked what there is.
func (h *History) Notes(ctx context.Context, take func(key string, note []byte)) error {
	end, err := h.catalog.begin()
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	defer end()
	lost, err := h.earlyNotes(ctx, take)
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	info, err := h.stream.Info(call, jetstream.WithSubjectFilter(h.subjects()+">"))
	cancel()
	if err != nil {
		return fmt.Errorf("catalog: history %s: %w", h.name, err)
	}
	for subject := range info.State.Subjects {
		key, err := decodeKey(strings.TrimPrefix(subject, h.subjects()))
		var m *jetstream.RawStreamMsg
		if err == nil {
			call, cancel := context.WithTimeout(ctx, callTimeout)
			m, err = h.stream.GetLastMsgForSubject(call, subject)
			cancel()
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("catalog: history %s: %w", h.name, ctx.Err())
		case err != nil:
			lost++
		default:
			take(key, m.Data)
		}
	}
	if lost > 0 {
		h.catalog.log.Warn("notes cannot be read and are left out", "history", h.name, "notes", lost)
	}
	return nil
}

// earlyNotes are those of an earlier program. The error is that of ctx.
func (h *History) earlyNotes(ctx context.Context, take func(key string, note []byte)) (lost int, err error) {
	if h.early == nil {
		return 0, nil
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	info, err := h.early.Info(call)
	cancel()
	if err != nil { // it was removed since, or is damaged
		return 0, ctx.Err()
	}
	for n := info.State.FirstSeq; n <= info.State.LastSeq && n > 0; n++ {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		m, err := h.early.GetMsg(call, n)
		cancel()
		if ctx.Err() != nil {
			return lost, ctx.Err()
		}
		if err != nil {
			lost++
			continue
		}
		take(EarlyKey, m.Data)
	}
	return lost, nil
}
