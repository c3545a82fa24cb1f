package catalog

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func (h *house) history(t testing.TB, size int64) *History {
	t.Helper()
	history, err := h.catalog.History(t.Context(), "calls", size)
	if err != nil {
		t.Fatal(err)
	}
	return history
}

// mustNote puts notes: key, note, key, note.
func mustNote(t testing.TB, h *History, pairs ...string) {
	t.Helper()
	for n := 0; n < len(pairs); n += 2 {
		if err := h.Put(t.Context(), pairs[n], []byte(pairs[n+1])); err != nil {
			t.Fatal(err)
		}
	}
}

// notes are what there is, "key=note" in order; those of EarlyKey, which come first, as they come.
func notes(t testing.TB, h *History) (early, all []string) {
	t.Helper()
	err := h.Notes(t.Context(), func(key string, note []byte) {
		if key != EarlyKey {
			all = append(all, key+"="+string(note))
			return
		}
		if len(all) > 0 {
			t.Error("an early note comes late")
		}
		early = append(early, string(note))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return early, all
}

func wantNotes(t testing.TB, h *History, want ...string) {
	t.Helper()
	if _, got := notes(t, h); !slices.Equal(got, want) {
		t.Errorf("notes are %q, want %q", got, want)
	}
}

// The newest note of each key is kept, however often others are written, and over a restart.
func TestHistoryKeepsTheNewestOfEachKey(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	history := h.history(t, 1<<20)
	wantNotes(t, history)
	mustNote(t, history, "quiet", "a", "busy", "0", "odd key.*>=", "b", "empty", "")
	for n := range 1000 {
		mustNote(t, history, "busy", fmt.Sprint(n))
	}
	want := []string{"busy=999", "empty=", "odd key.*>==b", "quiet=a"}
	wantNotes(t, history, want...)
	h.close(t)
	h = openHouse(t, dir)
	wantNoAlarms(t, h.catalog)
	history = h.history(t, 1<<20)
	wantNotes(t, history, want...)
	for _, key := range []string{"quiet", "never there"} {
		if err := history.Forget(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	mustNote(t, history, "empty", "no more")
	want = []string{"busy=999", "empty=no more", "odd key.*>==b"}
	wantNotes(t, history, want...)
	h.close(t)
	h = openHouse(t, dir)
	wantNotes(t, h.history(t, 1<<20), want...)
	h.close(t)
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	h := openHouse(t, t.TempDir())
	defer h.close(t)
	history := h.history(t, 64<<10)
	for i := range 100 {
		mustNote(t, history, fmt.Sprintf("%03d", i), strings.Repeat("x", 4<<10))
	}
	if _, all := notes(t, history); len(all) == 0 || len(all) > 16 || all[len(all)-1][:3] != "099" {
		t.Errorf("%d notes are kept", len(all))
	}
}

// What a program of before has left, notes under one subject, can be read, and removed.
func TestHistoryOfAnEarlierProgram(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	_, err := h.catalog.js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "NOTES_calls", Subjects: []string{"$NOTES.calls"}, Storage: jetstream.FileStorage, MaxMsgs: 3, Discard: jetstream.DiscardOld, AllowDirect: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range []string{"a", "b", "", "d"} {
		if _, err := h.catalog.js.Publish(t.Context(), "$NOTES.calls", []byte(note)); err != nil {
			t.Fatal(err)
		}
	}
	h.close(t)
	h = openHouse(t, dir)
	history := h.history(t, 1<<20)
	mustNote(t, history, "k", "new")
	if early, all := notes(t, history); !slices.Equal(early, []string{"b", "", "d"}) || !slices.Equal(all, []string{"k=new"}) {
		t.Errorf("notes are %q and %q", early, all)
	}
	for range 2 {
		if err := history.Forget(t.Context(), EarlyKey); err != nil {
			t.Fatal(err)
		}
		if early, all := notes(t, history); len(early) > 0 || !slices.Equal(all, []string{"k=new"}) {
			t.Errorf("notes are %q and %q", early, all)
		}
	}
	h.close(t)
	h = openHouse(t, dir)
	if early, all := notes(t, h.history(t, 1<<20)); len(early) > 0 || !slices.Equal(all, []string{"k=new"}) {
		t.Errorf("notes are %q and %q", early, all)
	}
	h.close(t)
}

func TestHistoryRefuses(t *testing.T) {
	h := openHouse(t, t.TempDir())
	if _, err := h.catalog.History(t.Context(), "Odd name", 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("an odd name: %v", err)
	}
	history := h.history(t, 1<<20)
	for _, key := range []string{EarlyKey, "\xff", strings.Repeat("k", MaxKeyBytes+1)} {
		if err := history.Put(t.Context(), key, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("key %.10q: %v", key, err)
		}
	}
	if err := history.Put(t.Context(), "k", make([]byte, MaxNoteBytes+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a note that is too long: %v", err)
	}
	h.catalog.space.free = func(string) (uint64, error) { return 1 << 20, nil }
	if err := history.Put(t.Context(), "k", []byte("x")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	h.catalog.space.free = freeBytes
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := history.Put(gone, "k", []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("by a caller who is gone: %v", err)
	}
	wantNotes(t, history)
	h.close(t)
	for what, err := range map[string]error{
		"Put": history.Put(t.Context(), "k", []byte("x")), "Forget": history.Forget(t.Context(), "k"), "Notes": history.Notes(t.Context(), func(string, []byte) {}),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

// Damage to notes loses notes and nothing else: what is left can be read, and new ones are taken.
func TestHistorySurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	mustNote(t, h.history(t, 1<<20), "first", "note", "second", "note", "third", "note")
	mustCreate(t, h.table(t, "t"), "k", "v")
	h.close(t)
	seen := map[string]bool{}
	for round := range 8 {
		for _, suffix := range []string{"meta.inf", "meta.sum", ".blk"} {
			for _, file := range listFiles(t, natsDir(dir)) {
				if !strings.Contains(file, "PAST_calls") || !strings.HasSuffix(file, suffix) {
					continue
				}
				seen[suffix] = true
				path := filepath.Join(natsDir(dir), file)
				if size := len(readFile(t, path)); size > 0 {
					flip(t, path, int64(size*round/8))
				}
			}
			h := openHouse(t, dir)
			wantNoAlarms(t, h.catalog)
			history := h.history(t, 1<<20)
			notes(t, history)
			mustNote(t, history, "new", "one")
			if _, all := notes(t, history); !slices.Contains(all, "new=one") {
				t.Errorf("%s, round %d: after that the notes are %q", suffix, round, all)
			}
			if got := content(h.table(t, "t"))["k"]; got != "v" {
				t.Errorf("%s, round %d: the table has %q", suffix, round, got)
			}
			h.close(t)
		}
	}
	if len(seen) != 3 {
		t.Errorf("of the stream's files only %v were found", seen)
	}
}
