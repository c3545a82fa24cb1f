package triggers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// world plays the function and the on-failure destination for TestProperties, and holds the package to what it promises, whatever the settings:
//
//   - a record that the filter lets through, from the starting position or the last seek on, is handled, or stored at the destination, or pending; never lost;
//   - the records of a key come in order, and never two calls at once have the same key, nor without lanes the same shard;
//   - the checkpoint covers only what is handled or stored;
//   - what is given up has had the attempts that the settings say;
//   - a window's state has each of its records once.
type world struct {
	seed    uint32
	largest int  // batch size
	deaf    bool // replies are not looked at, so that nothing can be asked for again but all
	whole   bool // no record is in an aggregate, whose records Lambda's door cannot tell apart

	mu       sync.Mutex
	history  []inForce        // the settings
	records  map[string]*item // by "key.number"
	keys     map[string][]*item
	shards   map[shards.ShardID]*domain
	running  map[string]bool      // keys, and shards without lanes
	attempts map[string]int       // deliveries of a record
	began    map[string]time.Time // the last of them; and the last call of a shard with windows
	down     bool                 // the destination
	windowed map[string]bool      // records that a closed window's state had
	target   *Target              // of a seek under way
	wrong    string
	calls    int
}

// item is one record that was put.
type item struct {
	name     string
	key      string
	stored   string // the key of the stored record
	shard    shards.ShardID
	sequence uint64 // of the stored record
	arrival  time.Time
	done     bool // handled, or stored at the destination, or passed over
	passed   bool // it is before the starting position, or what seek has moved to
	counted  bool // by its function, in a window's state
}

// domain is the keys of an open shard.
type domain struct {
	keys   []string
	closed bool
}

func (w *world) violated(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
	}
}

// chance is a number from 0 to 99 that depends on what is given.
func (w *world) chance(of ...any) int {
	h := fnv.New32a()
	fmt.Fprint(h, w.seed, of)
	return int(h.Sum32() >> 3 % 100)
}

// put stores n records of each key that a shard has, some of them aggregated.
func (w *world) put(b *bench, shard shards.ShardID, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.shards[shard]
	if d == nil || d.closed {
		return
	}
	var list []record.Record
	var users []aggregatetest.User
	now := time.Now()
	next := b.stream.nextOf(int(shard))
	for i := range n {
		for _, key := range d.keys {
			it := &item{
				name: key + "." + strconv.Itoa(len(w.keys[key])), key: key, stored: "aggregate", shard: shard, arrival: now.Truncate(time.Microsecond),
				sequence: next + uint64(len(list)),
			}
			w.records[it.name] = it
			w.keys[key] = append(w.keys[key], it)
			if !w.whole && w.chance("aggregated", i, len(w.records)) < 20 {
				users = append(users, aggregatetest.User{Key: key, Data: it.name})
				if len(users) < 3 {
					continue
				}
			} else if len(users) == 0 {
				it.stored = key
				list = append(list, record.Record{Key: []byte(key), Data: []byte(it.name)})
				continue
			} else {
				users = append(users, aggregatetest.User{Key: key, Data: it.name})
			}
			list = append(list, record.Record{Key: []byte("aggregate"), Data: aggregatetest.Encode(users...)})
			users = nil
		}
	}
	if len(users) > 0 {
		list = append(list, record.Record{Key: []byte("aggregate"), Data: aggregatetest.Encode(users...)})
	}
	b.stream.putRecords(int(shard), list)
}

// reshard splits a shard, or merges it with another.
func (w *world) reshard(b *bench, at, other shards.ShardID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d, e := w.shards[at], w.shards[other]
	if d == nil || d.closed {
		return
	}
	next := shards.ShardID(len(w.shards))
	if at == other || e == nil || e.closed {
		half := len(d.keys) / 2
		d.closed = true
		w.shards[next], w.shards[next+1] = &domain{keys: d.keys[:half]}, &domain{keys: d.keys[half:]}
		b.stream.reshard(2, at)
		return
	}
	d.closed, e.closed = true, true
	w.shards[next] = &domain{keys: slices.Concat(d.keys, e.keys)}
	b.stream.reshard(1, at, other)
}

// checkEnd is what holds when all has had time enough.
func (w *world) checkEnd(b *bench) error {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.wrong != "" {
		return errors.New(w.wrong)
	}
	s, err := b.Get("m")
	if err != nil {
		return err
	}
	unread := map[shards.ShardID]bool{} // those whose records are all before the start
	for id := range w.shards {
		unread[id] = w.mapping().StartingPosition == AtTime
	}
	for name, it := range w.records {
		switch {
		case !it.done && !w.filtered(it):
			return fmt.Errorf("%s of shard %d was left behind; %+v", name, it.shard, s.Shards[it.shard])
		case it.counted && !w.windowed[name] && !w.ever(givesUp):
			return fmt.Errorf("%s was in no window's state when that closed", name)
		}
		unread[it.shard] = unread[it.shard] && it.passed
	}
	for i, shard := range s.Shards {
		tip := b.stream.nextOf(i) - 1
		if none := shard.Checkpoint == 0 && unread[shard.Shard]; record.Counter(tip) > 0 && shard.Checkpoint != tip && !none {
			return fmt.Errorf("the checkpoint of shard %d is %d of %d: %+v", i, shard.Checkpoint, tip, shard)
		}
		if shard.State != ShardRunning && shard.State != ShardEnded || shard.Attempt != 0 || shard.IteratorAge != 0 {
			return fmt.Errorf("all is done, and shard %d is %+v", i, shard)
		}
	}
	return nil
}

// episode is one random run.
type episode struct {
	Seed    uint32
	Mapping Mapping
	Lambda  bool // the function takes Lambda's event
	Keys    int
	Before  []happening // before the mapping is made
	Since   int         // with AtTime: behind so many of them the mapping begins
	Steps   []happening
}

// happening is something that happens from outside.
type happening struct {
	Kind    string
	A, B    int
	Wait    time.Duration
	Mapping Mapping // change
}

// TestProperties runs random combinations of all settings against random functions, destinations, changes, seeks, crashes and reshards.
func TestProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		e := drawEpisode(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = e.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (e *episode) run(t *testing.T) error {
	b := &bench{t: t, streams: &fakeStreams{}, table: &fakeTable{}}
	b.functions = &fakeFunctions{kinds: map[string]runtime.Kinds{"f": runtime.AllKinds}}
	b.functions.versions, b.functions.aliases = []int{1, 2}, []runtime.Alias{{Name: "prod", Version: 1}}
	b.stream = b.streams.create("s", 2)
	b.stream.register("c")
	w := &world{
		seed: e.Seed, largest: e.Mapping.BatchSize, records: map[string]*item{}, keys: map[string][]*item{},
		shards: map[shards.ShardID]*domain{0: {}, 1: {}}, running: map[string]bool{}, attempts: map[string]int{}, began: map[string]time.Time{}, windowed: map[string]bool{},
	}
	for k := range e.Keys {
		d := w.shards[shards.ShardID(k%2)]
		d.keys = append(d.keys, fmt.Sprint("k", k))
	}
	b.functions.handle, b.stream.saveErr, b.stream.saving = w.invoke, w.checkSave, w.moved
	if e.Lambda {
		w.takeEvents(b, e.Mapping.ReportItemFailures)
	}
	b.destinations = w
	b.open()
	defer func() { b.close() }()
	m := e.begin(b, w)
	for _, s := range e.Steps {
		s.do(b, w, &m)
	}
	w.mu.Lock()
	w.down = false
	w.mu.Unlock()
	m.Disabled = false
	w.adopt(b, m)
	time.Sleep(30 * 24 * time.Hour)
	return w.checkEnd(b)
}

func (s *happening) do(b *bench, w *world, m *Mapping) {
	shard := func(n int) shards.ShardID { return shards.ShardID(n % len(w.shards)) }
	switch s.Kind {
	case "put":
		w.put(b, shard(s.A), s.B)
	case "wait":
		time.Sleep(s.Wait)
	case "reshard":
		w.reshard(b, shard(s.A), shard(s.B))
	case "change":
		w.adopt(b, s.change(*m))
		*m = w.mapping()
	case "pause":
		m.Disabled = !m.Disabled
		w.adopt(b, *m)
	case "seek":
		w.seek(b, shard(s.A), s.B, s.Wait)
	case "stop":
		_ = b.Close(context.Background())
		b.open()
	case "kill":
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Close(now)
		b.open()
	case "destination":
		w.mu.Lock()
		w.down = !w.down
		w.mu.Unlock()
	case "consumer": // is registered anew: between, nothing can begin to read
		b.stream.register()
		time.Sleep(s.Wait)
		b.stream.register("c")
	}
}

// change is the mapping with all other settings that can be changed.
func (s *happening) change(m Mapping) Mapping {
	to := s.Mapping
	to.StartingPosition, to.StartingTime, to.Consumer, to.Disabled, to.ReportItemFailures = m.StartingPosition, m.StartingTime, m.Consumer, m.Disabled, m.ReportItemFailures
	return to
}
