package runtime

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// What is kept of a function's costs.
const (
	keptKeys     = 128 // partition keys that are counted
	keptRecords  = 20
	shownKeys    = 20
	maxMarks     = 256 // records of one call that are told apart
	maxShownKey  = 256 // bytes of a key
	markNotKnown = 0
)

// Costs is what the calls of a function have cost since the host was started.
//
// Calls, records and fuel are exact. Keys and records are sampled: whenever a guest has used up its slice of fuel, some
// 0.1 to 1 ms of work, the slice is put on the account of the record that it says it is working on (sdk/abi.md §1). Over many
// slices that tells the share of each key; of records, what is certain: that which lies between two such moments.
type Costs struct {
	Calls, Records uint64
	Fuel           int64 // of all calls
	RecordFuel     int64 // of those that had records
	Sampled        int64 // of it, what was put on the account of a record
	Keys           []KeyCost
	Heaviest       []RecordCost
}

// KeyCost is what the records of a partition key have cost.
type KeyCost struct {
	Key  string
	Fuel int64 // sampled
	Over int64 // by how much it may be too much, because keys with less had to make room
}

// RecordCost is what one record has cost in one call.
type RecordCost struct {
	Source     Source // First and Last are the record
	Key        string
	Fuel       int64 // at least
	Invocation string
	Version    int
	Time       time.Time
}

// marks follows which record a guest works on. The guest keeps the record's position, from 1, at an address in its memory.
type marks struct {
	at      uint32 // the address; 0: the guest does not tell
	last    uint32 // the record at the last sample
	slice   int64  // what the guest was given last
	samples []sample
}

// sample is what one record of a call was found to cost.
type sample struct {
	record     uint32 // from 1
	fuel, sure int64  // put on its account; and of that, what it certainly used
}

// locate finds out where an instance says which record it works on: of a program it is the same place for all, so the first is asked. It is
// closed after an error.
func (i *instance) locate(ctx context.Context, p *program) error {
	if i.module.ExportedFunction(abi.ExportRecord) == nil {
		return nil
	}
	at := p.record.Load()
	if at == 0 {
		var err error
		if at, err = i.ask(ctx, abi.ExportRecord); err != nil {
			i.close()
			return err
		}
		p.record.Store(at)
	}
	i.watch.marks.at = at
	return nil
}

// begin forgets the last call.
func (m *marks) begin() { m.samples, m.last = m.samples[:0], markNotKnown }

// sample puts the slice that was used up on the account of the record that the guest is working on.
func (m *marks) sample(guest api.Module) {
	if m.at == 0 {
		return
	}
	n, ok := guest.Memory().ReadUint32Le(m.at)
	same := n == m.last
	if m.last = n; !ok || n == markNotKnown {
		m.last = markNotKnown
		return
	}
	i := len(m.samples) - 1
	for i >= 0 && m.samples[i].record != n {
		i--
	}
	if i < 0 {
		if len(m.samples) == maxMarks {
			return
		}
		i = len(m.samples)
		m.samples = append(m.samples, sample{record: n})
	}
	m.samples[i].fuel += m.slice
	if same {
		m.samples[i].sure += m.slice
	}
}

// costs collects a function's.
type costs struct {
	mu       sync.Mutex
	total    Costs // without Keys and Heaviest
	keys     map[string]*KeyCost
	heaviest []RecordCost // the heaviest first
}

func newCosts() *costs { return &costs{keys: map[string]*KeyCost{}} }

// add takes a call in, unless it is a trial. The samples are by position in call.Records.
func (c *costs) add(call *Call, reply *Reply, samples []sample) {
	if call.Trial != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total.Calls++
	n := call.records()
	c.total.Records += uint64(n)
	c.total.Fuel += reply.Fuel
	if n > 0 {
		c.total.RecordFuel += reply.Fuel
	}
	if len(samples) == 0 {
		return
	}
	slices.SortFunc(samples, func(a, b sample) int { return cmp.Compare(a.record, b.record) })
	at := uint32(0)
	for _, run := range call.Records {
		for r := range run.All() {
			if len(samples) == 0 {
				return
			}
			if at++; at == samples[0].record {
				c.account(call, reply, r, samples[0])
				samples = samples[1:]
			}
		}
	}
}

func (c *costs) account(call *Call, reply *Reply, r record.Record, s sample) {
	c.total.Sampled += s.fuel
	key := string(r.Key[:min(len(r.Key), maxShownKey)])
	c.addKey(key, s.fuel)
	if s.sure == 0 || len(c.heaviest) == keptRecords && s.sure <= c.heaviest[keptRecords-1].Fuel {
		return
	}
	cost := RecordCost{Source: call.Source, Key: strings.ToValidUTF8(key, "\uFFFD"), Fuel: s.sure, Invocation: reply.Invocation, Version: reply.Version, Time: time.Now()}
	cost.Source.First, cost.Source.Last = r.Sequence, r.Sequence
	c.heaviest = slices.DeleteFunc(c.heaviest, func(has RecordCost) bool { // the record was called before, and failed
		return has.Source == cost.Source && has.Key == cost.Key && has.Fuel <= cost.Fuel && r.Sequence != 0
	})
	at, _ := slices.BinarySearchFunc(c.heaviest, cost.Fuel, func(has RecordCost, fuel int64) int { return cmp.Compare(fuel, has.Fuel) })
	c.heaviest = slices.Insert(c.heaviest, at, cost)
	c.heaviest = c.heaviest[:min(len(c.heaviest), keptRecords)]
}

// addKey counts a key. When there are too many, the one with the least makes room, and its count stays as what the new one may
// have too much (the space-saving algorithm: Metwally, Agrawal, El Abbadi, 2005): a key with a large share is never lost.
func (c *costs) addKey(key string, fuel int64) {
	if k := c.keys[key]; k != nil {
		k.Fuel += fuel
		return
	}
	k := &KeyCost{Key: key, Fuel: fuel}
	if len(c.keys) == keptKeys {
		var least *KeyCost
		for _, has := range c.keys {
			if least == nil || has.Fuel < least.Fuel {
				least = has
			}
		}
		k.Fuel, k.Over = k.Fuel+least.Fuel, least.Fuel
		delete(c.keys, least.Key)
	}
	c.keys[key] = k
}

func (c *costs) report() Costs {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.total
	out.Heaviest = slices.Clone(c.heaviest)
	for _, k := range c.keys {
		k := *k
		k.Key = strings.ToValidUTF8(k.Key, "\uFFFD")
		out.Keys = append(out.Keys, k)
	}
	slices.SortFunc(out.Keys, func(a, b KeyCost) int { return cmp.Or(cmp.Compare(b.Fuel, a.Fuel), strings.Compare(a.Key, b.Key)) })
	out.Keys = out.Keys[:min(len(out.Keys), shownKeys)]
	return out
}

// Costs tells what the calls of a function have cost. Errors: ErrNotFound, ErrClosed.
func (rt *Runtime) Costs(name string) (Costs, error) {
	f, err := rt.function("costs", name)
	if err != nil {
		return Costs{}, err
	}
	return f.costs.report(), nil
}
