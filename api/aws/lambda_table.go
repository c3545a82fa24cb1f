package aws

import (
	"context"
	"sync"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers"
)

// Functions are the functions behind Lambda's operations; *runtime.Runtime is one. Its methods may be called at the same time, and a
// change that has returned is durable.
type Functions interface {
	Get(name string) (runtime.Function, error)
}

// Mappings are the event source mappings behind Lambda's operations; *triggers.Triggers is one. Its methods may be called at the same time, and a
// change that has returned is durable.
type Mappings interface {
	Put(ctx context.Context, m triggers.Mapping) (s triggers.Status, created bool, err error)
	Delete(ctx context.Context, name string) error
	Get(name string) (triggers.Status, error)
	List() []triggers.Status
}

var (
	_ Functions = (*runtime.Runtime)(nil)
	_ Mappings  = (*triggers.Triggers)(nil)
)

// lambda is what Lambda's operations share.
type lambda struct {
	functions Functions
	mappings  Mappings
	routes    []route

	changing sync.Mutex // held while definitions are read and changed: new mappings' names, tags

	mu    sync.Mutex
	names map[string]string // of mappings, by their IDs: a hint, see mapping
}

func newLambda(o Options) *lambda {
	return &lambda{functions: o.Functions, mappings: o.Mappings, routes: routes(), names: map[string]string{}}
}

// routes is the table of Lambda's operations. Paths are without the slash that some clients put at their end.
func routes() []route {
	const (
		mappings = "/2015-03-31/event-source-mappings"
		tags     = "/2017-03-31/tags/{ARN}"
	)
	return []route{
		rest("CreateEventSourceMapping", "POST", mappings, drive, 202, createMapping),
		bare("DeleteEventSourceMapping", "DELETE", mappings+"/{UUID}", drive, 202, deleteMapping),
		bare("GetEventSourceMapping", "GET", mappings+"/{UUID}", watch, 200, getMapping),
		bare("ListEventSourceMappings", "GET", mappings, watch, 200, listMappings),
		bare("ListTags", "GET", tags, watch, 200, listLambdaTags),
		rest("TagResource", "POST", tags, drive, 204, tagLambda),
		bare("UntagResource", "DELETE", tags, drive, 204, untagLambda),
		rest("UpdateEventSourceMapping", "PUT", mappings+"/{UUID}", drive, 202, updateMapping),
	}
}
