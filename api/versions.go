package api

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers"
)

// putAlias is PUT /v1/functions/{name}/aliases/{alias}.
func (c *call) putAlias(in *AliasConfig) (*Alias, bool, error) {
	a, created, err := c.functions.PutAlias(c.context(), c.name(), runtime.Alias{
		Name: c.r.PathValue("alias"), Version: in.Version, Canary: in.Canary, Share: in.Share, Description: in.Description,
	})
	switch {
	case errors.Is(err, runtime.ErrNoVersion):
		return nil, false, c.namesNoVersion(in)
	case err != nil:
		return nil, false, err
	}
	return aliasOf(a), created, nil
}

// namesNoVersion says which of an alias's versions is missing.
func (c *call) namesNoVersion(in *AliasConfig) error {
	f, err := c.functions.Get(c.name())
	if err != nil {
		return err
	}
	missing := noVersion(f.Name, in.Canary)
	missing.Field = "canary"
	if in.Version != 0 && !slices.ContainsFunc(f.Versions, func(v runtime.VersionDetail) bool { return v.Version == in.Version }) {
		return noVersion(f.Name, in.Version)
	}
	return missing
}

// getAlias is GET /v1/functions/{name}/aliases/{alias}.
func (c *call) getAlias(*none) (*Alias, error) {
	f, err := c.functions.Get(c.name())
	if err != nil {
		return nil, err
	}
	for _, a := range f.Aliases {
		if a.Name == c.r.PathValue("alias") {
			return aliasOf(a), nil
		}
	}
	return nil, noAlias(f.Name, c.r.PathValue("alias"))
}

// deleteAlias is DELETE /v1/functions/{name}/aliases/{alias}.
func (c *call) deleteAlias(q *forceQuery) error {
	name, alias := c.name(), c.r.PathValue("alias")
	if err := c.unused(q, name, alias, "alias "+quote(alias)+" of function "+quote(name)); err != nil {
		return err
	}
	err := c.functions.DeleteAlias(c.context(), name, alias)
	if errors.Is(err, runtime.ErrNoAlias) {
		return noAlias(name, alias)
	}
	return err
}

func noAlias(function, alias string) *Problem {
	p := problem(KindAliasNotFound, "").because(
		"Function "+quote(function)+" has no alias "+quote(alias)+".", "GET /v1/functions/"+function+" lists its aliases.")
	p.Field, p.Value, p.Limit = "alias", cut(alias), "an alias of the function"
	return p
}

func aliasOf(a runtime.Alias) *Alias {
	return &Alias{
		Name: a.Name, Created: a.Created, Modified: a.Modified,
		AliasConfig: AliasConfig{Version: a.Version, Canary: a.Canary, Share: a.Share, Description: a.Description},
	}
}

// rollBack is POST /v1/functions/{name}/rollback.
func (c *call) rollBack(in *Rollback) (*Function, error) {
	if in.Version < 1 {
		return nil, invalidField("version", strconv.Itoa(in.Version), "the number of an older version")
	}
	before := 0
	if f, err := c.functions.Get(c.name()); err == nil {
		before = f.Version
	}
	f, err := c.functions.Rollback(c.context(), c.name(), in.Version)
	if errors.Is(err, runtime.ErrNoVersion) {
		return nil, noVersion(c.name(), in.Version)
	}
	if err != nil {
		return nil, err
	}
	out := deployed(&f, before)
	return &out, nil
}

// reserve is PUT /v1/functions/{name}/concurrency.
func (c *call) reserve(in *Reservation) (*Function, error) {
	calls := runtime.Unreserved
	if in.Reserved != nil {
		if calls = *in.Reserved; calls < 0 {
			return nil, invalidField("reserved", strconv.Itoa(calls), "0 to 1000 calls at once")
		}
	}
	f, err := c.functions.Reserve(c.context(), c.name(), calls)
	if err != nil {
		return nil, err
	}
	out := functionOf(&f)
	return &out, nil
}

// codeQuery is the query of a download.
type codeQuery struct {
	Version int `query:"version" minimum:"0" doc:"The version whose module is wanted; 0 or left out is the newest, $LATEST."`
}

// readCode is GET /v1/functions/{name}/code.
func (c *call) readCode(q *codeQuery) error {
	if q.Version < 0 {
		return invalidField("version", strconv.Itoa(q.Version), "0 or more")
	}
	f, err := c.functions.Get(c.name())
	if err != nil {
		return err
	}
	number := q.Version
	if number == 0 {
		number = f.Version
	}
	code, err := c.functions.Code(c.context(), f.Name, number)
	if errors.Is(err, runtime.ErrNoVersion) {
		return noVersion(f.Name, q.Version)
	}
	if err != nil {
		return err
	}
	header := c.w.Header()
	for _, v := range f.Versions {
		if v.Version == number {
			header.Set(headerDigest, v.Digest)
			header.Set("Content-Type", mediaTypeOf(v.Language))
		}
	}
	header.Set(headerVersion, strconv.Itoa(number))
	header.Set("Content-Length", strconv.Itoa(len(code)))
	_, err = c.w.Write(code)
	return err
}

// forceQuery is the query of a deletion of what something else may use.
type forceQuery struct {
	Force bool `query:"force" doc:"Delete it even where a mapping uses it; the mapping then waits for a function of that name."`
}

// deleteVersion is DELETE /v1/functions/{name}/versions/{version}.
func (c *call) deleteVersion(q *forceQuery) error {
	name, text := c.name(), c.r.PathValue("version")
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 {
		return invalidField("version", text, "the number of a version")
	}
	if err := c.unused(q, name, text, fmt.Sprintf("version %d of function %s", number, quote(name))); err != nil {
		return err
	}
	err = c.functions.DeleteVersion(c.context(), name, number)
	if errors.Is(err, runtime.ErrNoVersion) {
		return noVersion(name, number)
	}
	return err
}

// deleteFunction is DELETE /v1/functions/{name}.
func (c *call) deleteFunction(q *forceQuery) error {
	if err := c.unused(q, c.name(), "", "function "+quote(c.name())); err != nil {
		return err
	}
	return c.functions.Delete(c.context(), c.name())
}

// uses says whether a mapping, or its shadow, names a function, or with a qualifier that version or alias of it.
func uses(s *triggers.Status, function, qualifier string) bool {
	named := func(f, q string) bool { return f == function && (qualifier == "" || q == qualifier) }
	return named(s.Mapping.Function, s.Mapping.Qualifier) || s.Shadow != nil && named(s.Shadow.Function, s.Shadow.Qualifier)
}

// unused refuses to go on where mappings use a function, or just one version or alias of it, unless it is forced to.
func (c *call) unused(q *forceQuery, function, qualifier, what string) error {
	if q.Force {
		return nil
	}
	var users []string
	for _, s := range c.mappings.List() {
		if uses(&s, function, qualifier) {
			users = append(users, quote(s.Mapping.Name))
		}
	}
	if len(users) == 0 {
		return nil
	}
	more := ""
	if len(users) > 10 {
		more, users = fmt.Sprintf(" and %d more", len(users)-10), users[:10]
	}
	reason := strings.ToUpper(what[:1]) + what[1:] + " is used by the mapping"
	if len(users) > 1 || more != "" {
		reason += "s"
	}
	return problem(KindInUse, "").because(reason+" "+strings.Join(users, ", ")+more+".", "Delete the mapping first, or send force=true.")
}
