package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/sdk/abi"
)

// Definitions is the table that functions are stored in, by name. It answers with the errors of package catalog. Its
// methods may be called from several goroutines; a write is durable when it returns. *catalog.Table is one.
type Definitions interface {
	Get(key string) (catalog.Entry, error)
	List() []catalog.Entry
	Create(ctx context.Context, key string, value []byte) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
	Delete(ctx context.Context, key string, revision uint64) error
}

// Blobs stores code by its digest, "sha256:<hex>". Put is durable when it returns, and storing the same again is
// no error; Get verifies what it returns. Its methods may be called from several goroutines and keep no slice.
// *catalog.Blobs is one.
type Blobs interface {
	Put(ctx context.Context, data []byte) (digest string, err error)
	Get(ctx context.Context, digest string) ([]byte, error)
	Delete(ctx context.Context, digest string) error
}

// definitionFormat 2 has aliases and the reservation; 1 is read as having none. 3 is 2 with an update; what has none is written as 2.
const (
	definitionFormat = 2
	updateFormat     = 3
)

// definition is a function as it is stored.
type definition struct {
	Format   int                 `json:"format"`
	Next     int                 `json:"next"` // number of the next version
	Reserved *int                `json:"reserved,omitempty"`
	Versions []versionDefinition `json:"versions"`
	Aliases  []aliasDefinition   `json:"aliases,omitempty"`
	Update   *updateDefinition   `json:"update,omitempty"`
}

type updateDefinition struct {
	versionDefinition
	Attempts int    `json:"attempts,omitempty"`
	Problem  string `json:"problem,omitempty"`
}

type aliasDefinition struct {
	Name        string    `json:"name"`
	Version     int       `json:"version"`
	Canary      int       `json:"canary,omitempty"`
	Share       float64   `json:"share,omitempty"`
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified"`
}

type versionDefinition struct {
	Version     int       `json:"version"`
	Digest      string    `json:"digest"`
	Size        int       `json:"size"`
	Kinds       Kinds     `json:"kinds"`
	Created     time.Time `json:"created"`
	TimeoutMs   int64     `json:"timeoutMs"`
	MemoryBytes int64     `json:"memoryBytes"`
	Fuel        int64     `json:"fuel,omitempty"`
	Concurrency int       `json:"concurrency"`
	IdleBytes   int64     `json:"idleBytes,omitempty"` // left out where it is the default, so that older programs read it
	Isolation   Isolation `json:"isolation,omitempty"`
	Emit        []string  `json:"emit,omitempty"`

	Secrets []string          `json:"secrets,omitempty"`
	State   []string          `json:"state,omitempty"`
	HTTP    []string          `json:"http,omitempty"`
	Env     map[string]string `json:"env,omitempty"`

	SignedBy string   `json:"signedBy,omitempty"`
	Language Language `json:"language,omitempty"`
}

func (f *function) encode() ([]byte, error) {
	d := definition{Format: definitionFormat, Next: f.next}
	if f.reserved != Unreserved {
		d.Reserved = &f.reserved
	}
	for _, a := range f.aliases {
		d.Aliases = append(d.Aliases, aliasDefinition(a))
	}
	for _, v := range f.versions {
		if !f.coming.is(v) {
			d.Versions = append(d.Versions, v.definition())
		}
	}
	if u := f.coming; u != nil {
		d.Format, d.Update = updateFormat, &updateDefinition{u.version.definition(), u.attempts, u.problem}
	}
	return json.Marshal(d)
}

func (v *version) definition() versionDefinition {
	idle := v.config.IdleBytes
	if idle == DefaultIdleBytes {
		idle = 0
	}
	return versionDefinition{
		Version: v.number, Digest: v.digest, Size: v.size, Kinds: Kinds(v.kinds.Load()), Created: v.created,
		TimeoutMs: v.config.Timeout.Milliseconds(), MemoryBytes: v.config.MemoryBytes, Fuel: v.config.Fuel,
		Concurrency: v.config.Concurrency, IdleBytes: idle, Isolation: v.config.Isolation, Emit: v.config.Emit, SignedBy: v.signer,
		Language: v.language, Secrets: v.config.Secrets, State: v.config.State, HTTP: v.config.HTTP, Env: v.config.Env,
	}
}

// decodeDefinition reads a stored function and checks all of it, so that what comes from a damaged or newer catalog is
// an error here and not a surprise later.
func decodeDefinition(name string, value []byte) (*function, error) {
	var d definition
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return nil, fmt.Errorf("definition of function %q: %w", shorten(name), err)
	}
	if d.Format < 1 || d.Format > updateFormat {
		return nil, fmt.Errorf("definition of function %q has format %d, this program reads 1 to %d", shorten(name), d.Format, updateFormat)
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	f := &function{name: name, next: d.Next, reserved: Unreserved}
	last := 0
	for _, s := range d.Versions {
		v, err := s.version(name)
		if err == nil && Kinds(v.kinds.Load())&AllKinds == 0 {
			err = errors.New("it handles no kind of call")
		}
		if err != nil {
			return nil, fmt.Errorf("definition of function %s, version %d: %w", name, s.Version, err)
		}
		if s.Version <= last || s.Version >= d.Next {
			return nil, fmt.Errorf("definition of function %s: version %d is out of order", name, s.Version)
		}
		last = s.Version
		f.versions = append(f.versions, v)
	}
	if err := d.restoreUpdate(f, last); err != nil {
		return nil, fmt.Errorf("definition of function %s, update: %w", name, err)
	}
	if len(f.versions) == 0 {
		return nil, fmt.Errorf("definition of function %s has no version", name)
	}
	if err := d.restoreNames(f); err != nil {
		return nil, fmt.Errorf("definition of function %s: %w", name, err)
	}
	f.gate = newGate(f.reserved)
	return f, nil
}

// restoreUpdate takes in the update; last is the number of the newest version.
func (d *definition) restoreUpdate(f *function, last int) error {
	u := d.Update
	if u == nil {
		return nil
	}
	if u.Version <= last || u.Version >= d.Next {
		return fmt.Errorf("version %d is out of order", u.Version)
	}
	v, err := u.version(f.name)
	if err != nil {
		return err
	}
	f.coming = &update{version: v, attempts: u.Attempts, problem: u.Problem}
	if u.Problem != "" {
		v.code.refuse(errors.New(u.Problem))
	}
	if len(f.versions) > 0 {
		return nil
	}
	if u.Problem == "" {
		v.code.expect()
	}
	f.versions = []*version{v}
	return nil
}

// restoreNames takes in the aliases and the reservation.
func (d *definition) restoreNames(f *function) error {
	if d.Reserved != nil {
		f.reserved = *d.Reserved
	}
	if f.reserved < Unreserved || f.reserved > MaxConcurrency {
		return fmt.Errorf("a reservation of %d is out of range", f.reserved)
	}
	for i, stored := range d.Aliases {
		a := Alias(stored)
		if err := a.check(); err != nil {
			return fmt.Errorf("alias %q: %w", shorten(a.Name), err)
		}
		if f.version(a.Version) == nil || f.version(a.Canary) == nil || i > 0 && a.Name <= d.Aliases[i-1].Name {
			return fmt.Errorf("alias %q leads to no version, or is out of order", a.Name)
		}
		f.aliases = append(f.aliases, a)
	}
	return nil
}

func (s *versionDefinition) version(name string) (*version, error) {
	const maxTimeoutMs = int64(MaxTimeout / time.Millisecond)
	if s.TimeoutMs < 1 || s.TimeoutMs > maxTimeoutMs || s.MemoryBytes < 1 || s.Concurrency < 1 {
		return nil, errors.New("a limit is missing or out of range")
	}
	config, err := Config{
		Timeout: time.Duration(s.TimeoutMs) * time.Millisecond, MemoryBytes: s.MemoryBytes, Fuel: s.Fuel,
		Concurrency: s.Concurrency, IdleBytes: s.IdleBytes, Isolation: s.Isolation, Emit: s.Emit, Secrets: s.Secrets, State: s.State, HTTP: s.HTTP, Env: s.Env,
	}.normalize()
	if err != nil {
		return nil, err
	}
	if s.Language != "" && s.Language != JavaScript && s.Language != TypeScript {
		return nil, fmt.Errorf("the language %q is not known", shorten(string(s.Language)))
	}
	if !validDigest(s.Digest) || s.Size < 1 {
		return nil, errors.New("digest or size are not valid")
	}
	v := newVersion(identity{
		function: name, number: s.Version, digest: s.Digest, size: s.Size, language: s.Language, config: config, signer: s.SignedBy, created: s.Created,
	})
	v.kinds.Store(uint32(s.Kinds))
	return v, nil
}

func validDigest(digest string) bool {
	const prefix = "sha256:"
	if len(digest) != len(prefix)+64 || digest[:len(prefix)] != prefix {
		return false
	}
	for _, c := range digest[len(prefix):] {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// kindsOf reads what a guest's shardmill_kinds returned; bits of kinds that are not known are left out.
func kindsOf(mask uint32) (Kinds, error) {
	k := Kinds(mask) & AllKinds
	if k == 0 {
		return 0, badCode(fmt.Sprintf("handles no kind of call: %s returns %#x", abi.ExportKinds, mask), "")
	}
	return k, nil
}

// defined is whether there is a definition of a function, though it may be one that cannot be read.
func (rt *Runtime) defined(name string) bool {
	_, err := rt.options.Functions.Get(name)
	return !errors.Is(err, catalog.ErrNotFound)
}
