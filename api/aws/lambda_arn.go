package aws

import (
	"errors"
	"slices"
	"strings"

	"github.com/shardmill/shardmill/runtime"
)

// lambdaPlace is the front of every ARN of Lambda's in this account.
func (h *Handler) lambdaPlace() string { return "arn:aws:lambda:" + h.region + ":" + h.account + ":" }

// functionARN is that of a function, or with a qualifier of one of its versions or aliases.
func (h *Handler) functionARN(name, qualifier string) string {
	arn := h.lambdaPlace() + "function:" + name
	if qualifier != "" {
		arn += ":" + qualifier
	}
	return arn
}

const mappingResource = "event-source-mapping:"

func (h *Handler) mappingARN(id string) string { return h.lambdaPlace() + mappingResource + id }

// functionRef is a function as requests name it: NAME, ACCOUNT:function:NAME or its ARN, each with ":" and a qualifier behind it or not.
type functionRef struct {
	name      string
	qualifier string // "" where there was none
}

// parseFunction reads how a request names a function; one of another account or region is none that is here. Error: it is no name at all.
func (h *Handler) parseFunction(s string) (functionRef, error) {
	invalid := faultf(codeValidation, "1 validation error detected: Value '%s' at 'functionName' failed to satisfy constraint: Member must satisfy regular expression pattern: "+
		`(arn:(aws[a-zA-Z-]*)?:lambda:)?([a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?`, cut(s))
	elsewhere := missing("Function not found: %s", cut(s))
	parts := strings.Split(s, ":")
	switch {
	case strings.HasPrefix(s, "arn:"):
		if len(parts) < 7 || len(parts) > 8 || parts[2] != "lambda" || parts[5] != "function" {
			return functionRef{}, invalid
		}
		if parts[3] != h.region || parts[4] != h.account {
			return functionRef{}, elsewhere
		}
		parts = parts[6:]
	case len(parts) >= 3 && parts[1] == "function":
		if parts[0] != h.account {
			return functionRef{}, elsewhere
		}
		parts = parts[2:]
	}
	if len(parts) > 2 || parts[0] == "" {
		return functionRef{}, invalid
	}
	ref := functionRef{name: parts[0]}
	if len(parts) == 2 {
		ref.qualifier = parts[1]
		if ref.qualifier == "" {
			return functionRef{}, invalid
		}
	}
	return ref, nil
}

// qualified is the function of a request's path, with the qualifier that stands there or in the query. Error: they differ, or it is no name.
func (c *call) qualified() (functionRef, error) {
	ref, err := c.parseFunction(c.params["FunctionName"])
	if err != nil {
		return ref, err
	}
	if q := c.r.URL.Query().Get("Qualifier"); q != "" {
		if ref.qualifier != "" && ref.qualifier != q {
			return ref, refuseParameter("The derived qualifier from the function name does not match the specified qualifier.")
		}
		ref.qualifier = q
	}
	return ref, nil
}

// function is one that is there, and so is what its qualifier names. Error: Lambda's answer that it is not.
func (c *call) function(ref functionRef) (runtime.Function, error) {
	f, err := c.lambda.functions.Get(ref.name)
	if err == nil {
		_, err = versionOf(&f, ref.qualifier)
	}
	if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrInvalid) {
		return f, missing("Function not found: %s", c.functionARN(ref.name, ref.qualifier))
	}
	return f, err
}

// updating is whether what was uploaded last is being compiled.
func updating(f *runtime.Function) bool {
	return f.Update != nil && f.Update.State == runtime.StatePending
}

// newest is what Lambda's $LATEST is described by: what was uploaded last, unless it has failed.
func newest(f *runtime.Function) *runtime.VersionDetail {
	if updating(f) {
		return f.Update
	}
	return &f.VersionDetail
}

// versionOf is the version that a qualifier leads to, of an alias its first one. Errors: runtime.ErrNoVersion, ErrNoAlias, ErrInvalid.
func versionOf(f *runtime.Function, qualifier string) (runtime.VersionDetail, error) {
	number, alias, err := runtime.ParseQualifier(qualifier)
	if err != nil {
		return runtime.VersionDetail{}, err
	}
	if alias != "" {
		i := slices.IndexFunc(f.Aliases, func(a runtime.Alias) bool { return a.Name == alias })
		if i < 0 {
			return runtime.VersionDetail{}, runtime.ErrNoAlias
		}
		number = f.Aliases[i].Version
	}
	if number == 0 {
		return *newest(f), nil
	}
	if f.Update != nil && number == f.Update.Version {
		return *f.Update, nil
	}
	i := slices.IndexFunc(f.Versions, func(v runtime.VersionDetail) bool { return v.Version == number })
	if i < 0 {
		return runtime.VersionDetail{}, runtime.ErrNoVersion
	}
	return f.Versions[i], nil
}
