//go:build !race

// The race detector is left out: where bbolt finds damage as it opens a file, its own rollback races with its own reader.

package state

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Any byte of the file that changes is found, as damage, where it matters: what is read is what was written, or an error.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	o := Options{Dir: dir}
	s := open(t, o)
	values := map[string]string{}
	for i := range 40 {
		key, value := fmt.Sprintf("key-%02d", i), strings.Repeat(fmt.Sprint("value ", i, " "), 20)
		values[key] = value
		put(t, s, seen, key, value)
	}
	if err := s.Scrub(t.Context()); err != nil {
		t.Errorf("scrub of a good file: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for at := 3; at < len(good); at += 509 {
		bad := bytes.Clone(good)
		bad[at] ^= 0x10
		o := Options{Dir: t.TempDir()} // an Open that fails may leave the file locked until the process ends
		if err := os.WriteFile(filepath.Join(o.Dir, "state.db"), bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(o)
		if err != nil {
			found++
			continue
		}
		scrubbed := s.Scrub(t.Context())
		for key, value := range values {
			e, there, err := s.Begin().Get(seen, key)
			switch {
			case errors.Is(err, ErrDamaged):
				if scrubbed == nil {
					t.Errorf("byte %d: scrub has not found %v", at, err)
				}
			case err != nil:
				t.Errorf("byte %d: %v", at, err)
			case there && string(e.Value) != value:
				t.Errorf("byte %d: key %s is %.40q", at, key, e.Value)
			}
		}
		if scrubbed != nil {
			found++
		}
		if err := s.Close(); err != nil {
			t.Errorf("byte %d: close: %v", at, err)
		}
	}
	if found < 5 {
		t.Errorf("of %d changed bytes %d were found", len(good)/509, found)
	}
}
