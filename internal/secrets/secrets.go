package secrets

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
)

// Limits.
const (
	MaxSecrets    = 1000
	MaxNameBytes  = 128
	MaxValueBytes = 64 << 10
)

// Errors. A name or a value that breaks a rule is a *field.Error.
var (
	// ErrNotFound: there is no such secret.
	ErrNotFound = errors.New("secret not found")
	// ErrKey: the key file cannot be used, or the secret was encrypted to another key.
	ErrKey = errors.New("the key of the secrets cannot be used")
	// ErrDamaged: what is stored is not what was stored under that name.
	ErrDamaged = errors.New("the stored secret is damaged")
)

// Definitions is the table that secrets are stored in. It answers with the errors of package catalog. Its methods may be called from several
// goroutines; a write is durable when it returns. *catalog.Table is one.
type Definitions interface {
	Get(key string) (catalog.Entry, error)
	List() []catalog.Entry
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, revision uint64) error
}

// Options are what a Store works with.
type Options struct {
	Table   Definitions // required
	KeyFile string      // required
	// MakeKey has a key file be made where there is none, with the first secret that is set.
	MakeKey bool
	Logger  *slog.Logger // nil discards
}

// Secret describes a secret. Its value is not in it.
type Secret struct {
	Name              string
	Created, Modified time.Time
}

// Store keeps secrets. Its methods may be called from several goroutines.
type Store struct {
	options Options

	writing sync.Mutex // held by the one that changes what is stored

	mu     sync.Mutex
	key    *age.X25519Identity // nil until the file has been read
	values map[string]opened   // by name
}

// opened is a value in the clear.
type opened struct {
	revision uint64
	value    []byte
}

// Open makes a store of what is stored. A key file that is there is read, and has to be good. Where secrets are stored and the key
// file is missing, that is logged, and they cannot be read until it is back.
func Open(o Options) (*Store, error) {
	if o.Table == nil || o.KeyFile == "" {
		return nil, errors.New("secrets: open: Options.Table and Options.KeyFile are required")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{options: o, values: map[string]opened{}}
	_, err := s.identity(false)
	switch stored := len(o.Table.List()); {
	case errors.Is(err, errNoKey) && o.MakeKey && stored == 0:
	case errors.Is(err, errNoKey) && o.MakeKey:
		o.Logger.Error("secrets cannot be read until their key is back", "file", o.KeyFile, "secrets", stored)
	case err != nil:
		return nil, fmt.Errorf("secrets: open: %w", err)
	}
	return s, nil
}

// identity is the key, which is made where it may be and there is none.
func (s *Store) identity(make bool) (*age.X25519Identity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	key, err := readKey(s.options.KeyFile)
	if errors.Is(err, errNoKey) && make {
		key, err = makeKey(s.options.KeyFile)
	}
	s.key = key
	return key, err
}

func checkName(name string) error {
	bad := name == "" || len(name) > MaxNameBytes || strings.Trim(name, ".") == "" || strings.IndexFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && r != '-' && r != '_' && r != '.'
	}) >= 0
	if bad {
		return field.Invalid("name", name, fmt.Sprintf("1 to %d letters, digits, '-', '_' or '.', and not only dots", MaxNameBytes))
	}
	return nil
}

func checkValue(value []byte) error {
	if len(value) == 0 || len(value) > MaxValueBytes {
		return field.Invalid("value", fmt.Sprintf("%d bytes", len(value)), fmt.Sprintf("1 to %d bytes", MaxValueBytes))
	}
	return nil
}

// Set stores a value, and says whether the name is new. Errors: a *field.Error, ErrKey, catalog.ErrNoSpace, what the table answers; nothing has
// changed then.
func (s *Store) Set(ctx context.Context, name string, value []byte) (secret Secret, created bool, err error) {
	if err := checkName(name); err != nil {
		return Secret{}, false, err
	}
	if err := checkValue(value); err != nil {
		return Secret{}, false, err
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	// With a new key those that are stored could not be read even when their own key is back.
	key, err := s.identity(s.options.MakeKey && len(s.options.Table.List()) == 0)
	if err != nil {
		return Secret{}, false, fmt.Errorf("secrets: set %q: %w", name, err)
	}
	now := time.Now().UTC()
	d := definition{Format: definitionFormat, Created: now, Modified: now}
	old, err := s.options.Table.Get(name)
	if created = errors.Is(err, catalog.ErrNotFound); created && len(s.options.Table.List()) >= MaxSecrets {
		return Secret{}, false, field.Invalid("name", name, fmt.Sprintf("one of at most %d secrets", MaxSecrets))
	}
	if before, err := decode(old.Value); err == nil && !created {
		d.Created = before.Created
	}
	if err := d.seal(key, name, value); err != nil {
		return Secret{}, false, fmt.Errorf("secrets: set %q: %w", name, err)
	}
	if created {
		_, err = s.options.Table.Create(ctx, name, d.encode())
	} else {
		_, err = s.options.Table.Update(ctx, name, d.encode(), old.Revision)
	}
	if err != nil {
		return Secret{}, false, fmt.Errorf("secrets: set %q: %w", name, err)
	}
	return Secret{Name: name, Created: d.Created, Modified: d.Modified}, created, nil
}

// List describes all secrets, by name. One that is damaged has no times.
func (s *Store) List() []Secret {
	list := []Secret{}
	for _, e := range s.options.Table.List() {
		d, err := decode(e.Value)
		if err != nil {
			d = definition{}
		}
		list = append(list, Secret{Name: e.Key, Created: d.Created, Modified: d.Modified})
	}
	slices.SortFunc(list, func(a, b Secret) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Delete removes a secret. Errors: ErrNotFound, what the table answers.
func (s *Store) Delete(ctx context.Context, name string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	err := s.options.Table.Delete(ctx, name, 0)
	if errors.Is(err, catalog.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("secrets: delete %q: %w", name, err)
	}
	s.mu.Lock()
	delete(s.values, name)
	s.mu.Unlock()
	return nil
}

// Value is a secret's value as it is now, which the caller must not change. Errors: ErrNotFound, ErrKey, ErrDamaged.
func (s *Store) Value(name string) ([]byte, error) {
	entry, err := s.options.Table.Get(name)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil, fmt.Errorf("secrets: value of %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("secrets: value of %q: %w", name, err)
	}
	s.mu.Lock()
	known, ok := s.values[name]
	s.mu.Unlock()
	if ok && known.revision == entry.Revision {
		return known.value, nil
	}
	value, err := s.open(name, entry.Value)
	if err != nil {
		return nil, fmt.Errorf("secrets: value of %q: %w", name, err)
	}
	s.mu.Lock()
	s.values[name] = opened{entry.Revision, value}
	s.mu.Unlock()
	return value, nil
}

func (s *Store) open(name string, stored []byte) ([]byte, error) {
	d, err := decode(stored)
	if err != nil {
		return nil, err
	}
	key, err := s.identity(false)
	if err != nil {
		return nil, err
	}
	return d.open(key, name)
}
