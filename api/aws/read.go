package aws

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// What one GetRecords returns at most.
const (
	maxGetRecords = 10000
	maxGetBytes   = 10 << 20 // data and partition keys; a record that is larger comes alone
)

const (
	// maxLargePages is how many answers of more than smallPage bytes of records may be in memory, each until its client has read it. When there
	// are as many, others get what a small one holds: clients that do not read cannot fill the memory, and hold up nobody.
	maxLargePages = 16
	smallPage     = 1 << 20
)

type getShardIteratorInput struct {
	streamRef
	ShardId                string `aws:"required;len=1..128;pattern=name"`
	ShardIteratorType      string `aws:"required;enum=AFTER_SEQUENCE_NUMBER,LATEST,AT_TIMESTAMP,AT_SEQUENCE_NUMBER,TRIM_HORIZON"`
	StartingSequenceNumber string `aws:"pattern=sequence"`
	Timestamp              *instant
	DryRun                 bool
}

type getShardIteratorOutput struct {
	ShardIterator string `json:",omitzero"`
}

func getShardIterator(c *call, in *getShardIteratorInput) (any, error) {
	st, err := c.stream(in.streamRef)
	if err != nil {
		return nil, err
	}
	shard, err := c.shardID(in.ShardId)
	if err != nil {
		return nil, err
	}
	r, err := c.reader(st, shard, position{
		kind: in.ShardIteratorType, sequence: in.StartingSequenceNumber, at: in.Timestamp, operation: "GetShardIterator",
	})
	if err != nil {
		return nil, err
	}
	if in.DryRun {
		return nil, errDryRun
	}
	return getShardIteratorOutput{iteratorAt(st, shard, r.Position()).String()}, nil
}

// iteratorAt is an iterator that is made now.
func iteratorAt(st *shards.Stream, shard shards.ShardID, at uint64) iterator {
	id, _ := ulid.ParseStrict(st.ID()) // a stream that cannot be opened may have none; nothing can be read from it
	return iterator{made: time.Now(), stream: st.Name(), id: id, shard: shard, position: at}
}

// shardID reads the name of a shard of the stream that the request is about.
func (c *call) shardID(s string) (shards.ShardID, error) {
	c.names.shard = s
	id, err := shards.ParseShardID(s)
	if err != nil {
		return 0, shards.ErrNoShard
	}
	return id, nil
}

// position is where GetShardIterator and SubscribeToShard begin.
type position struct {
	kind      string // an iterator's type
	sequence  string
	at        *instant // nil: none was given
	operation string   // for messages
}

// reader makes a reader at a position. Errors: those of shards, InvalidArgumentException.
func (c *call) reader(st *shards.Stream, shard shards.ShardID, p position) (*shards.Reader, error) {
	start := shards.Start{}
	switch p.kind {
	case "LATEST":
		start.Kind = shards.Newest
	case "TRIM_HORIZON":
		start.Kind = shards.Oldest
	case "AT_TIMESTAMP":
		if p.at == nil {
			return nil, invalidArgument("Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.")
		}
		if now := time.Now(); p.at.time().After(now) {
			return nil, invalidArgument("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %d, currentTimestampInMillis: %d",
				int64(*p.at), now.UnixMilli())
		}
		start.Kind, start.Time = shards.AtTime, p.at.time()
	default:
		return c.readerAtNumber(st, shard, p)
	}
	if p.sequence != "" {
		return nil, invalidArgument("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "+
			"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and also a StartingSequenceNumber.", p.kind)
	}
	return st.Reader(shard, start)
}

// readerAtNumber makes a reader at or after a sequence number. The one at the end of a closed shard is a position too.
func (c *call) readerAtNumber(st *shards.Stream, shard shards.ShardID, p position) (*shards.Reader, error) {
	if p.sequence == "" {
		return nil, invalidArgument("Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or "+
			"(2) TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified %s and no StartingSequenceNumber.", p.kind)
	}
	num, ok := sequence.Of(st.ID()).Parse(p.sequence)
	if ok && shards.ShardID(num.Shard) != shard {
		return nil, invalidArgument("Invalid StartingSequenceNumber. It encodes %v, while it was used in a call to a shard with %v", shards.ShardID(num.Shard), shard)
	}
	start := shards.Start{Kind: shards.AtSequence, Sequence: num.Sequence()}
	if p.kind == "AFTER_SEQUENCE_NUMBER" {
		start.Kind = shards.AfterSequence
	}
	if num.Counter == sequence.End {
		start = shards.Start{Kind: shards.Newest}
	}
	var r *shards.Reader
	err := error(shards.ErrInvalid)
	if ok {
		r, err = st.Reader(shard, start)
	}
	if errors.Is(err, shards.ErrInvalid) {
		return nil, invalidArgument("StartingSequenceNumber %s used in %s on shard %v in stream %s under account %s is invalid because it did not come from this stream.",
			p.sequence, p.operation, shard, c.names.stream, c.account)
	}
	return r, err
}

type getRecordsInput struct {
	ShardIterator string `aws:"required;len=1..512"`
	Limit         int    `aws:"range=1..10000"`
	StreamARN     string `aws:"len=1..2048;pattern=stream"`
	StreamId      string `aws:"len=1..24;pattern=streamid"`
	DryRun        bool
}

// page is what one GetRecords reads.
type page struct {
	runs   []record.Run
	count  int
	next   uint64        // where the next one begins
	behind time.Duration // age of the next record
	ended  bool          // the shard is closed and read to its end
	out    []byte
}

var pages = sync.Pool{New: func() any { return new(page) }}

func (p *page) release() {
	clear(p.runs)
	*p = page{runs: p.runs[:0], out: p.out[:0]}
	if cap(p.out) <= maxPutBody {
		pages.Put(p)
	}
}

func getRecords(c *call, body []byte) error {
	var in getRecordsInput
	if err := c.input(c.operation.input, body, &in); err != nil {
		return err
	}
	it, err := parseIterator(in.ShardIterator, time.Now())
	if err != nil {
		return err
	}
	st, err := c.iterated(it, streamRef{StreamARN: in.StreamARN, StreamId: in.StreamId})
	if err != nil {
		return err
	}
	r, err := st.Reader(it.shard, shards.Start{Kind: shards.AtSequence, Sequence: it.position})
	if err != nil {
		return err
	}
	if in.DryRun {
		return errDryRun
	}
	if in.Limit == 0 {
		in.Limit = maxGetRecords
	}
	if err := c.reads.admit(c, st, it.shard); err != nil {
		return err
	}
	maxBytes, done := c.pageSize()
	defer done()
	p := pages.Get().(*page)
	defer p.release()
	size, err := p.fill(r, in.Limit, maxBytes)
	c.reads.spend(st, it.shard, size)
	if err != nil {
		return err
	}
	p.out = slices.Grow(p.out, size/3*4+256*(p.count+1))
	return c.writePage(st, it.shard, p)
}

// pageSize is how many bytes of records a page may have now. The caller calls done when it has been written.
func (c *call) pageSize() (bytes int, done func()) {
	select {
	case c.largePages <- struct{}{}:
		return maxGetBytes, func() { <-c.largePages }
	default:
		return smallPage, func() {}
	}
}

// iterated is the stream of an iterator; another one under its name is none.
func (c *call) iterated(it iterator, ref streamRef) (*shards.Stream, error) {
	if ref != (streamRef{}) {
		name, err := c.streamName(ref)
		if err != nil {
			return nil, err
		}
		if name != it.stream {
			return nil, invalidArgument("The ShardIterator is of stream %s, not of stream %s.", it.stream, name)
		}
	}
	c.names.stream, c.names.shard = it.stream, it.shard.String()
	st, err := c.streams.Stream(it.stream)
	if err == nil && st.ID() != it.id.String() {
		err = shards.ErrNotFound
	}
	return st, err
}

// fill reads up to limit records and maxBytes bytes, without waiting for any, and says how many bytes of data and keys they have.
// An error that comes behind records is left for the next call.
func (p *page) fill(r *shards.Reader, limit, maxBytes int) (size int, err error) {
	p.next = r.Position()
	for p.count < limit && size < maxBytes {
		run, ok, err := r.TryNext()
		if errors.Is(err, shards.ErrShardEnd) {
			p.ended, p.next = true, r.Position()
			return size, nil
		}
		if err != nil && p.count > 0 {
			return size, nil
		}
		if err != nil {
			return size, err
		}
		if !ok {
			p.next = r.Position()
			return size, nil
		}
		if !p.take(run, limit, maxBytes, &size) {
			return size, nil
		}
		p.next, p.behind = r.Position(), 0
	}
	p.behind = r.Behind()
	return size, nil
}

// take adds what fits of a run; false when not all of it did.
func (p *page) take(run record.Run, limit, maxBytes int, size *int) bool {
	n := 0
	for rec := range run.All() {
		bytes := len(rec.Data) + len(rec.Key)
		if p.count == limit || *size+bytes > maxBytes && p.count > 0 {
			p.next, p.behind = rec.Sequence, ageOf(rec.Arrival)
			if n > 0 {
				head, _ := run.Split(n)
				p.runs = append(p.runs, head)
			}
			return false
		}
		n++
		p.count++
		*size += bytes
	}
	p.runs = append(p.runs, run)
	return true
}

// ageOf is how long ago something arrived, at least a nanosecond.
func ageOf(arrival int64) time.Duration {
	return max(time.Since(time.UnixMicro(arrival)), 1)
}

func (c *call) writePage(st *shards.Stream, shard shards.ShardID, p *page) error {
	var children []childShard
	if p.ended {
		d, err := c.streams.Describe(c.r.Context(), st.Name())
		if err != nil {
			return err
		}
		children = childrenOf(d, shard)
	}
	w := c.protocol.writer(p.out)
	w.open(3)
	writeRecords(w, st, shard, p.runs, p.count)
	if p.ended {
		w.value("ChildShards", children)
	} else {
		w.text("NextShardIterator", iteratorAt(st, shard, p.next).String())
	}
	w.integer("MillisBehindLatest", p.behind.Milliseconds())
	w.close()
	p.out = w.bytes()
	c.writeBody(200, p.out)
	return nil
}

// writeRecords writes the member Records.
func writeRecords(w writer, st *shards.Stream, shard shards.ShardID, runs []record.Run, count int) {
	numbers, kms := sequence.Of(st.ID()), isEncrypted(st)
	w.list("Records", count)
	for _, run := range runs {
		for r := range run.All() {
			keyed := string(r.Key) != autoKey
			members := 3
			if keyed {
				members++
			}
			if kms {
				members++
			}
			w.element()
			w.open(members)
			w.sequence("SequenceNumber", numbers, shard, r.Sequence)
			w.time("ApproximateArrivalTimestamp", r.Arrival/1000)
			w.blob("Data", r.Data)
			if keyed {
				w.key("PartitionKey", r.Key)
			}
			if kms {
				w.text("EncryptionType", "KMS")
			}
			w.close()
		}
	}
	w.closeList()
}
