package catalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

func (h *house) history(t testing.TB, notes int, size int64) *History {
	t.Helper()
	history, err := h.catalog.History(t.Context(), "calls", notes, size)
	if err != nil {
		t.Fatal(err)
	}
	return history
}

func mustAppend(t testing.TB, h *History, notes ...string) {
	t.Helper()
	for _, note := range notes {
		if err := h.Append(t.Context(), []byte(note)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantNotes(t testing.TB, h *History, want ...string) {
	t.Helper()
	notes, err := h.Notes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make([]string, len(notes))
	for i, n := range notes {
		got[i] = string(n)
	}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("notes are %q, want %q", got, want)
	}
}

func TestHistoryKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	history := h.history(t, 3, 1<<20)
	wantNotes(t, history)
	mustAppend(t, history, "a", "b")
	wantNotes(t, history, "a", "b")
	mustAppend(t, history, "c", "", "e")
	wantNotes(t, history, "c", "", "e")
	h.close(t)
	h = openHouse(t, dir)
	wantNoAlarms(t, h.catalog)
	wantNotes(t, h.history(t, 3, 1<<20), "c", "", "e")
	wantNotes(t, h.history(t, 2, 1<<20), "", "e") // a smaller number holds at once
	h.close(t)
}

func TestHistoryIsBoundedInBytes(t *testing.T) {
	h := openHouse(t, t.TempDir())
	defer h.close(t)
	history := h.history(t, 1000, 64<<10)
	for i := range 100 {
		mustAppend(t, history, fmt.Sprintf("%03d%s", i, bytes.Repeat([]byte{'x'}, 4<<10)))
	}
	notes, err := history.Notes(t.Context())
	if err != nil || len(notes) == 0 || len(notes) > 16 || string(notes[len(notes)-1][:3]) != "099" {
		t.Errorf("%d notes are kept: %v", len(notes), err)
	}
}

func TestHistoryRefuses(t *testing.T) {
	h := openHouse(t, t.TempDir())
	if _, err := h.catalog.History(t.Context(), "Odd name", 1, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("an odd name: %v", err)
	}
	history := h.history(t, 3, 1<<20)
	if err := history.Append(t.Context(), make([]byte, MaxNoteBytes+1)); !errors.Is(err, ErrInvalid) {
		t.Errorf("a note that is too long: %v", err)
	}
	h.catalog.space.free = func(string) (uint64, error) { return 1 << 20, nil }
	if err := history.Append(t.Context(), []byte("x")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
	h.catalog.space.free = freeBytes
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := history.Append(gone, []byte("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("by a caller who is gone: %v", err)
	}
	wantNotes(t, history)
	h.close(t)
	if err := history.Append(t.Context(), []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := history.Notes(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Damage to notes loses notes and nothing else: what is left can be read, and new ones are taken.
func TestHistorySurvivesDamage(t *testing.T) {
	dir := t.TempDir()
	h := openHouse(t, dir)
	mustAppend(t, h.history(t, 100, 1<<20), "first note", "second note", "third note")
	mustCreate(t, h.table(t, "t"), "k", "v")
	h.close(t)
	seen := map[string]bool{}
	for round := range 8 {
		for _, suffix := range []string{"meta.inf", "meta.sum", ".blk"} {
			for _, file := range listFiles(t, natsDir(dir)) {
				if !strings.Contains(file, "NOTES_calls") || !strings.HasSuffix(file, suffix) {
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
			history := h.history(t, 100, 1<<20)
			if _, err := history.Notes(t.Context()); err != nil {
				t.Errorf("%s, round %d: %v", suffix, round, err)
			}
			mustAppend(t, history, "new")
			if notes, err := history.Notes(t.Context()); err != nil || len(notes) == 0 || string(notes[len(notes)-1]) != "new" {
				t.Errorf("%s, round %d: after that the notes are %q, %v", suffix, round, notes, err)
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
