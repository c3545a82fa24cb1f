package aws

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/runtime"
)

// functionRecord is what Lambda has of a function and the runtime has not. Functions that were made natively have none, which is the zero value.
type functionRecord struct {
	Role         string            `json:"role,omitempty"`
	Handler      string            `json:"handler,omitempty"`
	Runtime      string            `json:"runtime,omitempty"`
	Description  string            `json:"description,omitempty"`
	Architecture string            `json:"architecture,omitempty"`
	DeadLetter   string            `json:"deadLetter,omitempty"` // a stream, for asynchronous invocations that are given up
	Tags         map[string]string `json:"tags,omitempty"`
	Policy       []statement       `json:"policy,omitempty"`
	Published    []published       `json:"published,omitempty"` // by version
	Uploads      map[string]upload `json:"uploads,omitempty"`   // by the module's digest

	Async    map[string]asyncConfig `json:"async,omitempty"` // for asynchronous invocations, see asyncKey
	Modified time.Time              `json:"modified,omitzero"`
}

// published is a version that PublishVersion has made one of Lambda's.
type published struct {
	Version     int    `json:"version"`
	Description string `json:"description,omitempty"`
}

// upload is the file that a module came in. Clients compare its digest with that of the file that they have.
type upload struct {
	SHA256 []byte `json:"sha256"`
	Size   int    `json:"size"`
}

// statement is one of the policy of a function, or of a version or an alias of it.
type statement struct {
	ID        string          `json:"id"`
	Qualifier string          `json:"qualifier,omitempty"`
	Added     time.Time       `json:"added,omitzero"` // zero: by a host that did not note it
	Document  json.RawMessage `json:"document"`
}

// forget removes what is kept about a version or an alias, by its number or name.
func (r *functionRecord) forget(qualifier string) {
	delete(r.Async, qualifier)
	r.Policy = slices.DeleteFunc(r.Policy, func(s statement) bool { return s.Qualifier == qualifier })
}

// recordKey is where the record of a function is kept.
func recordKey(function string) string { return "function/" + function }

// readRecord reads a function's record; the revision is 0 when there is none.
func readRecord(settings Settings, function string) (r functionRecord, revision uint64, err error) {
	entry, err := settings.Get(recordKey(function))
	if errors.Is(err, catalog.ErrNotFound) {
		return r, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(entry.Value, &r)
	}
	if err != nil {
		return r, 0, fmt.Errorf("aws: record of function %s: %w", function, err)
	}
	return r, entry.Revision, nil
}

// of is the record, unless it is of an earlier function of that name, which was deleted natively: the first version of this one is newer.
func (r functionRecord) of(f *runtime.Function) functionRecord {
	if firstCreated(f).After(r.Modified) {
		return functionRecord{}
	}
	return r.ofAliases(f)
}

// ofAliases is the record without what is of earlier aliases of the names that the function's have, which were deleted natively: the aliases are newer.
func (r functionRecord) ofAliases(f *runtime.Function) functionRecord {
	for _, a := range f.Aliases {
		if config, found := r.Async[a.Name]; found && a.Created.After(config.Modified) {
			r.Async = maps.Clone(r.Async)
			delete(r.Async, a.Name)
		}
		if slices.ContainsFunc(r.Policy, func(s statement) bool { return s.before(&a) }) {
			r.Policy = slices.DeleteFunc(slices.Clone(r.Policy), func(s statement) bool { return s.before(&a) })
		}
	}
	return r
}

// before says whether the statement is of an earlier alias of the alias's name.
func (s *statement) before(a *runtime.Alias) bool {
	return s.Qualifier == a.Name && !s.Added.IsZero() && a.Created.After(s.Added)
}

// since is now, and not before the function's alias of a name was made, as it is where the clock was set back.
func since(f *runtime.Function, alias string) time.Time {
	now := time.Now().UTC()
	for _, a := range f.Aliases {
		if a.Name == alias && a.Created.After(now) {
			return a.Created
		}
	}
	return now
}

// firstCreated is when the first version of a function was made, the zero time when it is gone.
func firstCreated(f *runtime.Function) time.Time {
	if len(f.Versions) == 0 || f.Versions[0].Version != 1 {
		return time.Time{}
	}
	return f.Versions[0].Created
}

// record is the function's record.
func (c *call) record(f *runtime.Function) (functionRecord, error) {
	r, _, err := readRecord(c.settings, f.Name)
	return r.of(f), err
}

// changeRecord changes a function's record; of two changes at once one is made again. edit must not keep what it gets.
func (c *call) changeRecord(f *runtime.Function, edit func(r *functionRecord) error) (functionRecord, error) {
	ctx := context.WithoutCancel(c.r.Context()) // what the record is about has happened
	for {
		r, revision, err := readRecord(c.settings, f.Name)
		if err != nil {
			return r, err
		}
		r = r.of(f)
		if err := edit(&r); err != nil {
			return r, err
		}
		r.Modified = time.Now().UTC()
		if first := firstCreated(f); first.After(r.Modified) { // the clock was set back
			r.Modified = first
		}
		value, err := json.Marshal(r)
		if err != nil {
			return r, err
		}
		if revision == 0 {
			_, err = c.settings.Create(ctx, recordKey(f.Name), value)
		} else {
			_, err = c.settings.Update(ctx, recordKey(f.Name), value, revision)
		}
		if !errors.Is(err, catalog.ErrExists) && !errors.Is(err, catalog.ErrConflict) {
			return r, err
		}
	}
}

// deleteRecord removes a function's record.
func (c *call) deleteRecord(function string) error {
	err := c.settings.Delete(context.WithoutCancel(c.r.Context()), recordKey(function), 0)
	if errors.Is(err, catalog.ErrNotFound) {
		return nil
	}
	return err
}

// isPublished says whether a version is one of Lambda's.
func (r *functionRecord) isPublished(version int) bool {
	return slices.ContainsFunc(r.Published, func(p published) bool { return p.Version == version })
}

// RoleARN is the role that a function is said to have: the one that CreateFunction gave it, or one of no meaning.
// settings may be nil, for functions that were all made natively.
func RoleARN(settings Settings, account, function string) string {
	var r functionRecord
	if settings != nil {
		r, _, _ = readRecord(settings, function) // what stands in events is not worth failing for
	}
	return r.roleARN(account)
}

func (r *functionRecord) roleARN(account string) string {
	return cmp.Or(r.Role, "arn:aws:iam::"+account+":role/shardmill")
}

// Published says of a version of a function whether clients of Lambda have published it, so that it is to be kept. It is for runtime.Options.Pinned.
func Published(settings Settings) func(function string, version int) bool {
	return func(function string, version int) bool {
		r, _, err := readRecord(settings, function)
		return err != nil || r.isPublished(version) // what cannot be read keeps everything
	}
}
