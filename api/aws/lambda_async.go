package aws

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
)

// asyncConfig is what $LATEST, a version or an alias of a function has for invocations of the type Event.
type asyncConfig struct {
	Retries   *int      `json:"retries,omitempty"`   // after the first attempt; nil: asyncRetries
	MaxAge    *int      `json:"maxAge,omitempty"`    // seconds; nil: maxAsyncAge
	OnSuccess string    `json:"onSuccess,omitempty"` // where a document of a success goes: a URI, see asyncURI; "" = nowhere
	OnFailure string    `json:"onFailure,omitempty"`
	Modified  time.Time `json:"modified"`
}

// asyncKey is what a configuration is kept under: $LATEST, the number of a version, or an alias.
func asyncKey(version int, alias string) string {
	switch {
	case alias != "":
		return alias
	case version != 0:
		return versionText(version)
	}
	return runtime.Latest
}

// eventInvokeInput sets a configuration. nil is what was left out.
type eventInvokeInput struct {
	MaximumRetryAttempts     *int `aws:"range=0..2"`
	MaximumEventAgeInSeconds *int `aws:"range=60..21600"`
	DestinationConfig        *destinationConfig
}

type eventInvokeOutput struct {
	LastModified             instant
	FunctionArn              string
	MaximumRetryAttempts     *int `json:",omitzero"`
	MaximumEventAgeInSeconds *int `json:",omitzero"`
	DestinationConfig        destinationConfig
}

func (c *call) eventInvokeOutput(function, key string, a asyncConfig) eventInvokeOutput {
	return eventInvokeOutput{
		LastModified: instantOf(a.Modified), FunctionArn: c.functionARN(function, key), MaximumRetryAttempts: a.Retries, MaximumEventAgeInSeconds: a.MaxAge,
		DestinationConfig: destinationConfig{OnSuccess: &destination{c.asyncARN(a.OnSuccess)}, OnFailure: &destination{c.asyncARN(a.OnFailure)}},
	}
}

// errNoAsyncFunction is Lambda's answer about a function, a version or an alias that is to be configured and is not there.
var errNoAsyncFunction = missing("The function doesn't exist.")

// noEventInvoke is Lambda's answer about a configuration that is not there, also where the function is not.
func (c *call) noEventInvoke(function, qualifier string) *fault {
	return missing("The function %s doesn't have an EventInvokeConfig", c.functionARN(function, qualifier))
}

// eventInvokeOf is the function that a request names, and the key of its configuration. Error: there is no such function, or no such version or alias
// of it: errNoAsyncFunction.
func (c *call) eventInvokeOf() (f runtime.Function, ref functionRef, key string, err error) {
	if ref, err = c.qualified(); err != nil {
		return f, ref, "", err
	}
	f, err = c.function(ref)
	if notThere := (*fault)(nil); errors.As(err, &notThere) {
		err = errNoAsyncFunction
	}
	if err != nil {
		return f, ref, cmp.Or(ref.qualifier, runtime.Latest), err
	}
	version, alias, err := runtime.ParseQualifier(ref.qualifier)
	return f, ref, asyncKey(version, alias), err
}

// putEventInvoke makes a configuration in the place of what there was.
func putEventInvoke(c *call, in *eventInvokeInput) (any, error) { return c.setEventInvoke(in, false) }

// updateEventInvoke changes what a request names and leaves the rest.
func updateEventInvoke(c *call, in *eventInvokeInput) (any, error) { return c.setEventInvoke(in, true) }

func (c *call) setEventInvoke(in *eventInvokeInput, update bool) (any, error) {
	if in.MaximumRetryAttempts == nil && in.MaximumEventAgeInSeconds == nil && in.DestinationConfig == nil {
		return nil, refuseParameter("You must specify at least one of error handling or destination setting.")
	}
	f, _, key, err := c.eventInvokeOf()
	if err != nil {
		return nil, err
	}
	apply, err := c.asyncDestinations(f.Name, in.DestinationConfig)
	if err != nil {
		return nil, err
	}
	var stored asyncConfig
	_, err = c.changeRecord(&f, func(r *functionRecord) error {
		old, found := r.Async[key]
		if update && !found {
			return c.noEventInvoke(f.Name, key)
		}
		stored = asyncConfig{Modified: since(&f, key)}
		if update {
			stored.Retries, stored.MaxAge, stored.OnSuccess, stored.OnFailure = old.Retries, old.MaxAge, old.OnSuccess, old.OnFailure
		}
		stored.Retries, stored.MaxAge = cmp.Or(in.MaximumRetryAttempts, stored.Retries), cmp.Or(in.MaximumEventAgeInSeconds, stored.MaxAge)
		apply(&stored)
		if r.Async == nil {
			r.Async = map[string]asyncConfig{}
		}
		// Those of what was deleted natively go on the way, so that what is made with their names does not have them. What a record has a
		// configuration of was made before that was read, so the function is looked at now.
		now, err := c.lambda.functions.Get(f.Name)
		if err != nil {
			return err
		}
		maps.DeleteFunc(r.Async, func(key string, _ asyncConfig) bool { return !asyncThere(&now, key) })
		r.Async[key] = stored
		return nil
	})
	return c.eventInvokeOutput(f.Name, key, stored), err
}

// asyncThere says whether what a configuration is of is there.
func asyncThere(f *runtime.Function, key string) bool {
	_, err := versionOf(f, key)
	return err == nil
}

func getEventInvoke(c *call) (any, error) {
	f, ref, key, err := c.eventInvokeOf()
	if errors.Is(err, errNoAsyncFunction) {
		return nil, c.noEventInvoke(ref.name, key)
	}
	if err != nil {
		return nil, err
	}
	r, err := c.record(&f)
	if err != nil {
		return nil, err
	}
	a, found := r.Async[key]
	if !found {
		return nil, c.noEventInvoke(f.Name, key)
	}
	return c.eventInvokeOutput(f.Name, key, a), nil
}

func deleteEventInvoke(c *call) (any, error) {
	f, ref, key, err := c.eventInvokeOf()
	if errors.Is(err, errNoAsyncFunction) {
		return nil, c.noEventInvoke(ref.name, ref.qualifier)
	}
	if err != nil {
		return nil, err
	}
	_, err = c.changeRecord(&f, func(r *functionRecord) error {
		if _, found := r.Async[key]; !found {
			return c.noEventInvoke(f.Name, ref.qualifier)
		}
		delete(r.Async, key)
		return nil
	})
	return nil, err
}

type listEventInvokeOutput struct {
	NextMarker                 string `json:",omitzero"`
	FunctionEventInvokeConfigs []eventInvokeOutput
}

// listEventInvoke lists the configurations of a function by their qualifiers.
func listEventInvoke(c *call) (any, error) {
	ref, err := c.parseFunction(c.params["FunctionName"])
	if err != nil {
		return nil, err
	}
	query := c.r.URL.Query()
	limit, err := pageSize(query, maxListedFunctions, maxListedFunctions)
	if err != nil {
		return nil, err
	}
	f, err := c.function(functionRef{name: ref.name})
	if notThere := (*fault)(nil); errors.As(err, &notThere) {
		return nil, errNoAsyncFunction
	}
	if err != nil {
		return nil, err
	}
	r, err := c.record(&f)
	if err != nil {
		return nil, err
	}
	out := listEventInvokeOutput{FunctionEventInvokeConfigs: []eventInvokeOutput{}}
	last := ""
	for _, key := range slices.Sorted(maps.Keys(r.Async)) {
		if key <= query.Get("Marker") || !asyncThere(&f, key) {
			continue
		}
		if len(out.FunctionEventInvokeConfigs) == limit {
			out.NextMarker = last
			break
		}
		out.FunctionEventInvokeConfigs, last = append(out.FunctionEventInvokeConfigs, c.eventInvokeOutput(f.Name, key, r.Async[key])), key
	}
	return out, nil
}

// functionURI is the front of a destination that is a function; behind it stand its name and, with ":" between, perhaps a qualifier.
const functionURI = "function:"

// asyncARN is a destination as answers have it: the inverse of asyncURI.
func (c *call) asyncARN(uri string) string {
	if function, ok := strings.CutPrefix(uri, functionURI); ok {
		return c.functionARN(function, "")
	}
	return c.destinationARN(uri)
}

// asyncDestinations reads where the documents of a function's invocations are to go. What a request leaves out stays, what it has without a destination, or with an empty
// one, is taken away.
func (c *call) asyncDestinations(function string, in *destinationConfig) (apply func(*asyncConfig), err error) {
	if in == nil {
		return func(*asyncConfig) {}, nil
	}
	read := func(name string, d *destination) (uri string) {
		if d == nil || d.Destination == "" || err != nil {
			return ""
		}
		uri, err = c.asyncURI(function, name, d.Destination, in)
		return uri
	}
	onSuccess, onFailure := read("OnSuccess", in.OnSuccess), read("OnFailure", in.OnFailure)
	return func(a *asyncConfig) {
		if in.OnSuccess != nil {
			a.OnSuccess = onSuccess
		}
		if in.OnFailure != nil {
			a.OnFailure = onFailure
		}
	}, err
}

// asyncURI is a destination as it is kept: function:NAME, or a URI as mappings have it. Error: documents cannot be delivered there as things are.
func (c *call) asyncURI(function, name, given string, in *destinationConfig) (string, error) {
	if strings.HasPrefix(given, c.lambdaPlace()+functionURI) {
		ref, err := c.parseFunction(given)
		if err == nil && ref.name == function {
			return "", refuseParameter("You can't specify the function as a destination for itself.")
		}
		if err == nil {
			_, err = c.function(ref)
		}
		if err != nil {
			return "", refuseParameter("The destination ARN %s is invalid.", cut(given))
		}
		return strings.TrimSuffix(functionURI+ref.name+":"+ref.qualifier, ":"), nil
	}
	refuse := func(why string) error {
		return refuseParameter("The provided destination config DestinationConfig(onSuccess=%s, onFailure=%s) is invalid: DestinationConfig.%s %s.",
			in.OnSuccess.text("OnSuccess"), in.OnFailure.text("OnFailure"), name, why)
	}
	uri, err := c.destinationURI(given)
	if err != nil || c.lambda.destinations == nil {
		return "", refuse("must be the ARN of a stream (" + c.streamARN("") + "NAME), of a function (" + c.functionARN("", "") + "NAME) or of a bucket (" + bucketARN + "NAME), or an http, https or file URL")
	}
	if uri == streamURI+AsyncStream {
		return "", refuse("is the stream that invocations wait in")
	}
	if err := c.lambda.destinations.Check(c.r.Context(), uri); err != nil {
		if refused := (*field.Error)(nil); errors.As(err, &refused) {
			return "", refuse(strings.TrimPrefix(refused.Error(), refused.Field+" "))
		}
		return "", err
	}
	return uri, nil
}

// text is a destination as Lambda's message about it has it.
func (d *destination) text(name string) string {
	if d == nil || d.Destination == "" {
		return "null"
	}
	return name + "(destination=" + cut(d.Destination) + ")"
}

// asyncRules are what holds for a call: the configuration of what it calls, and what belongs to the function.
type asyncRules struct {
	asyncConfig
	timeout time.Duration // of the function, for the text about one that took longer
}

// retries is how often a failure of the function is tried again.
func (r *asyncRules) retries() int {
	if r.Retries != nil {
		return *r.Retries
	}
	return asyncRetries
}

// maxAge is how old a call may be when it is tried again.
func (r *asyncRules) maxAge() time.Duration {
	if r.MaxAge != nil {
		return time.Duration(*r.MaxAge) * time.Second
	}
	return maxAsyncAge
}

// rules reads what holds for a call now. It tries until that can be read; false when ctx ended first. A function that is gone has what is still
// kept of it.
func (q *events) rules(ctx context.Context, call runtime.Call) (rules asyncRules, ok bool) {
	for n := 0; ; n++ {
		r, _, err := readRecord(q.settings, call.Function)
		if err == nil {
			key := asyncKey(call.Version, call.Alias)
			f, err := q.functions.Get(call.Function)
			if err == nil {
				r = r.of(&f)
				if v, err := versionOf(&f, key); err == nil {
					rules.timeout = v.Config.Timeout
				}
			}
			rules.asyncConfig = r.Async[key]
			return rules, true
		}
		q.logger.Error("what holds for an asynchronous invocation cannot be read; it waits", "function", call.Function, "invocation", call.ID, "error", err)
		if !pause(ctx, asyncBackoff(n)) {
			return rules, false
		}
	}
}
