package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"
)

const (
	quietAfter   = time.Second      // without growth, a record of several lines is whole
	rotatedAfter = 30 * time.Second // without growth, a file that was renamed is complete
	idleAfter    = time.Minute      // without growth, a file can be closed when there are many
	manyFiles    = 256              // that are held open though they are idle

	firstChunk = 256 << 10
)

// follower is the goroutine that reads a flow's files.
type follower struct {
	flow      *Flow
	positions *positions
	log       *slog.Logger
	counts    *counts
	out       chan<- *buffer

	files   []*file // the oldest first
	known   map[fileID]*file
	folder  folder
	chunk   []byte
	buffer  *buffer
	failing map[string]bool // what has been logged, until it passes
}

// run follows the files until ctx is done, hands over what it has, and closes out.
func (f *follower) run(ctx context.Context) {
	f.known, f.failing, f.buffer = map[fileID]*file{}, map[string]bool{}, &buffer{}
	f.chunk = make([]byte, firstChunk)
	defer func() {
		for _, t := range f.files {
			t.close()
		}
		if !f.buffer.empty() {
			f.out <- f.buffer
		}
		close(f.out)
	}()
	f.begin()
	for ctx.Err() == nil {
		worked := f.round(ctx)
		wait := f.flow.Poll
		if !f.buffer.empty() {
			due := time.Until(f.buffer.born.Add(f.flow.MaxAge))
			if due <= 0 || !f.buffer.room(f.flow, 0) {
				f.hand(ctx)
				continue
			}
			wait = min(wait, due)
		}
		if !worked {
			pause(ctx, wait)
		}
	}
}

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hand gives the buffer to the sender, which takes it when it has sent the one before.
func (f *follower) hand(ctx context.Context) {
	select {
	case f.out <- f.buffer:
		f.buffer = &buffer{}
	case <-ctx.Done(): // run hands it over
	}
}

// round looks at every file once and reads what each has at this moment, the oldest first: what a writer put into a file
// before it began the next one is read before that.
func (f *follower) round(ctx context.Context) (worked bool) {
	now := time.Now()
	f.list(now)
	f.files = slices.DeleteFunc(f.files, func(t *file) bool {
		f.look(t, now)
		return t.handle == nil && !t.named
	})
	for _, t := range f.files {
		if t.handle == nil || t.missed {
			continue
		}
		read, err := f.read(ctx, t, now)
		worked = worked || read
		switch {
		case errors.Is(err, errChanged):
			f.truncated(t)
		case err != nil:
			f.failed("read "+t.Path, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	f.counts.files.Store(int64(len(f.files)))
	return worked
}

// look notes how a file has changed, and closes it when it is done with or has been idle for long.
func (f *follower) look(t *file, now time.Time) {
	if t.handle == nil {
		return
	}
	info, err := t.handle.Stat()
	if err != nil {
		f.failed("stat "+t.Path, err)
		return
	}
	if info.Size() != t.size || !info.ModTime().Equal(t.written) {
		t.size, t.written, t.grown = info.Size(), info.ModTime(), now
	}
	done := t.tried.size == t.size && t.tried.written.Equal(t.written)
	switch {
	case t.size < t.Offset:
		f.truncated(t)
	case !t.named && done && t.tried.final, !t.named && t.Ended && t.rotated(now):
		f.log.Info("a file is done with", "file", t.Path, "bytes", t.Offset)
		t.close()
		delete(f.known, t.fileID)
	case t.named && len(f.files) > manyFiles && done && now.Sub(t.grown) >= idleAfter:
		t.close()
	}
}

// truncated begins a file anew. It is read after the folder has been listed again: the copy that was made of it comes first.
func (f *follower) truncated(t *file) {
	f.log.Info("a file was truncated or written anew; it is read from its beginning", "file", t.Path, "position", t.Offset)
	f.folder.ghosts = append(f.folder.ghosts, ghost{t.position, t.fileID, time.Now()})
	t.restart(f.flow)
	t.missed = true
	f.folder.stale = true
}

// read takes the records out of a file that it holds now. Error: errChanged, or of reading.
func (f *follower) read(ctx context.Context, t *file, now time.Time) (worked bool, err error) {
	try := attempt{t.size, t.written, now.Sub(t.grown) >= quietAfter, t.rotated(now)}
	if t.tried == try || t.Ended && t.tried.size == t.size && t.tried.written.Equal(t.written) {
		return false, nil
	}
	for ctx.Err() == nil {
		data, err := t.read(f.chunk, t.size)
		if err != nil {
			return worked, err
		}
		full := len(data)+len(t.Check) == len(f.chunk)
		n := f.records(ctx, t, data, try, full)
		if n > 0 {
			worked = true
			continue
		}
		if ctx.Err() != nil || t.Ended || !full {
			break
		}
		f.grow(ctx, t, data)
	}
	if ctx.Err() == nil {
		t.tried = try
	}
	return worked, nil
}

// grow makes room for a record that does not fit in the chunk, or cuts it where it is larger than a request.
func (f *follower) grow(ctx context.Context, t *file, data []byte) {
	most := kinesisBuffer
	if f.flow.Firehose {
		most = firehoseBuffer
	}
	if len(f.chunk) < most {
		f.chunk = make([]byte, min(2*len(f.chunk), most))
		return
	}
	if !t.Discard {
		f.log.Warn("a record is larger than a request; its rest is passed over", "file", t.Path, "offset", t.Offset)
		if !f.emit(ctx, t, data, func() { f.buffer.mark(t.position) }) {
			return
		}
		t.Discard = true
	}
	t.advance(data)
	f.buffer.mark(t.position)
}

// records takes the records that data begins with, and returns how many bytes they have.
func (f *follower) records(ctx context.Context, t *file, data []byte, try attempt, full bool) (taken int) {
	passed := 0
	settle := func() {
		t.advance(data[passed:taken])
		if passed = taken; t.skip == 0 {
			f.buffer.mark(t.position)
		}
	}
	for ctx.Err() == nil && !t.Ended {
		rest := data[taken:]
		n, silent := f.measure(t, rest, try.quiet && !full)
		if n == 0 && try.final && !full && len(rest) > 0 && t.skip == 0 && !t.Discard {
			n = len(rest)
		}
		if n == 0 {
			break
		}
		rest = rest[:n]
		if !silent && f.flow.footer != nil && f.flow.footer.Match(bytes.TrimSpace(rest)) {
			f.log.Info("the footer of a file was read", "file", t.Path)
			t.Ended, silent = true, true
		}
		if !silent && !f.emit(ctx, t, rest, settle) {
			break
		}
		taken += n
	}
	if taken > passed {
		settle()
	}
	return taken
}

// measure is how many bytes come next in b as one: a record or, silent, what is passed over.
func (f *follower) measure(t *file, b []byte, quiet bool) (n int, silent bool) {
	switch {
	case t.Discard:
		n, found := f.flow.split.resume(b)
		t.Discard = !found
		if found && n == 0 {
			return f.flow.split.next(b, quiet), false
		}
		return n, true
	case t.skip > 0:
		if n = lineEnd(b); n > 0 {
			t.skip--
		}
		return n, true
	}
	return f.flow.split.next(b, quiet), false
}

// emit converts a record and puts it into the buffer; when that has no room it is handed over, after settle has marked in it how
// far the file has been read. It is false when ctx was done before.
func (f *follower) emit(ctx context.Context, t *file, raw []byte, settle func()) bool {
	data, err := convert(f.flow.converters, raw)
	if errors.Is(err, errSkip) {
		f.counts.read.Add(1)
		f.counts.skipped.Add(1)
		return true
	}
	if err != nil || len(f.flow.converters) == 0 {
		data = bytes.Clone(raw)
	}
	if !f.buffer.room(f.flow, len(data)) {
		settle()
		if f.hand(ctx); ctx.Err() != nil {
			return false
		}
	}
	f.counts.read.Add(1)
	if err != nil {
		f.counts.unconverted.Add(1)
	}
	if len(data) > f.flow.maxRecord("") {
		f.counts.cut.Add(1)
		f.log.Warn("a record is too large and was cut", "file", t.Path, "near", t.Offset, "bytes", len(data))
	}
	f.buffer.add(f.flow, data)
	return true
}

// failed logs a failure when it is new.
func (f *follower) failed(what string, err error) {
	if !f.failing[what] {
		f.failing[what] = true
		f.log.Error("a file cannot be followed; this is tried again", "what", what, "error", err)
	}
}

// passed forgets a failure.
func (f *follower) passed(what string) { delete(f.failing, what) }
