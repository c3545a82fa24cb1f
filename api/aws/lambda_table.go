package aws

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers"
)

// Functions are the functions behind Lambda's operations; *runtime.Runtime is one. Its methods may be called at the same time, and a
// change that has returned is durable.
type Functions interface {
	Get(name string) (runtime.Function, error)
	List() []runtime.Function
	Configure(ctx context.Context, name string, version int, config runtime.Config) (runtime.Function, error)
	Submit(ctx context.Context, name string, code []byte, config runtime.Config, proof runtime.Proof) (runtime.Function, error)
	DeployProven(ctx context.Context, name string, code []byte, config runtime.Config, proof runtime.Proof) (runtime.Function, error)
	Delete(ctx context.Context, name string) error
	DeleteVersion(ctx context.Context, name string, number int) error
	PutAlias(ctx context.Context, name string, a runtime.Alias) (stored runtime.Alias, created bool, err error)
	DeleteAlias(ctx context.Context, name, alias string) error
	Reserve(ctx context.Context, name string, calls int) (runtime.Function, error)
	Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error
	Logs(ctx context.Context, name string, from time.Time, follow bool) (iter.Seq[runtime.LogLine], error)
}

// Mappings are the event source mappings behind Lambda's operations; *triggers.Triggers is one. Its methods may be called at the same time, and a
// change that has returned is durable.
type Mappings interface {
	Put(ctx context.Context, m triggers.Mapping) (s triggers.Status, created bool, err error)
	Update(ctx context.Context, name string, change func(was triggers.Status, m *triggers.Mapping) error) (triggers.Status, error)
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
	functions    Functions
	mappings     Mappings
	destinations Destinations // of documents of asynchronous invocations; nil: functions only
	routes       []route

	changing sync.Mutex // held while definitions are read and changed: new mappings' names, tags

	events  *events
	uploads chan struct{} // holds a token for each upload under way

	mu    sync.Mutex
	names map[string]string // of mappings, by their IDs: a hint, see mapping
	busy  map[string]bool   // functions that are being changed
}

// maxUploads is how many uploads are taken at the same time: each may need four times its size, which is up to 64 MiB.
const maxUploads = 2

func newLambda(o Options, arn func(function, qualifier string) string) *lambda {
	return &lambda{
		functions: o.Functions, mappings: o.Mappings, destinations: o.Destinations, routes: routes(), events: newEvents(o, arn), uploads: make(chan struct{}, maxUploads),
		names: map[string]string{}, busy: map[string]bool{},
	}
}

// admitUpload waits until an upload may be read; done ends that.
func (l *lambda) admitUpload(ctx context.Context) (done func(), err error) {
	select {
	case l.uploads <- struct{}{}:
		return func() { <-l.uploads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// routes is the table of Lambda's operations. Paths are without the slash that some clients put at their end.
func routes() []route {
	const (
		functions = "/2015-03-31/functions"
		function  = functions + "/{FunctionName}"
		later     = "/functions/{FunctionName}"
		mappings  = "/2015-03-31/event-source-mappings"
		tags      = "/2017-03-31/tags/{ARN}"
		async     = "/2019-09-25" + later + "/event-invoke-config"
	)
	return []route{
		rest("AddPermission", "POST", function+"/policy", deploy, 201, addPermission),
		rest("CreateAlias", "POST", function+"/aliases", deploy, 201, createAlias),
		rest("CreateEventSourceMapping", "POST", mappings, drive, 202, createMapping),
		rest("CreateFunction", "POST", functions, deploy, 201, createFunction).large(maxUploadBody),
		bare("DeleteAlias", "DELETE", function+"/aliases/{Name}", deploy, 204, deleteAlias),
		bare("DeleteEventSourceMapping", "DELETE", mappings+"/{UUID}", drive, 202, deleteMapping),
		bare("DeleteFunction", "DELETE", function, deploy, 204, deleteFunction),
		bare("DeleteFunctionConcurrency", "DELETE", "/2017-10-31"+later+"/concurrency", deploy, 204, deleteConcurrency),
		bare("DeleteFunctionEventInvokeConfig", "DELETE", async, deploy, 204, deleteEventInvoke),
		bare("GetAccountSettings", "GET", "/2016-08-19/account-settings", look, 200, getAccountSettings),
		bare("GetAlias", "GET", function+"/aliases/{Name}", look, 200, getAlias),
		bare("GetEventSourceMapping", "GET", mappings+"/{UUID}", watch, 200, getMapping),
		bare("GetFunction", "GET", function, look, 200, getFunction),
		bare("GetFunctionCodeSigningConfig", "GET", "/2020-06-30"+later+"/code-signing-config", look, 200, getCodeSigning),
		bare("GetFunctionConcurrency", "GET", "/2019-09-30"+later+"/concurrency", look, 200, getConcurrency),
		bare("GetFunctionConfiguration", "GET", function+"/configuration", look, 200, getFunctionConfiguration),
		bare("GetFunctionEventInvokeConfig", "GET", async, look, 200, getEventInvoke),
		bare("GetFunctionRecursionConfig", "GET", "/2024-08-31"+later+"/recursion-config", look, 200, getRecursion),
		bare("GetPolicy", "GET", function+"/policy", look, 200, getPolicy),
		bare("GetProvisionedConcurrencyConfig", "GET", "/2019-09-30"+later+"/provisioned-concurrency", look, 200, getProvisionedConcurrency),
		bare("GetRuntimeManagementConfig", "GET", "/2021-07-20"+later+"/runtime-management-config", look, 200, getRuntimeManagement),
		own("Invoke", "POST", function+"/invocations", invoke, invokeFunction).large(maxPayload),
		bare("ListAliases", "GET", function+"/aliases", look, 200, listAliases),
		bare("ListEventSourceMappings", "GET", mappings, watch, 200, listMappings),
		bare("ListFunctionEventInvokeConfigs", "GET", async+"/list", look, 200, listEventInvoke),
		bare("ListFunctions", "GET", functions, look, 200, listFunctions),
		bare("ListTags", "GET", tags, watch, 200, listLambdaTags),
		bare("ListVersionsByFunction", "GET", function+"/versions", look, 200, listVersions),
		rest("PublishVersion", "POST", function+"/versions", deploy, 201, publishVersion),
		rest("PutFunctionConcurrency", "PUT", "/2017-10-31"+later+"/concurrency", deploy, 200, putConcurrency),
		rest("PutFunctionEventInvokeConfig", "PUT", async, deploy, 200, putEventInvoke),
		bare("RemovePermission", "DELETE", function+"/policy/{StatementId}", deploy, 204, removePermission),
		rest("TagResource", "POST", tags, drive, 204, tagLambda),
		bare("UntagResource", "DELETE", tags, drive, 204, untagLambda),
		rest("UpdateAlias", "PUT", function+"/aliases/{Name}", deploy, 200, updateAlias),
		rest("UpdateEventSourceMapping", "PUT", mappings+"/{UUID}", drive, 202, updateMapping),
		rest("UpdateFunctionCode", "PUT", function+"/code", deploy, 200, updateFunctionCode).large(maxUploadBody),
		rest("UpdateFunctionConfiguration", "PUT", function+"/configuration", deploy, 200, updateFunctionConfiguration),
		rest("UpdateFunctionEventInvokeConfig", "POST", async, deploy, 200, updateEventInvoke),
	}
}
