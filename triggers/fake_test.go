package triggers

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeStreams is a log in memory that obeys the contract of Streams and can be made to fail. Unlike the
// real one it works in a synctest bubble.
type fakeStreams struct {
	mu      sync.Mutex
	streams map[string]*fakeStream
	made    int

	sweepErr error // of deleting what is left
}

func (f *fakeStreams) create(name string, shardCount int) *fakeStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made++
	st := &fakeStream{id: fmt.Sprintf("stream-%d", f.made), checkpoints: map[string]shards.Checkpoint{}}
	for i := range shardCount {
		st.shards = append(st.shards, &fakeShard{wake: make(chan struct{}), next: record.MakeSequence(uint32(i)+1, 1), damagedAt: -1})
	}
	if f.streams == nil {
		f.streams = map[string]*fakeStream{}
	}
	f.streams[name] = st
	return st
}

func (f *fakeStreams) remove(name string) {
	f.mu.Lock()
	st := f.streams[name]
	delete(f.streams, name)
	f.mu.Unlock()
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	for _, s := range st.shards {
		s.signal()
	}
}

func (f *fakeStreams) Open(name string) (Source, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if st := f.streams[name]; st != nil {
		return st, nil
	}
	return nil, fmt.Errorf("open %q: %w", name, shards.ErrNotFound)
}

// DeleteCheckpoints makes them Leftovers.
func (f *fakeStreams) DeleteCheckpoints(_ context.Context, left func(consumer string) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, st := range f.streams {
		st.mu.Lock()
		maps.DeleteFunc(st.checkpoints, func(_ string, cp shards.Checkpoint) bool { return left(cp.Consumer) })
		st.mu.Unlock()
	}
	return f.sweepErr
}

type fakeStream struct {
	id string

	mu          sync.Mutex
	gone        bool
	retention   time.Duration // 0 = for ever
	consumers   []string
	shards      []*fakeShard
	checkpoints map[string]shards.Checkpoint // by consumer and shard
	revision    uint64
	history     []shards.Checkpoint // every one saved
	saveDelay   time.Duration
	patience    time.Duration                            // how long SaveCheckpointBy waits
	saveErr     func(shards.Checkpoint) error            // asked before each save
	saving      func(context.Context, shards.Checkpoint) // told before that; nil = nobody
	deleting    func()                                   // called before checkpoints are deleted; nil = nobody
	lostAnswer  bool                                     // the next save succeeds and returns an error
}

// fakeShard holds the batches as they were put.
type fakeShard struct {
	runs      []record.Run
	next      uint64
	wake      chan struct{} // closed and replaced on each change
	damagedAt int           // index in runs; -1 = none
	closed    bool
	parents   []shards.ShardID
}

func (s *fakeShard) signal() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// put appends one stored batch and returns the sequence number of its first record.
func (st *fakeStream) put(shard int, data ...string) uint64 {
	var list []record.Record
	for _, d := range data {
		list = append(list, record.Record{Key: []byte("key"), Data: []byte(d)})
	}
	return st.putRecords(shard, list)
}

// putRecords is put for whole records.
func (st *fakeStream) putRecords(shard int, list []record.Record) uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.shards[shard]
	var b record.Builder
	for _, r := range list {
		if err := b.Append(r); err != nil {
			panic(err)
		}
	}
	first := s.next
	record.Stamp(b.Run(), first, time.Now().UnixMicro())
	s.runs = append(s.runs, b.Run())
	s.next += uint64(len(list))
	s.signal()
	return first
}

// nextOf is the sequence number that a shard's next record will have.
func (st *fakeStream) nextOf(shard int) uint64 {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.shards[shard].next
}

// change alters a shard and wakes its readers.
func (st *fakeStream) change(shard int, f func(*fakeShard)) {
	st.mu.Lock()
	defer st.mu.Unlock()
	f(st.shards[shard])
	st.shards[shard].signal()
}

func (st *fakeStream) ID() string { return st.id }

func (st *fakeStream) Retention() time.Duration { return cmp.Or(st.retention, 100*365*24*time.Hour) }

func (st *fakeStream) HasConsumer(name string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return name == "" || slices.Contains(st.consumers, name)
}

// register registers a consumer, alone.
func (st *fakeStream) register(names ...string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.consumers = names
}

func (st *fakeStream) Parents(shard shards.ShardID) []shards.ShardID {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.shards[shard].parents
}

// reshard closes shards and gives them a number of children together.
func (st *fakeStream) reshard(children int, parents ...shards.ShardID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for range children {
		n := uint32(len(st.shards)) + 1
		st.shards = append(st.shards, &fakeShard{wake: make(chan struct{}), next: record.MakeSequence(n, 1), damagedAt: -1, parents: parents})
	}
	for _, p := range parents {
		st.shards[p].closed = true
		st.shards[p].signal()
	}
}

func (st *fakeStream) Shards() []shards.ShardID {
	st.mu.Lock()
	defer st.mu.Unlock()
	ids := make([]shards.ShardID, len(st.shards))
	for i := range ids {
		ids[i] = shards.ShardID(i)
	}
	return ids
}

func (st *fakeStream) Reader(shard shards.ShardID, start shards.Start) (Reader, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, shards.ErrNotFound
	}
	s := st.shards[shard]
	r := &fakeReader{st: st, s: s, position: record.MakeSequence(uint32(shard)+1, 1)}
	switch start.Kind {
	case shards.Newest:
		r.position = s.next
	case shards.AtSequence:
		if start.Sequence < r.position || start.Sequence > s.next {
			return nil, shards.ErrInvalid
		}
		r.position = start.Sequence
	case shards.AfterSequence:
		r.position = start.Sequence + 1
	case shards.AtTime:
		for _, run := range s.runs {
			for rec := range run.All() {
				if rec.Arrival < start.Time.UnixMicro() {
					r.position = rec.Sequence + 1
				}
			}
		}
	}
	return r, nil
}

func checkpointKey(consumer string, shard uint32) string {
	return fmt.Sprintf("%s/%d", consumer, shard)
}

func (st *fakeStream) Checkpoint(consumer string, shard shards.ShardID) (shards.Checkpoint, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	cp, ok := st.checkpoints[checkpointKey(consumer, uint32(shard))]
	return cp, ok
}

func (st *fakeStream) SaveCheckpoint(ctx context.Context, cp shards.Checkpoint) (uint64, error) {
	st.mu.Lock()
	delay, saveErr, saving := st.saveDelay, st.saveErr, st.saving
	st.mu.Unlock()
	if !sleep(ctx, delay) {
		return 0, ctx.Err()
	}
	if saving != nil {
		saving(ctx, cp)
	}
	if saveErr != nil {
		if err := saveErr(cp); err != nil {
			return 0, err
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	key := checkpointKey(cp.Consumer, cp.Shard)
	switch {
	case st.gone:
		return 0, shards.ErrNotFound
	case st.checkpoints[key].Revision != cp.Revision:
		return 0, fmt.Errorf("save: %w", shards.ErrRevision)
	}
	st.revision++
	cp.Revision = st.revision
	st.checkpoints[key] = cp
	st.history = append(st.history, cp)
	if st.lostAnswer {
		st.lostAnswer = false
		return 0, errors.New("the answer was lost")
	}
	return cp.Revision, nil
}

// SaveCheckpointBy is as patient as patience says.
func (st *fakeStream) SaveCheckpointBy(ctx context.Context, cp shards.Checkpoint, hurry <-chan struct{}) (uint64, error) {
	st.mu.Lock()
	patience := st.patience
	st.mu.Unlock()
	if patience == 0 {
		return st.SaveCheckpoint(ctx, cp)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-hurry:
	case <-timer.C:
	case <-ctx.Done():
	}
	return st.SaveCheckpoint(ctx, cp)
}

func (st *fakeStream) DeleteCheckpoints(_ context.Context, consumer string) error {
	st.mu.Lock()
	deleting := st.deleting
	st.mu.Unlock()
	if deleting != nil {
		deleting()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return shards.ErrNotFound
	}
	for i := range st.shards {
		delete(st.checkpoints, checkpointKey(consumer, uint32(i)))
	}
	return nil
}

type fakeReader struct {
	st       *fakeStream
	s        *fakeShard
	position uint64 // guarded by st.mu
}

func (r *fakeReader) Next(ctx context.Context) (record.Run, error) {
	for {
		run, wake, err := r.atHand()
		if err != nil || run.Len() > 0 {
			return run, err
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return record.Run{}, ctx.Err()
		}
	}
}

func (r *fakeReader) atHand() (record.Run, <-chan struct{}, error) {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	if r.st.gone {
		return record.Run{}, nil, fmt.Errorf("read: %w", shards.ErrNotFound)
	}
	for i, run := range r.s.runs {
		if run = run.From(r.position); run.Len() == 0 {
			continue
		}
		if i == r.s.damagedAt {
			return record.Run{}, nil, fmt.Errorf("read: %w", &shards.DamageError{Stream: "s", First: run.First().Sequence, Reason: "checksum does not match"})
		}
		r.position = run.First().Sequence + uint64(run.Len())
		return run, nil, nil
	}
	if r.s.closed {
		return record.Run{}, nil, shards.ErrShardEnd
	}
	return record.Run{}, r.s.wake, nil
}

func (r *fakeReader) Position() uint64 {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	return r.position
}

func (r *fakeReader) Behind() time.Duration {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	for _, run := range r.s.runs {
		if run = run.From(r.position); run.Len() > 0 {
			return time.Since(time.UnixMicro(run.First().Arrival))
		}
	}
	return 0
}

// fakeFunctions runs every function by handle; a function exists when kinds has it.
type fakeFunctions struct {
	mu       sync.Mutex
	kinds    map[string]runtime.Kinds
	versions []int // that every function has, besides $LATEST
	aliases  []runtime.Alias
	handle   func(ctx context.Context, call runtime.Call, reply *runtime.Reply) error
	calls    []delivery
	tables   map[string]bool // that trials have used and that were not dropped
}

// delivery is one call as the function saw it.
type delivery struct {
	Time     time.Time
	Function string
	Shard    uint32
	Attempt  int
	Data     []string
	First    uint64
	Last     uint64
	Kind     runtime.Kind
	State    string
	Window   runtime.Window
	Version  int
	Trial    string // whose tables it has; "" = it is a real call
}

func (f *fakeFunctions) set(name string, kinds runtime.Kinds) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.kinds[name] = kinds; kinds == 0 {
		delete(f.kinds, name)
	}
}

func (f *fakeFunctions) Get(name string) (runtime.Function, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kinds, ok := f.kinds[name]
	if !ok {
		return runtime.Function{}, fmt.Errorf("get %q: %w", name, runtime.ErrNotFound)
	}
	fn := runtime.Function{Name: name}
	fn.Kinds, fn.Aliases = kinds, f.aliases
	for _, v := range f.versions {
		fn.Versions = append(fn.Versions, runtime.VersionDetail{Version: v, Kinds: kinds})
	}
	return fn, nil
}

func (f *fakeFunctions) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	if _, err := f.Get(call.Function); err != nil {
		return err
	}
	d := delivery{
		Time: time.Now(), Function: call.Function, Shard: call.Source.Shard, Attempt: call.Attempt,
		First: call.Source.First, Last: call.Source.Last, Kind: call.Kind, State: string(call.State), Window: call.Window,
		Version: call.Version,
	}
	for _, run := range call.Records {
		for r := range run.All() {
			d.Data = append(d.Data, string(r.Data))
		}
	}
	f.mu.Lock()
	if call.Trial != nil {
		d.Trial = call.Trial.Tables
		if f.tables == nil {
			f.tables = map[string]bool{}
		}
		f.tables[d.Trial] = true
	}
	f.calls = append(f.calls, d)
	handle := f.handle
	f.mu.Unlock()
	reply.Outcomes, reply.State, reply.Body = reply.Outcomes[:0], nil, nil
	if handle == nil {
		return nil
	}
	return handle(ctx, call, reply)
}

// KeepTrials remembers which of the tables that trials have used are kept.
func (f *fakeFunctions) KeepTrials(keep func(tables string) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tables := range f.tables {
		if !keep(tables) {
			delete(f.tables, tables)
		}
	}
	return nil
}

func (f *fakeFunctions) deliveries() []delivery {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]delivery(nil), f.calls...)
}

// setHandle changes what the functions do from the next call on.
func (f *fakeFunctions) setHandle(h func(ctx context.Context, call runtime.Call, reply *runtime.Reply) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handle = h
}

// bench is triggers over fakes.
type bench struct {
	*Triggers
	t            *testing.T
	streams      *fakeStreams
	functions    *fakeFunctions
	failures     *fakeFailures // nil = none
	events       Events
	destinations Failures // in place of failures
	outlet       *outlet  // where functions emit to; its markers are the host's
	table        *fakeTable
	stream       *fakeStream   // named "s"
	shared       bool          // others than its mappings have checkpoints there
	logged       *bytes.Buffer // of the next Triggers that is opened; nil = nothing is logged
}

// newBench has the stream "s" and the function "f", and no mapping. In a bubble its Triggers are closed
// at the end of the test.
func newBench(t *testing.T, shardCount int) *bench {
	t.Helper()
	b := &bench{t: t, streams: &fakeStreams{}, table: &fakeTable{}, failures: &fakeFailures{}, events: testEvents, outlet: &outlet{}}
	b.functions = &fakeFunctions{kinds: map[string]runtime.Kinds{"f": runtime.AllKinds}}
	b.stream = b.streams.create("s", shardCount)
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

// options are the zero value of what may be zero.
func (b *bench) options() Options {
	o := Options{Streams: b.streams, Functions: b.functions, Definitions: b.table, Events: b.events}
	if !b.shared {
		o.Leftovers = b.streams
	}
	if b.logged != nil {
		o.Logger = slog.New(slog.NewTextHandler(b.logged, nil))
	}
	if b.outlet != nil {
		o.Markers = b.outlet
	}
	if b.failures != nil {
		o.Failures = b.failures
	}
	if b.destinations != nil {
		o.Failures = b.destinations
	}
	return o
}

func (b *bench) open() {
	b.t.Helper()
	tr, err := Open(b.t.Context(), b.options())
	if err != nil {
		b.t.Fatal(err)
	}
	b.Triggers = tr
}

func (b *bench) close() {
	b.t.Helper()
	if err := b.Close(context.Background()); err != nil {
		b.t.Errorf("close: %v", err)
	}
}

// put makes or changes the mapping "m" from "s" to "f".
func (b *bench) put(change func(*Mapping)) Status {
	b.t.Helper()
	m := Mapping{Name: "m", Stream: "s", Function: "f"}
	if change != nil {
		change(&m)
	}
	s, _, err := b.Put(b.t.Context(), m)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// id is that of the mapping "m".
func (b *bench) id() string {
	b.t.Helper()
	s, err := b.Get("m")
	if err != nil {
		b.t.Fatal(err)
	}
	return s.ID
}

// shard is the status of one shard of the mapping "m".
func (b *bench) shard(i int) ShardStatus {
	b.t.Helper()
	s, err := b.Get("m")
	if err != nil {
		b.t.Fatal(err)
	}
	return s.Shards[i]
}

// failure is a failure of the function itself.
func failure(message string) error {
	return fmt.Errorf("invoke: %w", &runtime.FunctionError{Function: "f", Kind: runtime.FailError, Message: message})
}

// outcomes is a reply that names one result for the records at the indexes.
func outcomes(result abi.Result, reason string, indexes ...int) func(context.Context, runtime.Call, *runtime.Reply) error {
	return func(_ context.Context, _ runtime.Call, reply *runtime.Reply) error {
		for _, i := range indexes {
			reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: result, Reason: reason})
		}
		return nil
	}
}

// sourceFunc is a source whose readers cannot be made while fail says so.
type sourceFunc struct {
	*fakeStream
	fail func() error
}

func (s sourceFunc) Reader(shard shards.ShardID, start shards.Start) (Reader, error) {
	if err := s.fail(); err != nil {
		return nil, err
	}
	return s.fakeStream.Reader(shard, start)
}
