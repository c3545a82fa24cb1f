package aws

import (
	"sync"
	"time"

	"github.com/shardmill/shardmill/shards"
)

// What one shard gives under shards.LimitsAWS. (What it takes is package shards' concern.)
const (
	readCalls = 5       // GetRecords a second
	readBytes = 2 << 20 // a second; also of each registered consumer
	// forgetReads is after how long without calls a shard's bucket is full again and can go: one call of 10 MiB takes five
	// seconds of what comes.
	forgetReads = 10 * time.Second
)

// readLimits are the token buckets of GetRecords. Shards without limits have none.
type readLimits struct {
	mu      sync.Mutex
	buckets map[shardKey]*bucket
	swept   time.Time
}

// shardKey names a shard for good: a stream that is made anew has another ID.
type shardKey struct {
	stream string // ID
	shard  shards.ShardID
}

// bucket is what a shard may still give. Bytes may be below 0: how many a call takes is known behind it only.
type bucket struct {
	calls, bytes float64
	at           time.Time // when these were right
}

func newReadLimits() *readLimits { return &readLimits{buckets: make(map[shardKey]*bucket)} }

// refill adds what came since the last call.
func (b *bucket) refill(now time.Time) {
	passed := max(now.Sub(b.at).Seconds(), 0)
	b.calls = min(b.calls+passed*readCalls, readCalls)
	b.bytes = min(b.bytes+passed*readBytes, readBytes)
	b.at = now
}

// admit takes one call from a shard. Error: ProvisionedThroughputExceededException.
func (l *readLimits) admit(c *call, st *shards.Stream, shard shards.ShardID) error {
	if st.Limits() != shards.LimitsAWS {
		return nil
	}
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep(now)
	key := shardKey{st.ID(), shard}
	b := l.buckets[key]
	if b == nil {
		b = &bucket{calls: readCalls, bytes: readBytes, at: now}
		l.buckets[key] = b
	}
	b.refill(now)
	if b.calls < 1 || b.bytes <= 0 {
		return faultf(codeThrottled, "%s", c.rateMessage(shard.String()))
	}
	b.calls--
	return nil
}

// spend takes the bytes of a call.
func (l *readLimits) spend(st *shards.Stream, shard shards.ShardID, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[shardKey{st.ID(), shard}]; b != nil {
		b.bytes -= float64(bytes)
	}
}

// sweep forgets shards that nobody reads any more, now and then.
func (l *readLimits) sweep(now time.Time) {
	if now.Sub(l.swept) < forgetReads {
		return
	}
	l.swept = now
	for key, b := range l.buckets {
		if now.Sub(b.at) > forgetReads {
			delete(l.buckets, key)
		}
	}
}
