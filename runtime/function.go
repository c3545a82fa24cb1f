package runtime

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/sdk/abi"
)

// Kinds is the set of call kinds that a version handles, as its shardmill_kinds says: bit k for kind k.
type Kinds uint32

// AllKinds is taken for a module that does not say.
const AllKinds = Kinds(1<<abi.KindBatch | 1<<abi.KindWindowClose | 1<<abi.KindTransform | 1<<abi.KindInvoke)

// Has says whether the kind is in the set.
func (k Kinds) Has(kind abi.Kind) bool { return uint32(k)&kind.Mask() != 0 }

// State says whether a version can serve.
type State string

// The states.
const (
	StatePending State = "pending" // stored; its code is compiled or loaded in the background, or by the first call
	StateActive  State = "active"  // ready: loaded, or not used for a while and loaded again by the next call
	StateFailed  State = "failed"  // its code could not be loaded; see Problem. Calls try again from time to time
)

// VersionDetail describes one immutable version of a function.
type VersionDetail struct {
	Version int    // from 1
	Digest  string // of the code: "sha256:<hex>"
	Size    int    // of the code in bytes
	// Language is what the code is written in; "" is a WebAssembly module.
	Language Language
	Config   Config // with the defaults filled in
	// SignedBy is the KeyID of the key that signed the code; "" where none was asked for.
	SignedBy string
	Kinds    Kinds
	Created  time.Time
	State    State
	Problem  string // why the state is failed
	Start    Start
	// StartReason is why its instances start plainly: the end of a sentence about the module.
	StartReason string

	Invocations uint64 // since the host was started
	Failures    uint64 // of these, with any error
}

// Function describes a function: the fields are those of $LATEST, its newest version.
type Function struct {
	Name string
	VersionDetail
	Versions []VersionDetail // every version that can still be called, oldest first; the last is $LATEST
	Update   *VersionDetail  // what was uploaded last, while it is pending or when it has failed; nil for none. Of a first version it is the same
	Aliases  []Alias         // by name
	Reserved int             // calls at once over all versions; Unreserved: no such bound
}

// function is an entry of the registry. It is immutable: a deploy puts another one in its place.
type function struct {
	name     string
	versions []*version
	aliases  []Alias // by name
	reserved int
	coming   *update // nil for none; of a function that has had no version yet, its version is the only one in versions
	next     int     // the number the next version gets
	gate     *gate
	logs     *logRing
	past     *past
	costs    *costs
	metrics  *functionMetrics
}

func (f *function) latest() *version { return f.versions[len(f.versions)-1] }

// version finds a version by number, 0 being $LATEST; nil when there is none.
func (f *function) version(number int) *version {
	if number == 0 {
		return f.latest()
	}
	for _, v := range f.versions {
		if v.number == number {
			return v
		}
	}
	return nil
}

func (f *function) describe() Function {
	out := Function{Name: f.name, Aliases: slices.Clone(f.aliases), Reserved: f.reserved}
	out.Update = f.coming.describe()
	for _, v := range f.versions {
		d := v.describe()
		if f.coming.is(v) {
			d = *out.Update
		}
		out.Versions = append(out.Versions, d)
	}
	out.VersionDetail = out.Versions[len(out.Versions)-1]
	return out
}

// all are the versions, and the update.
func (f *function) all() []*version {
	if f.coming == nil || slices.Contains(f.versions, f.coming.version) {
		return f.versions
	}
	return append(slices.Clip(f.versions), f.coming.version)
}

// identity is what a version was made of; it never changes.
type identity struct {
	function string
	number   int
	digest   string
	size     int
	language Language
	config   Config
	signer   string // KeyID of the trusted key that signed the code, "" when there was no list of keys
	created  time.Time
}

// version is one version with what is loaded of it.
type version struct {
	identity
	kinds      atomic.Uint32 // known after the trial of the upload, and from the definition
	superseded atomic.Bool   // it is no longer $LATEST
	calls      atomic.Uint64
	failures   atomic.Uint64
	pool       pool
	trials     pool // for calls with a Trial
	code       loader
}

func newVersion(id identity) *version {
	v := &version{identity: id}
	v.pool.init(id.config.Concurrency, uint64(id.config.IdleBytes))
	v.trials.init(id.config.Concurrency, uint64(id.config.IdleBytes))
	return v
}

// share has the version's idle instances count with those of all others. It is called before any is made.
func (v *version) share(with *idleMemory) *version {
	v.pool.shared, v.trials.shared = with, with
	return v
}

// idleBytes is what the idle instances of both pools hold.
func (v *version) idleBytes() uint64 { return v.pool.idleUsage() + v.trials.idleUsage() }

// drain closes the idle instances, and those that run when they come back.
func (v *version) drain() {
	v.pool.drain()
	v.trials.drain()
}

// usage is that of both pools.
func (v *version) usage() (instances int, bytes uint64) {
	n, size := v.pool.usage()
	m, more := v.trials.usage()
	return n + m, size + more
}

// close closes a program that was unloaded, and before that its idle instances. Those that run hold the program, so there are none; another one
// may have been loaded meanwhile, and has instances of its own.
func (v *version) close(p *program) error {
	if p == nil {
		return nil
	}
	v.pool.evict(p)
	v.trials.evict(p)
	return p.close()
}

func (v *version) describe() VersionDetail {
	state, problem := v.code.state()
	start, reason, _ := v.code.start()
	return VersionDetail{
		Version: v.number, Digest: v.digest, Size: v.size, Language: v.language, Config: v.config, SignedBy: v.signer, Kinds: Kinds(v.kinds.Load()),
		Created: v.created, State: state, Problem: problem, Start: start, StartReason: reason,
		Invocations: v.calls.Load(), Failures: v.failures.Load(),
	}
}
