package runtime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
)

// Limits of aliases.
const (
	MaxAliases          = 100 // of a function
	MaxAliasNameBytes   = 128
	MaxDescriptionBytes = 256

	// Latest is the qualifier of the newest version.
	Latest = "$LATEST"
)

// Alias is a name for a version of a function, or for two among which its calls are divided.
type Alias struct {
	Name        string  // 1..128 of the characters a-z A-Z 0-9 - _, not digits only
	Version     int     // 0 means $LATEST, whichever that is
	Canary      int     // a second version; 0 means none. Only where Version is a number
	Share       float64 // of the calls, the part that the canary has: 0 to 1. Each call is decided by itself
	Description string  // at most 256 bytes
	Created     time.Time
	Modified    time.Time
}

// check looks at everything but the versions' being there.
func (a *Alias) check() error {
	share := strconv.FormatFloat(a.Share, 'g', -1, 64)
	for _, c := range []struct {
		ok                  bool
		field, value, limit string
	}{
		{validAlias(a.Name), "alias", a.Name, "1 to 128 of the characters a-z A-Z 0-9 - _, and not digits only"},
		{a.Version >= 0, "version", strconv.Itoa(a.Version), "the number of a version, or 0 for the newest"},
		{a.Canary >= 0, "canary", strconv.Itoa(a.Canary), "the number of a version, or 0 for none"},
		{a.Canary == 0 || a.Version != 0, "canary", strconv.Itoa(a.Canary), "left out where the alias is of $LATEST"},
		{a.Canary == 0 || a.Canary != a.Version, "canary", strconv.Itoa(a.Canary), "another version than the alias's own"},
		{a.Share >= 0 && a.Share <= 1, "share", share, "0 to 1"},
		{a.Canary != 0 || a.Share == 0, "share", share, "left out without a canary"},
		{len(a.Description) <= MaxDescriptionBytes, "description", strconv.Itoa(len(a.Description)) + " bytes", "at most 256 bytes"},
	} {
		if !c.ok {
			return field.Invalid(c.field, c.value, c.limit)
		}
	}
	return nil
}

func validAlias(name string) bool {
	digits := strings.Trim(name, "0123456789") == ""
	return !digits && len(name) <= MaxAliasNameBytes && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}) < 0
}

// ParseQualifier reads what stands for a version: "" or "$LATEST" (version 0), a version's number, or the name of an alias.
// Error: a *FieldError (ErrInvalid).
func ParseQualifier(qualifier string) (version int, alias string, err error) {
	if qualifier == "" || qualifier == Latest {
		return 0, "", nil
	}
	if n, err := strconv.Atoi(qualifier); err == nil && n > 0 && qualifier[0] != '+' && qualifier[0] != '0' {
		return n, "", nil
	}
	if validAlias(qualifier) {
		return 0, qualifier, nil
	}
	return 0, "", field.Invalid("qualifier", qualifier, "the number of a version, the name of an alias, or $LATEST")
}

// alias finds an alias by name.
func (f *function) alias(name string) (Alias, bool) {
	i, found := f.findAlias(name)
	if !found {
		return Alias{}, false
	}
	return f.aliases[i], true
}

func (f *function) findAlias(name string) (int, bool) {
	return slices.BinarySearchFunc(f.aliases, name, func(a Alias, name string) int { return strings.Compare(a.Name, name) })
}

// resolve chooses the version that a call is for.
func (f *function) resolve(number int, alias string) (*version, error) {
	if alias != "" {
		a, found := f.alias(alias)
		if !found {
			return nil, fmt.Errorf("alias %q: %w", shorten(alias), ErrNoAlias)
		}
		number = a.Version
		if a.Canary != 0 && rand.Float64() < a.Share {
			number = a.Canary
		}
	}
	v := f.version(number)
	if v == nil {
		return nil, fmt.Errorf("version %d: %w", number, ErrNoVersion)
	}
	return v, nil
}

// named is whether an alias leads to the version.
func (f *function) named(number int) bool {
	return slices.ContainsFunc(f.aliases, func(a Alias) bool { return a.Version == number || a.Canary == number })
}

// PutAlias makes an alias of a function or changes it; calls of it from then on go where it leads. The versions it names
// are kept as long as it does. Errors: a *FieldError (ErrInvalid), ErrNotFound, ErrNoVersion, ErrNoSpace, ErrClosed, what
// the store answers; nothing has changed then.
func (rt *Runtime) PutAlias(ctx context.Context, name string, a Alias) (stored Alias, created bool, err error) {
	_, err = rt.change(ctx, "put alias", name, func(f *function) error {
		if err := a.check(); err != nil {
			return err
		}
		for _, number := range []int{a.Version, a.Canary} {
			if f.version(number) == nil {
				return fmt.Errorf("version %d: %w", number, ErrNoVersion)
			}
		}
		i, found := f.findAlias(a.Name)
		a.Modified = time.Now().UTC()
		a.Created = a.Modified
		if created = !found; created {
			if len(f.aliases) == MaxAliases {
				return field.Invalid("alias", a.Name, fmt.Sprintf("one of at most %d of a function", MaxAliases))
			}
			f.aliases = slices.Insert(slices.Clone(f.aliases), i, a)
			return nil
		}
		a.Created = f.aliases[i].Created
		f.aliases = slices.Clone(f.aliases)
		f.aliases[i] = a
		return nil
	})
	return a, created && err == nil, err
}

// DeleteAlias removes an alias; calls of it answer ErrNoAlias. Errors: ErrNotFound, ErrNoAlias, ErrClosed, what the store
// answers.
func (rt *Runtime) DeleteAlias(ctx context.Context, name, alias string) error {
	_, err := rt.change(ctx, "delete alias", name, func(f *function) error {
		i, found := f.findAlias(alias)
		if !found {
			return fmt.Errorf("alias %q: %w", shorten(alias), ErrNoAlias)
		}
		f.aliases = slices.Delete(slices.Clone(f.aliases), i, i+1)
		return nil
	})
	return err
}

// Rollback makes the code and configuration of an older version $LATEST again, as a new version: versions are immutable and
// their numbers only grow. Where they are what $LATEST has already, nothing changes. Errors: as of Deploy, ErrNotFound,
// ErrNoVersion, ErrUnavailable when the old code cannot be loaded any more.
func (rt *Runtime) Rollback(ctx context.Context, name string, number int) (Function, error) {
	return rt.upload(ctx, "roll back", name, func(ctx context.Context, u *upload) (*function, error) {
		if number == 0 {
			return nil, fmt.Errorf("version 0: %w", ErrNoVersion)
		}
		v, code, err := rt.again(ctx, name, number)
		if err != nil {
			return nil, fmt.Errorf("version %d: %w", number, err)
		}
		return rt.deploy(ctx, u, code, v.config, v.language, v.signer)
	})
}

// again is a version, 0 being $LATEST, with its code, to make another one of. Errors: ErrNotFound, ErrNoVersion, ErrUntrusted, ErrUnavailable.
func (rt *Runtime) again(ctx context.Context, name string, number int) (*version, []byte, error) {
	f := rt.find(name)
	if f == nil {
		return nil, nil, ErrNotFound
	}
	v := f.version(number)
	if v == nil {
		return nil, nil, ErrNoVersion
	}
	if !rt.trusts(v.signer) {
		return nil, nil, ErrUntrusted
	}
	code, err := rt.options.Code.Get(ctx, v.digest)
	if errors.Is(err, catalog.ErrNotFound) && f.coming.is(v) { // it has failed under a host that did not keep such code
		return nil, nil, ErrNoVersion
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return v, code, nil
}

// DeleteVersion removes one version that is not $LATEST and has no alias. Calls of it under way finish. Errors: ErrNotFound,
// ErrNoVersion, ErrInUse, ErrClosed, what the store answers.
func (rt *Runtime) DeleteVersion(ctx context.Context, name string, number int) error {
	var gone *version
	_, err := rt.change(ctx, "delete version", name, func(f *function) error {
		i := slices.IndexFunc(f.versions, func(v *version) bool { return v.number == number })
		switch {
		case i < 0:
			return fmt.Errorf("version %d: %w", number, ErrNoVersion)
		case i == len(f.versions)-1:
			return fmt.Errorf("version %d: %w: it is %s", number, ErrInUse, Latest)
		case f.named(number):
			return fmt.Errorf("version %d: %w: an alias leads to it", number, ErrInUse)
		}
		gone = f.versions[i]
		f.versions = slices.Delete(slices.Clone(f.versions), i, i+1)
		return nil
	})
	if err != nil {
		return err
	}
	rt.discard(gone)
	if rt.store(ctx) == nil { // so that nobody stores the same code meanwhile
		rt.removeCode(ctx, []*version{gone})
		rt.stored()
	}
	return nil
}

// change stores what edit makes of a function and lets that take its place. edit must not change what the function points to.
func (rt *Runtime) change(ctx context.Context, operation, name string, edit func(f *function) error) (*function, error) {
	wrap := func(err error) error { return fmt.Errorf("runtime: %s of %q: %w", operation, shorten(name), err) }
	if err := rt.enter(); err != nil {
		return nil, wrap(err)
	}
	defer rt.leave()
	if err := rt.store(ctx); err != nil {
		return nil, wrap(err)
	}
	defer rt.stored()
	old, err := rt.function(operation, name)
	if err != nil {
		return nil, err
	}
	f := new(function)
	*f = *old
	if err := edit(f); err != nil {
		return nil, wrap(err)
	}
	if err := rt.save(ctx, f); err != nil {
		return nil, wrap(err)
	}
	rt.mu.Lock()
	rt.functions[name] = f
	rt.mu.Unlock()
	return f, nil
}
