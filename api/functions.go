package api

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"iter"
	"mime/multipart"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// Headers of an invocation's answer.
const (
	headerInvocation = "Shardmill-Invocation-Id"
	headerVersion    = "Shardmill-Function-Version"
	headerDigest     = "Shardmill-Function-Digest" // of a module that is downloaded
)

// maxConfigPart bounds the config part of a form, in bytes.
const maxConfigPart = 64 << 10

// FunctionLogs gives what functions wrote. The sequence ends when all that is
// kept has been given; with follow it waits for more until ctx ends. Its error is
// runtime.ErrNotFound.
type FunctionLogs interface {
	Logs(ctx context.Context, name string, from time.Time, follow bool) (iter.Seq[runtime.LogLine], error)
}

// deployQuery is the query of a deploy. The settings are for application/wasm;
// a form has them in its config part.
type deployQuery struct {
	FunctionConfig
	Digest    string `query:"digest" doc:"The digest the module must have: sha256:… in hexadecimal digits."`
	Signature string `query:"signature" doc:"The ed25519 signature over the text of the module's digest (sha256:…), in base64; needed where the host has a list of trusted keys, refused where it has none."`
	Wait      bool   `query:"wait" doc:"Answer when the version serves, or with what is wrong with it. Else the answer is 202 while the version is compiled in the background: it is the function's update until it serves."`
}

// deployForm is a deploy as multipart/form-data.
type deployForm struct {
	Config FunctionConfig `json:"config,omitzero" doc:"The settings, as application/json."`
	Wasm   []byte         `json:"wasm" format:"binary" encoding:"" doc:"The module, as application/wasm."`
}

// listFunctions is GET /v1/functions.
func (c *call) listFunctions(*none) (*FunctionList, error) {
	list := &FunctionList{Functions: []Function{}}
	for _, f := range c.functions.List() {
		out := functionOf(&f)
		out.Versions, out.Aliases = nil, nil
		list.Functions = append(list.Functions, out)
	}
	return list, nil
}

// putFunction is PUT /v1/functions/{name}.
func (c *call) putFunction(q *deployQuery) error {
	if err := c.needMediaType(typeModule, typeScript, typeTyped, typeForm, "application/javascript", "application/typescript"); err != nil {
		return err
	}
	config, module := q.FunctionConfig, []byte(nil)
	var err error
	if c.mediaType() == typeForm {
		config, module, err = c.readForm(&q.FunctionConfig)
	} else {
		module, err = c.readBody(c.limits.Module)
	}
	if err != nil {
		return err
	}
	name := c.name()
	before := 0
	if f, err := c.functions.Get(name); err == nil {
		before = f.Version
	}
	signature, err := base64.StdEncoding.DecodeString(q.Signature)
	if err != nil {
		return invalidField("signature", q.Signature, "64 bytes in base64")
	}
	if q.Signature == "" {
		signature = nil
	}
	deploy := c.functions.Submit
	if q.Wait {
		deploy = c.functions.DeployProven
	}
	f, err := deploy(c.context(), name, module, runtime.Config{
		Timeout: time.Duration(config.Timeout), MemoryBytes: int64(config.Memory), Fuel: int64(config.Fuel),
		Concurrency: config.Concurrency, IdleBytes: int64(config.IdleMemory), Isolation: runtime.Isolation(config.Isolation), Emit: config.Emit, Secrets: config.Secrets, State: config.State, HTTP: config.HTTP, Env: config.Env,
	}, runtime.Proof{Digest: q.Digest, Signature: signature, Language: languageOf(c.mediaType())})
	if err != nil {
		return err
	}
	if u := f.Update; u != nil && u.State == runtime.StatePending {
		return writeJSON(c.w, http.StatusAccepted, functionOf(&f))
	}
	return writeDefined(c.w, deployed(&f, before), f.Version != before)
}

// deployed is a function as the answer of what may have made a version of it; before was $LATEST, 0 without one.
func deployed(f *runtime.Function, before int) Function {
	out := functionOf(f)
	if f.Version == before {
		return out
	}
	var older runtime.VersionDetail
	if n := len(f.Versions); n > 1 {
		older = f.Versions[n-2]
	}
	change := f.Config.Against(older.Config)
	out.Change = &FunctionChange{Against: older.Version, Gained: change.Gained, Lost: change.Lost}
	return out
}

// languageOf is what a body of a media type is written in; "" is a module.
func languageOf(mediaType string) runtime.Language {
	switch mediaType {
	case typeScript, "application/javascript":
		return runtime.JavaScript
	case typeTyped, "application/typescript":
		return runtime.TypeScript
	}
	return ""
}

// mediaTypeOf is the media type of code in a language.
func mediaTypeOf(language runtime.Language) string {
	switch language {
	case runtime.JavaScript:
		return typeScript
	case runtime.TypeScript:
		return typeTyped
	}
	return typeModule
}

// readForm reads a deploy's form: a wasm part, and a config part that may be
// left out.
func (c *call) readForm(query *FunctionConfig) (config FunctionConfig, module []byte, err error) {
	if given(query) {
		return config, nil, faulty("config", "is in the query", "a part of the form, where the body is "+typeForm)
	}
	limit := c.limits.Module + maxConfigPart + 4<<10 // parts' headers
	if c.r.ContentLength > limit {
		return config, nil, tooLarge("wasm", c.limits.Module)
	}
	body := c.guardWhole(limit)
	defer body.arrival.end()
	c.r.Body = io.NopCloser(body)
	form, err := c.r.MultipartReader()
	if err != nil {
		return config, nil, malformedForm(err)
	}
	seen := map[string]bool{}
	for {
		part, err := form.NextPart()
		switch {
		case err == io.EOF && module == nil:
			return config, nil, faulty("wasm", "is missing", "a part of the form with the module")
		case err == io.EOF:
			return config, module, nil
		case err != nil:
			return config, nil, malformedForm(err)
		}
		name := part.FormName()
		if seen[name] {
			return config, nil, faulty(cut(name), "is there twice", "one part of the form")
		}
		seen[name] = true
		switch name {
		case "config":
			err = readConfigPart(part, &config)
		case "wasm":
			module, err = readPart(part, c.limits.Module)
		default:
			p := problem(KindMalformedForm, "The part %s is unknown here; a form has the parts config and wasm.", quote(name))
			p.Field, p.Limit = cut(name), "config or wasm"
			err = p
		}
		if err != nil {
			return config, nil, err
		}
	}
}

// given tells whether a query holds settings.
func given(c *FunctionConfig) bool {
	return !reflect.ValueOf(*c).IsZero()
}

func malformedForm(err error) error {
	var known *Problem
	if errors.As(err, &known) {
		return known
	}
	p := problem(KindMalformedForm, "The form cannot be read (%v); send the parts config and wasm as %s.", err, typeForm)
	p.Field = "body"
	return p
}

func readConfigPart(part *multipart.Part, config *FunctionConfig) error {
	b, err := readPart(part, maxConfigPart)
	if err != nil {
		return err
	}
	return decodeJSON(b, config)
}

// readPart reads one part of a form of at most limit bytes.
func readPart(part *multipart.Part, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(part, limit+1))
	switch {
	case err != nil:
		return nil, malformedForm(err)
	case int64(len(b)) > limit:
		return nil, tooLarge(part.FormName(), limit)
	}
	return b, nil
}

// getFunction is GET /v1/functions/{name}.
func (c *call) getFunction(*none) (*Function, error) {
	f, err := c.functions.Get(c.name())
	if err != nil {
		return nil, err
	}
	out := functionOf(&f)
	return &out, nil
}

// logQuery is the query of a read of logs.
type logQuery struct {
	From   time.Time `query:"from" doc:"Leave out lines written before this time, in RFC 3339 form."`
	Follow bool      `query:"follow" doc:"Go on with lines as they are written, until the client ends it."`
}

// readLogs is GET /v1/functions/{name}/logs.
func (c *call) readLogs(q *logQuery) error {
	return feedOf(c, func(ctx context.Context) (iter.Seq[runtime.LogLine], error) {
		return c.functions.Logs(ctx, c.name(), q.From, q.Follow)
	}, logLineOf)
}

func logLineOf(line runtime.LogLine) *LogLine {
	return &LogLine{
		Time: line.Time.UTC(), Function: line.Function, Version: line.Version,
		Invocation: line.Invocation, Level: line.Level, Message: line.Message,
	}
}

// feedOf answers with a sequence of values, each as it is on the wire, until the sequence or the client ends, or the host stops.
func feedOf[T, Out any](c *call, open func(context.Context) (iter.Seq[T], error), wire func(T) Out) error {
	f, err := c.newFeed()
	if err != nil {
		return err
	}
	ctx, cancel := c.untilStop(c.context())
	all, err := open(ctx)
	if err != nil {
		cancel()
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	values := make(chan T)
	group.Go(func() {
		defer close(values)
		for v := range all {
			select {
			case values <- v:
			case <-ctx.Done():
				return
			}
		}
	})
	return pump(ctx, f, values, func(v T) (bool, error) { return false, f.value("", wire(v)) })
}

// kindNames are the kinds of call as they are named on the wire.
var kindNames = []struct {
	kind runtime.Kind
	name string
}{
	{runtime.KindBatch, "batch"},
	{runtime.KindWindowClose, "windowClose"},
	{runtime.KindTransform, "transform"},
	{runtime.KindInvoke, "invoke"},
}

// functionOf is a function as it goes over the wire.
func functionOf(f *runtime.Function) Function {
	out := Function{
		Name: f.Name, Version: f.Version, State: string(f.State), Reason: f.Problem, Start: string(f.Start), StartReason: f.StartReason, Digest: f.Digest, SignedBy: f.SignedBy,
		Size: Size(f.Size), Language: string(f.Language), Created: f.Created, Config: configOf(&f.Config),
	}
	for _, row := range kindNames {
		if f.Kinds.Has(row.kind) {
			out.Handles = append(out.Handles, row.name)
		}
	}
	if f.Reserved != runtime.Unreserved {
		out.Reserved = &f.Reserved
	}
	for _, a := range f.Aliases {
		out.Aliases = append(out.Aliases, *aliasOf(a))
	}
	for _, v := range f.Versions {
		out.Versions = append(out.Versions, versionOf(&v))
	}
	if f.Update != nil {
		u := versionOf(f.Update)
		out.Update = &u
	}
	return out
}

func versionOf(v *runtime.VersionDetail) FunctionVersion {
	return FunctionVersion{
		Version: v.Version, State: string(v.State), Reason: v.Problem, Digest: v.Digest, SignedBy: v.SignedBy, Size: Size(v.Size), Language: string(v.Language),
		Created: v.Created, Config: configOf(&v.Config), Start: string(v.Start), StartReason: v.StartReason, Invocations: v.Invocations, Failures: v.Failures,
	}
}

func configOf(c *runtime.Config) FunctionConfig {
	return FunctionConfig{
		Timeout: Duration(c.Timeout), Memory: Size(c.MemoryBytes), Fuel: int(c.Fuel), Concurrency: c.Concurrency, IdleMemory: Size(c.IdleBytes), Isolation: string(c.Isolation), Emit: c.Emit,
		Secrets: c.Secrets, State: c.State, HTTP: c.HTTP, Env: c.Env,
	}
}
