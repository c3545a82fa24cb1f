package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"github.com/shardmill/shardmill/internal/catalog"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/shards"
	"github.com/shardmill/shardmill/triggers"
)

// What a caller needs for the operations of Lambda.
const (
	look   permission = "function:describe" // look at functions
	deploy permission = "function:manage"   // create, change and delete functions
	invoke permission = "function:invoke"   // call functions
	watch  permission = "mapping:describe"  // look at event source mappings
	drive  permission = "mapping:manage"    // create, change and delete event source mappings
)

// route is one row of the table of Lambda's operations, which are told apart by method and path. The operation's name has the prefix "Lambda." in
// metrics and logs, because Kinesis has some of the same.
type route struct {
	method string
	path   []string // its segments; those in braces are parameters
	operation
}

// lambdaPrefix is what the names of Lambda's operations begin with.
const lambdaPrefix = "Lambda."

// rest makes a row: the input is decoded into an I, checked, and what the function returns is answered with the status. nil is an empty answer.
func rest[I any](name, method, path string, needs permission, status int, f func(c *call, in *I) (any, error)) route {
	s := shapeOf(reflect.TypeFor[I]())
	return route{method, strings.Split(path, "/")[1:], operation{name: lambdaPrefix + name, permission: needs, input: s, serve: func(c *call, body []byte) error {
		in := new(I)
		if err := c.input(s, body, in); err != nil {
			return err
		}
		out, err := f(c, in)
		if err != nil {
			return err
		}
		return c.answerWith(status, out)
	}}}
}

// bare makes a row whose function takes no document.
func bare(name, method, path string, needs permission, status int, f func(c *call) (any, error)) route {
	return route{method, strings.Split(path, "/")[1:], operation{name: lambdaPrefix + name, permission: needs, serve: func(c *call, _ []byte) error {
		out, err := f(c)
		if err != nil {
			return err
		}
		return c.answerWith(status, out)
	}}}
}

var lambdaPath = regexp.MustCompile(`^/20[0-9]{2}-[0-9]{2}-[0-9]{2}/`)

// IsLambda says whether a path is one of Lambda's: they begin with the date of a version of its API.
func IsLambda(path string) bool {
	return strings.HasPrefix(path, "/20") && lambdaPath.MatchString(path)
}

// large is a row whose body may be larger than others.
func (r route) large(limit int) route {
	r.limit = limit
	return r
}

// own is a row whose function takes the body and answers by itself.
func own(name, method, path string, needs permission, f func(c *call, body []byte) error) route {
	return route{method, strings.Split(path, "/")[1:], operation{name: lambdaPrefix + name, permission: needs, serve: f}}
}

// resolveLambda finds the operation by method and path; with and without a slash at the end are the same.
func (c *call) resolveLambda() error {
	c.protocol = restCodec{}
	if c.lambda == nil {
		return &fault{code: "UnknownOperationException", status: http.StatusNotFound, message: "Lambda's API is not served here."}
	}
	segments := strings.Split(strings.TrimSuffix(c.r.URL.EscapedPath(), "/"), "/")[1:]
	for i := range c.lambda.routes {
		r := &c.lambda.routes[i]
		if params, ok := r.match(c.r.Method, segments); ok {
			c.operation, c.params = r.operation, params
			return nil
		}
	}
	return &fault{code: "UnknownOperationException", status: http.StatusNotFound,
		message: fmt.Sprintf("There is no operation %s %s here.", c.r.Method, cut(c.r.URL.Path))}
}

func (r *route) match(method string, segments []string) (params map[string]string, ok bool) {
	if method != r.method || len(segments) != len(r.path) {
		return nil, false
	}
	for i, want := range r.path {
		if !strings.HasPrefix(want, "{") {
			if segments[i] != want {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(segments[i])
		if err != nil || value == "" {
			return nil, false
		}
		if params == nil {
			params = map[string]string{}
		}
		params[strings.Trim(want, "{}")] = value
	}
	return params, true
}

// restCodec is Lambda's protocol, REST with JSON.
type restCodec struct{ jsonCodec }

func (restCodec) mediaType() string { return "application/json" }

// encodeFault writes an error in one of the shapes that Lambda has for them.
func (restCodec) encodeFault(f *fault) []byte {
	document := struct {
		Type         string `json:",omitzero"`
		MessageUpper string `json:"Message,omitzero"`
		Message      string `json:"message,omitzero"`
	}{Type: "User", Message: f.message}
	switch {
	case f.status >= http.StatusInternalServerError:
		document.Type = "Service"
	case f.code == codeValidation:
		document.Type = ""
	case f.code == codeNotFound:
		document.MessageUpper, document.Message = f.message, ""
	case f.code == codeSerialization:
		document.Message = cmp.Or(f.message, "Could not parse request body into json.") // Kinesis says nothing there
	}
	return encodeFaultDocument(document)
}

// The codes of Lambda's errors.
const (
	codeParameter = "InvalidParameterValueException"
	codeConflict  = "ResourceConflictException"
	codeService   = "ServiceException"
)

// refuseParameter refuses a value.
func refuseParameter(format string, args ...any) *fault {
	return faultf(codeParameter, format, args...)
}

// missing is Lambda's answer about what is not there.
func missing(format string, args ...any) *fault {
	return &fault{code: codeNotFound, status: http.StatusNotFound, message: fmt.Sprintf(format, args...)}
}

// conflict is Lambda's answer about what is there already.
func conflict(format string, args ...any) *fault {
	return &fault{code: codeConflict, status: http.StatusConflict, message: fmt.Sprintf(format, args...)}
}

// lambdaSentinels is the table from the engines' errors to Lambda's. The first row that matches counts.
var lambdaSentinels = []struct {
	err     error
	code    string
	status  int
	message string
}{
	{runtime.ErrNotFound, codeNotFound, 404, "The function does not exist."},
	{runtime.ErrUntrusted, "InvalidCodeSignatureException", 400,
		"The code is not signed: this host takes functions that are signed with one of its trusted keys only, by its own API."},
	{runtime.ErrInUse, codeConflict, 409, "The version is in use: an alias, a mapping or a shadow needs it, or it is $LATEST."},
	{runtime.ErrUnsupported, codeParameter, 400, "The function does not handle direct invocations."},
	{runtime.ErrThrottled, "TooManyRequestsException", 429, "Rate Exceeded."},
	{runtime.ErrCompilerEnded, codeService, 500, "The host's compiler was ended from outside, again and again; the machine may be short of memory. Try again."},
	{runtime.ErrUnavailable, codeService, 500, "The function's code cannot be loaded: see the host's log."},
	{runtime.ErrSuperseded, codeConflict, 409, "While the code was compiled a newer upload has taken its place, or the function was deleted."},
	{runtime.ErrEmit, codeService, 500, "What the function emitted could not be put into a stream: see the host's log."},
	{triggers.ErrNotFound, codeNotFound, 404, "The resource you requested does not exist."},
	{shards.ErrNotFound, codeNotFound, 404, "The stream does not exist."},
	{catalog.ErrNoSpace, codeService, 500, "The host's disk is full; nothing was stored."},
	{catalog.ErrClosed, codeService, 500, "The host is stopping; try again when it is back."},
	{runtime.ErrClosed, codeService, 500, "The host is stopping; try again when it is back."},
	{triggers.ErrClosed, codeService, 500, "The host is stopping; try again when it is back."},
	{context.Canceled, codeService, 500, "The request was given up."},
	{context.DeadlineExceeded, codeService, 500, "The request took too long and was given up."},
}

// lambdaMembers has, by the runtime's names of fields, those of the members of Lambda's requests that they come from.
var lambdaMembers = map[string]string{
	"name": "FunctionName", "env": "Environment", "alias": "Name", "description": "Description", "canary": "AdditionalVersionWeights", "share": "AdditionalVersionWeights",
}

// lambdaFaultOf is what an error of one of Lambda's operations is answered with.
func lambdaFaultOf(err error) *fault {
	var known *fault
	if errors.As(err, &known) {
		return known
	}
	var refused *field.Error
	if errors.As(err, &refused) {
		told := *refused
		told.Field = cmp.Or(lambdaMembers[told.Field], told.Field)
		return refuseParameter("%s", told.Error())
	}
	for _, row := range lambdaSentinels {
		if errors.Is(err, row.err) {
			return &fault{code: row.code, status: row.status, message: row.message}
		}
	}
	return &fault{code: codeService, status: http.StatusInternalServerError, message: "Internal Service Failure"}
}
