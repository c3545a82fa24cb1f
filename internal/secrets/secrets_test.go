package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
)

// table is a catalog's table in memory.
type table struct {
	mu       sync.Mutex
	entries  map[string]catalog.Entry
	revision uint64
	fail     error // of every write
}

func newTable() *table { return &table{entries: map[string]catalog.Entry{}} }

func (t *table) Get(key string) (catalog.Entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[key]
	if !ok {
		return e, catalog.ErrNotFound
	}
	return e, nil
}

func (t *table) List() (out []catalog.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		out = append(out, e)
	}
	return out
}

func (t *table) put(key string, value []byte) (uint64, error) {
	if t.fail != nil {
		return 0, t.fail
	}
	t.revision++
	t.entries[key] = catalog.Entry{Key: key, Value: bytes.Clone(value), Revision: t.revision}
	return t.revision, nil
}

func (t *table) Create(_ context.Context, key string, value []byte) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.entries[key]; ok {
		return 0, catalog.ErrExists
	}
	return t.put(key, value)
}

func (t *table) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries[key].Revision != revision {
		return 0, catalog.ErrConflict
	}
	return t.put(key, value)
}

func (t *table) Delete(_ context.Context, key string, _ uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.entries[key]; !ok {
		return catalog.ErrNotFound
	}
	delete(t.entries, key)
	return t.fail
}

func open(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, s *Store, name, value string) Secret {
	t.Helper()
	secret, _, err := s.Set(t.Context(), name, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func wantValue(t *testing.T, s *Store, name, want string) {
	t.Helper()
	if got, err := s.Value(name); err != nil || string(got) != want {
		t.Errorf("secret %s is %q, %v; want %q", name, got, err, want)
	}
}

func TestSecretsLiveOn(t *testing.T) {
	o := Options{Table: newTable(), KeyFile: filepath.Join(t.TempDir(), "key"), MakeKey: true}
	s := open(t, o)
	if _, err := os.Stat(o.KeyFile); err == nil {
		t.Error("a key is made though there is no secret")
	}
	first, created, err := s.Set(t.Context(), "token", []byte("hunter2"))
	if err != nil || !created || first.Name != "token" || first.Created.IsZero() {
		t.Fatalf("%+v, %v, %v", first, created, err)
	}
	info, err := os.Stat(o.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v", info.Mode(), err)
	}
	second, created, err := s.Set(t.Context(), "token", []byte("hunter3"))
	if err != nil || created || !second.Created.Equal(first.Created) || second.Modified.Before(first.Modified) {
		t.Errorf("set again: %+v, %v, %v", second, created, err)
	}
	set(t, s, "a", strings.Repeat("\x00", MaxValueBytes))
	s = open(t, o)
	wantValue(t, s, "token", "hunter3")
	wantValue(t, s, "token", "hunter3") // from memory
	wantValue(t, s, "a", strings.Repeat("\x00", MaxValueBytes))
	set(t, s, "token", "hunter4")
	wantValue(t, s, "token", "hunter4")
	if list := s.List(); len(list) != 2 || list[0].Name != "a" || list[1].Name != "token" || !list[1].Created.Equal(first.Created) {
		t.Errorf("%+v", list)
	}
	if err := s.Delete(t.Context(), "token"); err != nil {
		t.Error(err)
	}
	if _, err := s.Value("token"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted secret: %v", err)
	}
	if err := s.Delete(t.Context(), "token"); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted again: %v", err)
	}
}

func TestSetRefuses(t *testing.T) {
	s := open(t, Options{Table: newTable(), KeyFile: filepath.Join(t.TempDir(), "key"), MakeKey: true})
	for _, c := range []struct{ name, value, field string }{
		{"", "v", "name"}, {"a/b", "v", "name"}, {"..", "v", "name"}, {strings.Repeat("n", MaxNameBytes+1), "v", "name"},
		{"a", "", "value"}, {"a", strings.Repeat("v", MaxValueBytes+1), "value"},
	} {
		_, _, err := s.Set(t.Context(), c.name, []byte(c.value))
		var refused *field.Error
		if !errors.As(err, &refused) || refused.Field != c.field || len(err.Error()) > 300 {
			t.Errorf("%.10s: %v", c.name, err)
		}
	}
	full := newTable()
	for i := range MaxSecrets {
		full.entries[fmt.Sprint(i)] = catalog.Entry{Key: fmt.Sprint(i)}
	}
	dir := t.TempDir()
	if err := writeKey(filepath.Join(dir, "key"), identityText(t)); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Table: full, KeyFile: filepath.Join(dir, "key")})
	if _, _, err := s.Set(t.Context(), "more", []byte("v")); !errors.Is(err, field.ErrInvalid) {
		t.Errorf("more than %d: %v", MaxSecrets, err)
	}
	if _, _, err := s.Set(t.Context(), "7", []byte("v")); err != nil {
		t.Errorf("one of them set again: %v", err)
	}
}

func identityText(t *testing.T) string {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return key.String() + "\n"
}

func TestStoreThatFails(t *testing.T) {
	tb := newTable()
	s := open(t, Options{Table: tb, KeyFile: filepath.Join(t.TempDir(), "key"), MakeKey: true})
	set(t, s, "a", "before")
	tb.fail = catalog.ErrNoSpace
	for _, name := range []string{"a", "b"} {
		if _, _, err := s.Set(t.Context(), name, []byte("after")); !errors.Is(err, catalog.ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantValue(t, s, "a", "before")
}

// What is stored does not show the value, and is good for its own name and key only.
func TestStoredFormIsSealed(t *testing.T) {
	tb := newTable()
	o := Options{Table: tb, KeyFile: filepath.Join(t.TempDir(), "key"), MakeKey: true}
	s := open(t, o)
	set(t, s, "one", "hunter2hunter2")
	set(t, s, "two", "other")
	stored := tb.entries["one"].Value
	if bytes.Contains(stored, []byte("hunter2")) {
		t.Errorf("stored is %s", stored)
	}
	tb.put("two", stored)
	if _, err := s.Value("two"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a value under another name: %v", err)
	}
	d, err := decode(stored)
	if err != nil {
		t.Fatal(err)
	}
	for i := range d.Sealed {
		bent := d
		bent.Sealed = bytes.Clone(d.Sealed)
		bent.Sealed[i] ^= 1
		tb.put("one", bent.encode())
		if v, err := s.Value("one"); !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "hunter2") {
			t.Fatalf("with byte %d changed: %q, %v", i, v, err)
		}
	}
	tb.put("one", []byte(`{"format":2}`))
	if _, err := s.Value("one"); !errors.Is(err, ErrDamaged) {
		t.Errorf("another format: %v", err)
	}
	if list := s.List(); len(list) != 2 || !list[0].Created.IsZero() {
		t.Errorf("%+v", list)
	}
	set(t, s, "one", "mended")
	wantValue(t, s, "one", "mended")
}

func TestKeyThatIsLost(t *testing.T) {
	o := Options{Table: newTable(), KeyFile: filepath.Join(t.TempDir(), "key"), MakeKey: true}
	set(t, open(t, o), "a", "v")
	if err := os.Rename(o.KeyFile, o.KeyFile+".away"); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, o)
	if !strings.Contains(log.String(), "cannot be read until their key is back") {
		t.Errorf("the log says %q", log.String())
	}
	if _, err := s.Value("a"); !errors.Is(err, ErrKey) {
		t.Errorf("read without the key: %v", err)
	}
	if _, _, err := s.Set(t.Context(), "b", []byte("v")); !errors.Is(err, ErrKey) {
		t.Errorf("set beside one whose key is lost: %v", err)
	}
	if err := os.Rename(o.KeyFile+".away", o.KeyFile); err != nil {
		t.Fatal(err)
	}
	wantValue(t, s, "a", "v")

	// Another key does not open it, and says so; the secret can be set again.
	if err := writeKey(o.KeyFile, identityText(t)); err != nil {
		t.Fatal(err)
	}
	s = open(t, o)
	if _, err := s.Value("a"); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "was encrypted to") {
		t.Errorf("with another key: %v", err)
	}
	set(t, s, "a", "new")
	wantValue(t, s, "a", "new")
}

func TestKeyFiles(t *testing.T) {
	good := identityText(t)
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		ok   bool
	}{
		"as age-keygen writes it": {"# created: today\n# public key: x\n\n" + good, 0o600, true},
		"read only":               {good, 0o400, true},
		"others may read it":      {good, 0o644, false},
		"the group may read it":   {good, 0o640, false},
		"empty":                   {"", 0o600, false},
		"two keys":                {good + good, 0o600, false},
		"no key":                  {"AGE-SECRET-KEY-1HUNTER2\n", 0o600, false},
		"very long":               {strings.Repeat("#\n", maxKeyFile) + good, 0o600, false},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.text), c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(Options{Table: newTable(), KeyFile: path})
		if c.ok != (err == nil) || err != nil && (!errors.Is(err, ErrKey) || strings.Contains(err.Error(), "SECRET-KEY")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing := Options{Table: newTable(), KeyFile: filepath.Join(t.TempDir(), "none")}
	if _, err := Open(missing); !errors.Is(err, ErrKey) {
		t.Errorf("a file that was named and is not there: %v", err)
	}
	if _, err := Open(Options{}); err == nil {
		t.Error("no options are enough")
	}
	nowhere := open(t, Options{Table: newTable(), KeyFile: filepath.Join(t.TempDir(), "no", "folder"), MakeKey: true})
	if _, _, err := nowhere.Set(t.Context(), "a", []byte("v")); !errors.Is(err, ErrKey) {
		t.Errorf("a key that cannot be written: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	key, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	var d definition
	d.Format = definitionFormat
	if err := d.seal(key, "name", []byte("value")); err != nil {
		f.Fatal(err)
	}
	f.Add(d.encode())
	f.Add([]byte(`{"format":1,"recipient":"","sealed":"AA=="}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		d, err := decode(stored)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%v", err)
			}
			return
		}
		if v, err := d.open(key, "name"); err == nil && string(v) != "value" || err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrKey) {
			t.Errorf("%q, %v", v, err)
		}
	})
}
