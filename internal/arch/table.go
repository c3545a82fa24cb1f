package arch

// row is what one package, or each folder matched by a pattern, may import.
type row struct {
	path  string // below the module's root; a last element * stands for any one folder
	level int
	// below are packages of ours on lower levels; beside those on the same level, which
	// are exceptions and never mutual.
	below, beside []string
	everything    bool     // may import all of ours below it
	standardOnly  bool     // no library: guests compile it
	never         []string // imports forbidden by prefix, with what is below them
}

// owner says who alone may import a library, given by prefix.
type owner struct {
	library  string
	packages []string
}

// The engines do not speak HTTP: they do not know who calls them.
var noHTTP = []string{"net/http"}

const (
	topLevel    = 5
	engineLevel = 2
)

// table is the table of DESIGN.md §1.
var table = []row{
	{path: "cmd/host", level: topLevel, everything: true},

	{path: "api", level: 4, below: append([]string{"internal/secrets", "internal/state"}, apiMay...)},
	{path: "api/aws", level: 4, below: apiMay},
	{path: "api/messages", level: 4, below: []string{"shards", "sdk/record", "internal/flood"}, never: noHTTP},
	{path: "api/aws/conformance", level: 4},
	{path: "api/console", level: 4, below: []string{"api/auth"}},

	{path: "api/auth", level: 3, below: []string{"internal/catalog"}},
	{
		path: "triggers", level: 3,
		below: []string{"triggers/event", "triggers/filter", "shards", "runtime", "sdk", "sdk/abi", "sdk/record", "internal/catalog", "internal/field", "internal/aggregate", "internal/sequence"},
		never: noHTTP,
	},
	{
		path: "delivery", level: 3,
		below: []string{"shards", "runtime", "sdk", "sdk/abi", "sdk/record", "internal/catalog", "internal/field"},
	},

	{
		path: "shards", level: engineLevel,
		below: []string{"shards/journal", "internal/catalog", "internal/field", "sdk/record"},
		never: noHTTP,
	},
	{
		path: "runtime", level: engineLevel,
		below: []string{"runtime/fuel", "runtime/image", "runtime/quickjs", "runtime/wasm", "internal/capsule", "internal/catalog", "internal/field", "internal/state", "sdk", "sdk/abi", "sdk/record"},
		never: noHTTP,
	},
	// Functions that were written for Lambda import its event types.
	{path: "functions/examples/lambda-payments", level: engineLevel, below: []string{"sdk", "sdk/lambda"}, never: noHTTP},
	{path: "functions/examples/*", level: engineLevel, below: []string{"sdk"}, standardOnly: true},

	{path: "shards/journal", level: 1, beside: []string{"internal/field", "sdk/record"}, never: noHTTP},
	{path: "runtime/fuel", level: 1, beside: []string{"runtime/wasm"}, never: noHTTP},
	{path: "runtime/image", level: 1, beside: []string{"runtime/wasm"}, never: noHTTP},
	{path: "runtime/wasm", level: 1, never: noHTTP},
	{path: "triggers/event", level: 1, beside: []string{"internal/sequence", "sdk/record"}, never: noHTTP},
	{path: "triggers/filter", level: 1, never: noHTTP},
	{path: "internal/capsule", level: 1, beside: []string{"sdk/record"}, never: noHTTP},
	{path: "runtime/quickjs", level: 1, beside: []string{"runtime/wasm", "sdk/abi", "sdk/js"}, never: noHTTP},
	{path: "internal/catalog", level: 1, never: noHTTP},
	{path: "internal/field", level: 1},
	{path: "internal/state", level: 1, beside: []string{"internal/field"}, never: noHTTP},
	{path: "internal/egress", level: 1, beside: []string{"internal/field", "sdk/abi"}},
	{path: "internal/secrets", level: 1, beside: []string{"internal/catalog", "internal/field"}, never: noHTTP},
	{path: "internal/flood", level: 1},
	{path: "internal/sequence", level: 1, beside: []string{"sdk/record"}, never: noHTTP},
	{path: "internal/broker", level: 1, never: noHTTP},
	{path: "internal/aggregate", level: 1, never: noHTTP},
	{path: "internal/destination", level: 1, beside: []string{"internal/egress", "internal/field"}},
	{path: "internal/agent", level: 1, beside: []string{"internal/field"}},
	{path: "internal/aggregate/aggregatetest", level: 1, never: noHTTP},
	{path: "internal/arch", level: 1},
	{path: "sdk", level: 1, beside: []string{"sdk/abi", "sdk/record"}, standardOnly: true},
	{path: "sdk/sdktest", level: 1, beside: []string{"sdk", "sdk/abi", "sdk/record"}, standardOnly: true},
	{path: "sdk/lambda", level: 1, beside: []string{"sdk"}, standardOnly: true},
	{path: "sdk/js", level: 1, standardOnly: true},
	{path: "sdk/c", level: 1, standardOnly: true},
	{path: "sdk/rust", level: 1, standardOnly: true},
	{path: "sdk/assemblyscript", level: 1, standardOnly: true},
	{path: "sdk/abi", level: 1, beside: []string{"sdk/record"}, standardOnly: true},
	{path: "sdk/record", level: 1, standardOnly: true},
}

var apiMay = []string{"api/auth", "triggers", "delivery", "shards", "runtime", "sdk", "sdk/record", "internal/catalog", "internal/field", "internal/flood", "internal/aggregate", "internal/capsule", "internal/sequence"}

// owners are the libraries that only some may link.
var owners = []owner{
	{"github.com/tetratelabs/wazero", []string{"runtime", "runtime/fuel", "runtime/image"}},
	{"github.com/nats-io/nats-server", []string{"internal/broker"}},
	{"github.com/nats-io", []string{"internal/broker", "internal/catalog", "api/messages", "cmd/host"}},
	{"github.com/go-chi", []string{"api", "api/aws", "api/console", "cmd/host"}},
	{"github.com/danielgtaylor/huma", []string{"api", "api/aws"}},
	{"github.com/evanw/esbuild", []string{"runtime/quickjs"}},
	{"github.com/spf13", []string{"cmd/host"}},
	{"go.etcd.io/bbolt", []string{"internal/state"}},
	{"filippo.io/age", []string{"internal/secrets"}},
	{"github.com/aws/aws-sdk-go-v2/service/s3", []string{"internal/destination"}},
}
