package api

import (
	"net/http"
	"reflect"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Media types of the surface.
const (
	typeJSON    = "application/json"
	typeLines   = "application/x-ndjson"
	typeBatch   = "application/vnd.shardmill.records"
	typeEvents  = "text/event-stream"
	typeModule  = "application/wasm"
	typeCapsule = "application/vnd.shardmill.capsule"
	typeScript  = "text/javascript"
	typeTyped   = "text/typescript"
	typeForm    = "multipart/form-data"
	typeBytes   = "application/octet-stream"
	typeProblem = "application/problem+json"
)

// route is one row of the table of routes.
type route struct {
	method     string
	path       string
	permission string // what the caller must be allowed to do; "" needs nothing
	action     action
	id         string // the operation's name in the OpenAPI document
	summary    string // one sentence
}

// action is what a route does, with the types that its handler reads and
// answers: the OpenAPI document is made of them.
type action struct {
	serve func(*call) error
	query reflect.Type
	takes []header // of the request
	in    []content
	out   []answer
}

// header is one that a route reads or answers with, besides those of HTTP itself.
type header struct{ name, doc string }

// taking is the action with headers that it reads.
func (a action) taking(h ...header) action {
	a.takes = h
	return a
}

// content is one form that a body may have. Its type is nil for bytes.
type content struct {
	mediaType string
	of        reflect.Type
}

// answer is one way a route answers when all is well.
type answer struct {
	status  int
	forms   []content
	headers []header
}

// none is the query of a route without parameters.
type none struct{}

// routes is the table of the surface.
func routes() []route {
	return []route{
		{"GET", "/v1/streams", "streams:read", read((*call).listStreams), "listStreams", "Lists all streams."},
		{"PUT", "/v1/streams/{name}", "streams:write", define((*call).putStream), "putStream", "Creates a stream; the same again changes nothing."},
		{"GET", "/v1/streams/{name}", "streams:read", read((*call).getStream), "getStream", "Describes a stream and its shards."},
		{"PATCH", "/v1/streams/{name}", "streams:write", change((*call).patchStream), "patchStream", "Changes a stream's settings; what is left out stays."},
		{"DELETE", "/v1/streams/{name}", "streams:write", remove((*call).deleteStream), "deleteStream", "Deletes a stream and its records."},
		{"POST", "/v1/streams/{name}/split", "streams:write", change((*call).splitShard), "splitShard", "Closes a shard and opens two in its place, while records are put and read."},
		{"POST", "/v1/streams/{name}/merge", "streams:write", change((*call).mergeShards), "mergeShards", "Closes two shards side by side and opens one in their place."},
		{"POST", "/v1/streams/{name}/resize", "streams:write", change((*call).resizeStream), "resizeStream", "Gives a stream another number of open shards, of equal ranges."},
		{"POST", "/v1/streams/{name}/records", "records:write", putForms((*call).putRecords), "putRecords", "Puts records; the answer means that they are on disk."},
		{"GET", "/v1/streams/{name}/records", "records:read", follow[Record]((*call).readRecords).taking(lastEventID), "readRecords", "Reads records, and goes on reading with follow=true."},
		{"GET", "/v1/streams/{name}/damage", "streams:read", read((*call).listDamage), "listDamage", "Lists records that were stored and are damaged."},
		{"POST", "/v1/streams/{name}/damage/accept", "streams:repair", change((*call).acceptDamage), "acceptDamage", "Gives up a shard's damaged records, so that it can be read on behind them."},

		{"GET", "/v1/functions", "functions:read", read((*call).listFunctions), "listFunctions", "Lists all functions."},
		{"PUT", "/v1/functions/{name}", "functions:write", deployForms((*call).putFunction), "putFunction", "Deploys a function as its next version, in the background unless wait is true; the same again changes nothing."},
		{"GET", "/v1/functions/{name}", "functions:read", read((*call).getFunction), "getFunction", "Describes a function and its versions."},
		{"DELETE", "/v1/functions/{name}", "functions:write", removeWith((*call).deleteFunction), "deleteFunction", "Deletes a function and its versions."},
		{"POST", "/v1/functions/{name}/invoke", "functions:invoke", exchange((*call).invokeFunction), "invokeFunction", "Calls a function with the body and answers what it returns."},
		{"POST", "/v1/functions/{name}/transform", "functions:invoke", transformForm((*call).transformRecords), "transformRecords", "Calls a function with records on their way to a destination, as a delivery stream does, and answers what it makes of each."},
		{"GET", "/v1/functions/{name}/code", "functions:read", download((*call).readCode), "readCode", "Downloads a version's module, as it was uploaded."},
		{"DELETE", "/v1/functions/{name}/versions/{version}", "functions:write", removeWith((*call).deleteVersion), "deleteVersion", "Deletes a version that is not the newest and has no alias."},
		{"PUT", "/v1/functions/{name}/aliases/{alias}", "functions:write", define((*call).putAlias), "putAlias", "Makes or changes an alias: a name for a version, or for two that share the calls."},
		{"GET", "/v1/functions/{name}/aliases/{alias}", "functions:read", read((*call).getAlias), "getAlias", "Describes an alias."},
		{"DELETE", "/v1/functions/{name}/aliases/{alias}", "functions:write", removeWith((*call).deleteAlias), "deleteAlias", "Deletes an alias."},
		{"POST", "/v1/functions/{name}/rollback", "functions:write", change((*call).rollBack), "rollBack", "Makes what an older version was the newest version again."},
		{"PUT", "/v1/functions/{name}/concurrency", "functions:write", change((*call).reserve), "reserve", "Bounds the calls that may run at once, over all versions."},
		{"GET", "/v1/functions/{name}/costs", "functions:read", read((*call).getCosts), "getCosts", "Tells what a function's calls have cost, and which keys and records cost most."},
		{"GET", "/v1/functions/{name}/invocations", "functions:read", follow[Invocation]((*call).readInvocations), "readInvocations", "Reads what became of a function's latest calls, and goes on reading with follow=true."},
		{"GET", "/v1/functions/{name}/invocations/{invocation}", "functions:read", read((*call).getInvocation), "getInvocation", "Describes one of a function's latest calls, with its log lines."},
		{"GET", "/v1/functions/{name}/logs", "functions:read", follow[LogLine]((*call).readLogs), "readLogs", "Reads what a function logged, and goes on reading with follow=true."},

		{"GET", "/v1/secrets", "secrets:read", read((*call).listSecrets), "listSecrets", "Lists all secrets, without their values."},
		{"PUT", "/v1/secrets/{name}", "secrets:write", secretForm((*call).putSecret), "putSecret", "Sets a secret: the body is its value."},
		{"DELETE", "/v1/secrets/{name}", "secrets:write", remove((*call).deleteSecret), "deleteSecret", "Deletes a secret; functions that may read it find none from then on."},

		{"GET", "/v1/state", "state:read", read((*call).listState), "listState", "Lists the state tables that functions keep."},
		{"DELETE", "/v1/state/{name}", "state:write", removeWith((*call).deleteState), "deleteState", "Deletes what a state table holds."},

		{"GET", "/v1/state/{name}/entries", "state:read", read((*call).listEntries), "listStateEntries", "Lists the entries of a state table, by the order of their keys."},
		{"POST", "/v1/state/{name}/entries", "state:write", loadForm((*call).loadEntries), "loadStateEntries", "Puts many entries into a state table, one a line; the answer means that they are on disk."},
		{"GET", "/v1/state/{name}/entries/{key}", "state:read", valueForm((*call).getEntry), "getStateEntry", "Answers the value of an entry."},
		{"PUT", "/v1/state/{name}/entries/{key}", "state:write", entryForm((*call).putEntry), "putStateEntry", "Puts an entry: the body is its value."},
		{"DELETE", "/v1/state/{name}/entries/{key}", "state:write", removeWith((*call).deleteEntry), "deleteStateEntry", "Deletes an entry."},

		{"GET", "/v1/mappings", "mappings:read", read((*call).listMappings), "listMappings", "Lists all event source mappings."},
		{"PUT", "/v1/mappings/{name}", "mappings:write", define((*call).putMapping).taking(ifMatch), "putMapping", "Makes or changes an event source mapping; the same again changes nothing."},
		{"GET", "/v1/mappings/{name}", "mappings:read", read((*call).getMapping), "getMapping", "Describes an event source mapping and how far it is."},
		{"POST", "/v1/mappings/{name}/seek", "mappings:write", change((*call).seekMapping), "seekMapping", "Moves an event source mapping to another position, at a batch boundary."},
		{"PUT", "/v1/mappings/{name}/shadow", "mappings:write", define((*call).putShadow), "putShadow", "Tries another version of the function beside the one that serves: it emits nothing, and what it would have is compared."},
		{"GET", "/v1/mappings/{name}/shadow", "mappings:read", read((*call).getShadow), "getShadow", "Shows what a mapping's shadow has found."},
		{"DELETE", "/v1/mappings/{name}/shadow", "mappings:write", remove((*call).deleteShadow), "deleteShadow", "Removes a mapping's shadow, with its checkpoints and tables."},
		{"POST", "/v1/mappings/{name}/promote", "mappings:write", change((*call).promoteShadow), "promoteShadow", "Has a mapping's shadow serve from the next batch on, and removes the shadow."},
		{"DELETE", "/v1/mappings/{name}", "mappings:write", remove((*call).deleteMapping), "deleteMapping", "Deletes an event source mapping and its checkpoints."},

		{"GET", "/v1/capsules", "capsules:read", read((*call).listCapsules), "listCapsules", "Lists the invocations that are kept so that they can be made again."},
		{"GET", "/v1/capsules/{capsule}", "capsules:read", capsuleFile((*call).readCapsule), "readCapsule", "Downloads a capsule: the invocation, with all that it read and what came of it."},
		{"DELETE", "/v1/capsules/{capsule}", "capsules:write", remove((*call).deleteCapsule), "deleteCapsule", "Deletes a capsule."},

		{"GET", "/v1/version", "", read((*call).getVersion), "getVersion", "Names the host's version."},
		{"GET", "/v1/openapi.json", "", document(), "getOpenAPI", "Is this document."},
	}
}

// read is a route without body that answers one JSON value.
func read[Q, Out any](f func(*call, *Q) (Out, error)) action {
	return action{
		query: reflect.TypeFor[Q](),
		out:   []answer{{status: 200, forms: []content{{typeJSON, reflect.TypeFor[Out]()}}}},
		serve: func(c *call) error {
			q, err := queryOf[Q](c)
			if err != nil {
				return err
			}
			out, err := f(c, q)
			if err != nil {
				return err
			}
			return writeJSON(c.w, http.StatusOK, out)
		},
	}
}

// define is a route that makes a thing of a JSON body: 201 when it is new, 200
// when it was there.
func define[In, Out any](f func(*call, *In) (out Out, created bool, err error)) action {
	forms := []content{{typeJSON, reflect.TypeFor[Out]()}}
	return action{
		query: reflect.TypeFor[none](),
		in:    []content{{typeJSON, reflect.TypeFor[In]()}},
		out:   []answer{{status: 200, forms: forms}, {status: 201, forms: forms}},
		serve: func(c *call) error {
			in, err := bodyOf[In](c)
			if err != nil {
				return err
			}
			out, created, err := f(c, in)
			if err != nil {
				return err
			}
			return writeDefined(c.w, out, created)
		},
	}
}

// change is a route that does something with a JSON body and answers one.
func change[In, Out any](f func(*call, *In) (Out, error)) action {
	return action{
		query: reflect.TypeFor[none](),
		in:    []content{{typeJSON, reflect.TypeFor[In]()}},
		out:   []answer{{status: 200, forms: []content{{typeJSON, reflect.TypeFor[Out]()}}}},
		serve: func(c *call) error {
			in, err := bodyOf[In](c)
			if err != nil {
				return err
			}
			out, err := f(c, in)
			if err != nil {
				return err
			}
			return writeJSON(c.w, http.StatusOK, out)
		},
	}
}

// remove is a route that deletes and answers nothing.
func remove(f func(*call) error) action {
	return removeWith(func(c *call, _ *none) error { return f(c) })
}

// removeWith is a remove with a query.
func removeWith[Q any](f func(*call, *Q) error) action {
	return action{
		query: reflect.TypeFor[Q](),
		out:   []answer{{status: 204}},
		serve: func(c *call) error {
			q, err := queryOf[Q](c)
			if err != nil {
				return err
			}
			if err := f(c, q); err != nil {
				return err
			}
			c.w.WriteHeader(http.StatusNoContent)
			return nil
		},
	}
}

// withQuery is a route that handles its bodies itself.
func withQuery[Q any](f func(*call, *Q) error, in []content, out ...answer) action {
	return action{
		query: reflect.TypeFor[Q](), in: in, out: out,
		serve: func(c *call) error {
			q, err := queryOf[Q](c)
			if err != nil {
				return err
			}
			return f(c, q)
		},
	}
}

// putForms is a put of records in its three forms.
func putForms[Q any](f func(*call, *Q) error) action {
	return withQuery(f,
		[]content{{typeJSON, reflect.TypeFor[PutRecords]()}, {typeLines, nil}, {typeBatch, nil}},
		answer{status: 200, forms: []content{{typeJSON, reflect.TypeFor[PutAnswer]()}}})
}

// deployForms is an upload of a module in its two forms.
func deployForms[Q any](f func(*call, *Q) error) action {
	forms := []content{{typeJSON, reflect.TypeFor[Function]()}}
	return withQuery(f,
		[]content{{typeModule, nil}, {typeScript, nil}, {typeTyped, nil}, {typeForm, reflect.TypeFor[deployForm]()}},
		answer{status: 200, forms: forms}, answer{status: 201, forms: forms}, answer{status: 202, forms: forms})
}

// secretForm is a route that takes the value of a secret.
func secretForm[Q any](f func(*call, *Q) error) action {
	forms := []content{{typeJSON, reflect.TypeFor[Secret]()}}
	return withQuery(f, []content{{typeBytes, nil}}, answer{status: 200, forms: forms}, answer{status: 201, forms: forms})
}

// ofInvocations are the headers of an invocation's answer.
func ofInvocations() []header {
	return []header{{headerInvocation, "The invocation's id; its log lines carry it."}, {headerVersion, "The version that ran."}}
}

// entryForm is a route that takes the value of an entry of state.
func entryForm[Q any](f func(*call, *Q) error) action {
	return withQuery(f, []content{{typeBytes, nil}}, answer{status: 200, forms: []content{{typeJSON, reflect.TypeFor[StoredEntry]()}}})
}

// valueForm is a route that answers one.
func valueForm[Q any](f func(*call, *Q) error) action {
	return withQuery(f, nil, answer{status: 200, forms: []content{{typeBytes, nil}}, headers: []header{{headerRevision, "The entry's revision."}}})
}

// loadForm is a route that takes many.
func loadForm[Q any](f func(*call, *Q) error) action {
	return withQuery(f, []content{{typeLines, nil}}, answer{status: 200, forms: []content{{typeJSON, reflect.TypeFor[LoadedEntries]()}}})
}

// exchange is a route with bytes in and bytes out.
func exchange[Q any](f func(*call, *Q) error) action {
	bytes := []content{{typeBytes, nil}}
	return withQuery(f, bytes, answer{status: 200, forms: bytes, headers: ofInvocations()})
}

// transformForm is a route that takes records and answers what became of them.
func transformForm[Q any](f func(*call, *Q) error) action {
	return withQuery(f, []content{{typeJSON, reflect.TypeFor[PutRecords]()}},
		answer{status: 200, forms: []content{{typeJSON, reflect.TypeFor[Transformed]()}}, headers: ofInvocations()})
}

// download is a route that answers a module.
func download[Q any](f func(*call, *Q) error) action {
	return withQuery(f, nil, answer{status: 200, forms: []content{{typeModule, nil}, {typeScript, nil}, {typeTyped, nil}}, headers: []header{
		{headerVersion, "The version whose module it is."}, {headerDigest, "The module's digest: sha256:…"},
	}})
}

// capsuleFile is a route that answers a capsule.
func capsuleFile[Q any](f func(*call, *Q) error) action {
	return withQuery(f, nil, answer{status: 200, forms: []content{{typeCapsule, nil}}})
}

// follow is a route that streams values of a type, as NDJSON or as server-sent events.
func follow[T, Q any](f func(*call, *Q) error) action {
	t := reflect.TypeFor[T]()
	return withQuery(f, nil, answer{status: 200, forms: []content{{typeLines, t}, {typeEvents, t}}})
}

// document is the route of the OpenAPI document.
func document() action {
	return withQuery(func(c *call, _ *none) error {
		c.w.Header().Set("Content-Type", typeJSON)
		_, err := c.w.Write(c.Handler.document())
		return err
	}, nil, answer{status: 200, forms: []content{{typeJSON, reflect.TypeFor[anyJSON]()}}})
}

// lenient writes U+FFFD where text of a guest or of a request is not UTF-8.
var lenient = jsontext.AllowInvalidUTF8(true)

// queryOf decodes the request's query.
func queryOf[Q any](c *call) (*Q, error) {
	q := new(Q)
	return q, decodeQuery(c.r.URL.RawQuery, q)
}

// bodyOf decodes the request's JSON body; an empty one is an empty object.
func bodyOf[In any](c *call) (*In, error) {
	in := new(In)
	if _, err := queryOf[none](c); err != nil {
		return nil, err
	}
	if c.r.ContentLength == 0 {
		return in, nil
	}
	return in, c.readJSON(in, c.limits.Document)
}

// writeDefined answers 201 for what is new and 200 for what was there.
func writeDefined(w http.ResponseWriter, out any, created bool) error {
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return writeJSON(w, status, out)
}

// writeJSON answers with one JSON value.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v, lenient)
	if err != nil {
		return wrapf(err, "write the answer")
	}
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(status)
	_, err = w.Write(append(b, '\n'))
	return err
}
