package aws

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/runtime"
)

// versionText is a version as Lambda writes it.
func versionText(number int) string { return strconv.Itoa(number) }

// refusePublishTo refuses versions on bought capacity.
func refusePublishTo(given anything) error {
	if given {
		return refuseParameter("PublishTo is not supported by functions here.")
	}
	return nil
}

// publish makes a version one of Lambda's.
func (r *functionRecord) publish(version int, description string) {
	if r.isPublished(version) {
		return
	}
	r.Published = append(slices.Clone(r.Published), published{version, description})
	slices.SortFunc(r.Published, func(a, b published) int { return cmp.Compare(a.Version, b.Version) })
}

type publishInput struct {
	CodeSha256  string
	Description string `aws:"len=0..256"`
	RevisionId  string
	PublishTo   anything
}

// publishVersion keeps what $LATEST is, under its number in the runtime. What is published already is so no second time, as on AWS.
func publishVersion(c *call, in *publishInput) (any, error) {
	if err := refusePublishTo(in.PublishTo); err != nil {
		return nil, err
	}
	f, r, err := c.latest(in.RevisionId)
	if err != nil {
		return nil, err
	}
	if digest, _ := r.codeDigest(&f.VersionDetail); in.CodeSha256 != "" && in.CodeSha256 != digest {
		return nil, refuseParameter("CodeSHA256 (%s) is different from current CodeSHA256 in %s (%s). Please try again with the CodeSHA256 in %[2]s.", cut(in.CodeSha256), runtime.Latest, digest)
	}
	r, err = c.changeRecord(&f, func(r *functionRecord) error {
		r.publish(f.Version, cmp.Or(in.Description, r.Description))
		return nil
	})
	return c.functionOutput(&f, &r, versionText(f.Version)), err
}

// publishedOutputs are the published versions that are there, oldest first.
func (c *call) publishedOutputs(f *runtime.Function, r *functionRecord) (out []functionOutput) {
	for i := range f.Versions {
		if v := &f.Versions[i]; r.isPublished(v.Version) {
			out = append(out, c.versionOutput(f, v, r, versionText(v.Version)))
		}
	}
	return out
}

type listVersionsOutput struct {
	NextMarker string `json:",omitzero"`
	Versions   []functionOutput
}

func listVersions(c *call) (any, error) {
	f, _, r, _, err := c.found()
	if err != nil {
		return nil, err
	}
	query := c.r.URL.Query()
	limit, err := pageSize(query, maxListedFunctions, 10_000)
	if err != nil {
		return nil, err
	}
	all := append([]functionOutput{c.functionOutput(&f, &r, runtime.Latest)}, c.publishedOutputs(&f, &r)...)
	if marker := query.Get("Marker"); marker != "" {
		all = all[1+slices.IndexFunc(all, func(v functionOutput) bool { return v.Version == marker }):]
	}
	out := listVersionsOutput{Versions: all}
	if len(all) > limit {
		out = listVersionsOutput{NextMarker: all[limit-1].Version, Versions: all[:limit]}
	}
	return out, nil
}

type routingConfig struct {
	AdditionalVersionWeights map[string]float64 `aws:"key.len=1..1024"`
}

type aliasInput struct {
	FunctionVersion *string        `aws:"len=1..1024"`
	Description     *string        `aws:"len=0..256"`
	RoutingConfig   *routingConfig // with no weights: takes the canary away
	RevisionId      string
}

type createAliasInput struct {
	Name string `aws:"required;len=1..128"`
	aliasInput
}

type aliasOutput struct {
	AliasArn        string
	Name            string
	FunctionVersion string
	Description     string
	RoutingConfig   *routingConfig `json:",omitzero"`
	RevisionId      string
}

func (c *call) aliasOutput(f *runtime.Function, a runtime.Alias) aliasOutput {
	out := aliasOutput{AliasArn: c.functionARN(f.Name, a.Name), Name: a.Name, Description: a.Description, FunctionVersion: runtime.Latest}
	if a.Version != 0 {
		out.FunctionVersion = versionText(a.Version)
	}
	if a.Canary != 0 {
		out.RoutingConfig = &routingConfig{map[string]float64{versionText(a.Canary): a.Share}}
	}
	v, r := f.VersionDetail, functionRecord{Modified: a.Modified}
	v.Version, v.Digest = 0, a.Name
	out.RevisionId = revisionOf(f, &v, &r)
	return out
}

// aliasOf is the function of a request's path, and its alias of a name.
func (c *call) aliasOf(name string) (f runtime.Function, a runtime.Alias, err error) {
	ref, err := c.parseFunction(c.params["FunctionName"])
	if err != nil {
		return f, a, err
	}
	if f, err = c.function(functionRef{name: ref.name}); err != nil {
		return f, a, err
	}
	i := slices.IndexFunc(f.Aliases, func(a runtime.Alias) bool { return a.Name == name })
	if i < 0 {
		return f, a, missing("Cannot find alias arn: %s", c.functionARN(f.Name, cut(name)))
	}
	return f, f.Aliases[i], nil
}

// apply puts what a request sets into an alias.
func (in *aliasInput) apply(f *runtime.Function, a *runtime.Alias) error {
	if in.Description != nil {
		a.Description = *in.Description
	}
	if in.FunctionVersion != nil {
		number, alias, err := runtime.ParseQualifier(*in.FunctionVersion)
		if err != nil || alias != "" {
			return refuseParameter("FunctionVersion %s is no version.", cut(*in.FunctionVersion))
		}
		a.Version = number
	}
	if in.RoutingConfig == nil {
		return nil
	}
	weights := in.RoutingConfig.AdditionalVersionWeights
	if len(weights) > 1 {
		return refuseParameter("The routing config can have one additional version.")
	}
	a.Canary, a.Share = 0, 0
	for version, weight := range weights {
		number, alias, err := runtime.ParseQualifier(version)
		if err != nil || alias != "" || number == 0 {
			return refuseParameter("The additional version %s must be the number of a version.", cut(version))
		}
		a.Canary, a.Share = number, weight
	}
	return nil
}

// putAlias stores an alias.
func (c *call) putAlias(f *runtime.Function, a runtime.Alias) (any, error) {
	stored, _, err := c.lambda.functions.PutAlias(c.r.Context(), f.Name, a)
	if errors.Is(err, runtime.ErrNoVersion) {
		number := a.Version
		if slices.ContainsFunc(f.Versions, func(v runtime.VersionDetail) bool { return v.Version == number }) {
			number = a.Canary
		}
		return nil, missing("Function not found: %s", c.functionARN(f.Name, versionText(number)))
	}
	return c.aliasOutput(f, stored), err
}

func createAlias(c *call, in *createAliasInput) (any, error) {
	f, a, err := c.aliasOf(in.Name)
	if err == nil {
		return nil, conflict("Alias already exists: %s", c.functionARN(f.Name, a.Name))
	}
	if f.Name == "" {
		return nil, err
	}
	if in.FunctionVersion == nil {
		return nil, faultf(codeValidation, "1 validation error detected: Value null at 'functionVersion' failed to satisfy constraint: Member must not be null")
	}
	a = runtime.Alias{Name: in.Name}
	if err := in.apply(&f, &a); err != nil {
		return nil, err
	}
	return c.putAlias(&f, a)
}

func updateAlias(c *call, in *aliasInput) (any, error) {
	f, a, err := c.aliasOf(c.params["Name"])
	if err != nil {
		return nil, err
	}
	if in.RevisionId != "" && in.RevisionId != c.aliasOutput(&f, a).RevisionId {
		return nil, errRevision
	}
	if err := in.apply(&f, &a); err != nil {
		return nil, err
	}
	return c.putAlias(&f, a)
}

func getAlias(c *call) (any, error) {
	f, a, err := c.aliasOf(c.params["Name"])
	if err != nil {
		return nil, err
	}
	return c.aliasOutput(&f, a), nil
}

// deleteAlias answers as if where there is none, as AWS does.
func deleteAlias(c *call) (any, error) {
	f, _, err := c.aliasOf(c.params["Name"])
	if f.Name == "" {
		return nil, err
	}
	err = c.lambda.functions.DeleteAlias(c.r.Context(), f.Name, c.params["Name"])
	if errors.Is(err, runtime.ErrNoAlias) {
		return nil, nil
	}
	if err == nil {
		err = c.forget(&f, c.params["Name"])
	}
	return nil, err
}

// forget removes what is kept about a version or an alias that was deleted.
func (c *call) forget(f *runtime.Function, qualifier string) error {
	r, err := c.record(f)
	if _, found := r.Async[qualifier]; err != nil || !found && r.policyText(qualifier) == "" {
		return err
	}
	_, err = c.changeRecord(f, func(r *functionRecord) error { r.forget(qualifier); return nil })
	return err
}

type listAliasesOutput struct {
	NextMarker string `json:",omitzero"`
	Aliases    []aliasOutput
}

func listAliases(c *call) (any, error) {
	f, _, _, _, err := c.found()
	if err != nil {
		return nil, err
	}
	query := c.r.URL.Query()
	limit, err := pageSize(query, maxListedFunctions, 10_000)
	if err != nil {
		return nil, err
	}
	out := listAliasesOutput{Aliases: []aliasOutput{}}
	for _, a := range f.Aliases {
		version := query.Get("FunctionVersion")
		o := c.aliasOutput(&f, a)
		if strings.Compare(a.Name, query.Get("Marker")) <= 0 || version != "" && version != o.FunctionVersion {
			continue
		}
		if len(out.Aliases) == limit {
			out.NextMarker = out.Aliases[limit-1].Name
			break
		}
		out.Aliases = append(out.Aliases, o)
	}
	return out, nil
}
