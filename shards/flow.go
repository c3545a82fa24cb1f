package shards

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// What a shard takes under LimitsAWS, in a second, and at most at once.
const (
	limitBytes   = 1 << 20 // of keys and data
	limitRecords = 1000
)

// flow is what goes into one open shard. It stays with the shard from shape to shape.
type flow struct {
	bucket bucket

	// Of streams that are on demand, counted when records have been acknowledged:
	records atomic.Uint64
	bytes   atomic.Uint64 // encoded
	samples samples
	watch   watch // the scaler's own
}

// bucket holds what a shard may still take: it fills at the rate of the limits, up to a second's worth.
type bucket struct {
	mu             sync.Mutex
	filled         time.Time
	bytes, records float64
}

// take takes records out of the bucket, all of them or none. A put that is all or nothing, and a record that is larger than the
// bucket, may leave it in debt: else it could never be put.
func (b *bucket) take(now time.Time, records, bytes int, whole bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.filled).Seconds(); b.filled.IsZero() {
		b.filled, b.bytes, b.records = now, limitBytes, limitRecords
	} else if passed > 0 {
		b.filled = now
		b.bytes = min(b.bytes+passed*limitBytes, limitBytes)
		b.records = min(b.records+passed*limitRecords, limitRecords)
	}
	needBytes, needRecords := float64(bytes), float64(records)
	if whole { // something has to be there
		needBytes, needRecords = 1, 1
	}
	if b.records < needRecords || b.bytes < min(needBytes, limitBytes) {
		return false
	}
	b.bytes -= float64(bytes)
	b.records -= float64(records)
	return true
}

// back returns what was taken and not put.
func (b *bucket) back(records, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes += float64(bytes)
	b.records += float64(records)
}

// limit is the slot of a valid record that is put by itself, noShard when its shard is over its limits, with the result that it has
// until it is stored.
func (sh *shape) limit(slot int, r *record.Record, now time.Time, s *staging) (int, Result) {
	if sh.flows[slot].bucket.take(now, 1, len(r.Key)+len(r.Data), false) {
		return slot, Result{}
	}
	s.throttled++
	return noShard, Result{Shard: sh.def.Shards[slot].ID, Err: ErrThrottled}
}

// admit takes all staged parts out of their shards' buckets, or none: a put that is all or nothing.
func (sh *shape) admit(s *staging, now time.Time) error {
	for i := range s.parts {
		if p := &s.parts[i]; !sh.flows[s.touched[i]].bucket.take(now, p.Records.Len(), p.Records.Size(), true) {
			for j := range i {
				p := &s.parts[j]
				sh.flows[s.touched[j]].bucket.back(p.Records.Len(), p.Records.Size())
			}
			return ErrThrottled
		}
	}
	return nil
}

// giveBack puts the staged parts back into their shards' buckets: they were taken out, as a whole or one by one, and not put.
func (sh *shape) giveBack(s *staging, whole bool) {
	for i := range s.parts {
		p := &s.parts[i]
		bytes := p.Records.Size()
		if !whole {
			bytes = 0
			for r := range p.Records.All() {
				bytes += len(r.Key) + len(r.Data)
			}
		}
		sh.flows[s.touched[i]].bucket.back(p.Records.Len(), bytes)
	}
}

// observe counts what was put, and samples hash keys of it.
func (sh *shape) observe(s *staging) {
	for i := range s.parts {
		p := &s.parts[i]
		f := sh.flows[s.touched[i]]
		n := uint64(p.Records.Len())
		f.bytes.Add(uint64(p.Records.Size()))
		if now := f.records.Add(n); now/sampleEvery != (now-n)/sampleEvery {
			first := p.Records.First()
			f.samples.add(&first)
		}
	}
}

const (
	sampleEvery = 8   // records
	sampleSize  = 512 // hash keys that are kept
)

// samples are hash keys of records that were put lately.
type samples struct {
	mu   sync.Mutex
	keys []Hash // a ring
	at   int
}

// add notes the hash key of a record, unless others are just doing the same.
func (s *samples) add(r *record.Record) {
	var h Hash
	if r.ExplicitHash != nil {
		h = hashOf(r.ExplicitHash)
	} else {
		h = HashKey(r.Key)
	}
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make([]Hash, 0, sampleSize)
	}
	if len(s.keys) < sampleSize {
		s.keys = append(s.keys, h)
		return
	}
	s.keys[s.at] = h
	s.at = (s.at + 1) % sampleSize
}

// take is the samples since the last take, in any order.
func (s *samples) take() []Hash {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.keys
	s.keys, s.at = nil, 0
	return keys
}
