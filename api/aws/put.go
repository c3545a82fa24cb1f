package aws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

const (
	// maxPutBytes is the most that data and partition keys of one PutRecords may come to.
	maxPutBytes = 10 << 20
	// maxPutRecords is the most records of one PutRecords.
	maxPutRecords = 500
	// maxDataBytes is the most data of a record that the model allows; streams have limits of their own below it.
	maxDataBytes = 10 << 20
)

// putRecordsRequestEntry is a record as it comes in. Its name is the model's: messages show it.
type putRecordsRequestEntry struct {
	Data            []byte `aws:"required;len=0..10485760"`
	ExplicitHashKey string `aws:"pattern=hash"`
	PartitionKey    string `aws:"len=1..256"` // only a stream with the distribution strategy AUTO can do without
}

type putRecordsInput struct {
	Records []putRecordsRequestEntry `aws:"required;len=1..500"`
	streamRef
	DryRun bool
}

type putRecordInput struct {
	streamRef
	putRecordsRequestEntry
	SequenceNumberForOrdering string `aws:"pattern=sequence"`
	DryRun                    bool
}

// putRequest is a PutRecords, or a PutRecord as one of one record, on its way. It is used again: what it holds points into the
// request's body.
type putRequest struct {
	ref      streamRef
	dryRun   bool
	ordering string          // SequenceNumberForOrdering
	records  []record.Record // Key nil: none was given
	hashes   [][record.HashSize]byte
	results  []shards.Result
	scratch  []byte // unescaped text of JSON
	blobs    []byte // data decoded from base64
	out      []byte
}

var putRequests = sync.Pool{New: func() any { return new(putRequest) }}

func (p *putRequest) release() {
	clear(p.records)
	*p = putRequest{
		records: p.records[:0], hashes: p.hashes[:0], results: p.results[:0],
		scratch: p.scratch[:0], blobs: p.blobs[:0], out: p.out[:0],
	}
	if cap(p.blobs) <= maxKeptBody && cap(p.scratch) <= maxKeptBody && cap(p.out) <= maxKeptBody {
		putRequests.Put(p)
	}
}

// reset forgets what a decoder has read.
func (p *putRequest) reset() {
	p.ref, p.dryRun, p.ordering = streamRef{}, false, ""
	p.records, p.hashes, p.scratch, p.blobs = p.records[:0], p.hashes[:0], p.scratch[:0], p.blobs[:0]
}

// setHash gives the newest record its explicit hash key.
func (p *putRequest) setHash(h shards.Hash) {
	p.hashes = append(p.hashes, h.Bytes())
	p.records[len(p.records)-1].ExplicitHash = p.hashes[len(p.hashes)-1][:]
}

// add takes a record that was decoded the slow way.
func (p *putRequest) add(e *putRecordsRequestEntry) error {
	r := record.Record{Data: e.Data}
	if e.PartitionKey != "" {
		r.Key = []byte(e.PartitionKey)
	}
	p.records = append(p.records, r)
	if e.ExplicitHashKey == "" {
		return nil
	}
	h, err := shards.ParseHash(e.ExplicitHashKey)
	if err != nil {
		return invalidArgument("Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was %s", e.ExplicitHashKey)
	}
	p.setHash(h)
	return nil
}

// readPutRecords decodes and checks a PutRecords. Nearly all are read by a decoder that knows their form and nothing else; those that it
// does not understand, be it because something is wrong with them, are read like any other request, so that errors are the same.
func (c *call) readPutRecords(body []byte, p *putRequest) error {
	if c.protocol.readPut(body, p, true) && p.fits(c.operation.input) {
		return nil
	}
	p.reset()
	var in putRecordsInput
	if err := c.input(c.operation.input, body, &in); err != nil {
		return err
	}
	p.ref, p.dryRun = in.streamRef, in.DryRun
	for i := range in.Records {
		if err := p.add(&in.Records[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) readPutRecord(body []byte, p *putRequest) error {
	if c.protocol.readPut(body, p, false) && p.fits(c.operation.input) {
		return nil
	}
	p.reset()
	var in putRecordInput
	if err := c.input(c.operation.input, body, &in); err != nil {
		return err
	}
	p.ref, p.dryRun, p.ordering = in.streamRef, in.DryRun, in.SequenceNumberForOrdering
	return p.add(&in.putRecordsRequestEntry)
}

// fits says whether what the fast decoder took satisfies the model: it checks records itself, and leaves the names to this.
func (p *putRequest) fits(s *shape) bool {
	for i := range s.members {
		m := &s.members[i]
		value := ""
		switch m.name {
		case "StreamName":
			value = p.ref.StreamName
		case "StreamARN":
			value = p.ref.StreamARN
		case "SequenceNumberForOrdering":
			value = p.ordering
		}
		if value != "" && len(m.broken(value)) > 0 {
			return false
		}
	}
	return true
}

func putRecords(c *call, body []byte) error {
	p := putRequests.Get().(*putRequest)
	defer p.release()
	if err := c.readPutRecords(body, p); err != nil {
		return err
	}
	st, err := c.put(p)
	if err != nil {
		return err
	}
	failed := 0
	for i := range p.results {
		if p.results[i].Err != nil {
			failed++
		}
	}
	kms := isEncrypted(st)
	w := c.protocol.writer(p.out)
	w.open(2 + count(kms))
	w.integer("FailedRecordCount", int64(failed))
	w.list("Records", len(p.results))
	numbers := sequence.Of(st.ID())
	for i := range p.results {
		c.writeResult(w, numbers, &p.results[i])
	}
	w.closeList()
	if kms {
		w.text("EncryptionType", "KMS")
	}
	w.close()
	p.out = w.bytes()
	c.writeBody(200, p.out)
	return nil
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// writeResult writes what became of one record.
func (c *call) writeResult(w writer, numbers sequence.Numbering, r *shards.Result) {
	w.element()
	w.open(2)
	switch {
	case r.Err == nil:
		w.sequence("SequenceNumber", numbers, r.Shard, r.Sequence)
		w.shard("ShardId", r.Shard)
	case errors.Is(r.Err, shards.ErrThrottled):
		w.text("ErrorCode", codeThrottled)
		w.text("ErrorMessage", c.rateMessage(r.Shard.String()))
	default:
		w.text("ErrorCode", "InternalFailure")
		w.text("ErrorMessage", "Internal Service Failure")
	}
	w.close()
}

func putRecord(c *call, body []byte) error {
	p := putRequests.Get().(*putRequest)
	defer p.release()
	if err := c.readPutRecord(body, p); err != nil {
		return err
	}
	st, err := c.put(p)
	if err != nil {
		return err
	}
	r := &p.results[0]
	if r.Err != nil {
		c.names.shard = r.Shard.String()
		return r.Err
	}
	kms := isEncrypted(st)
	w := c.protocol.writer(p.out)
	w.open(2 + count(kms))
	w.sequence("SequenceNumber", sequence.Of(st.ID()), r.Shard, r.Sequence)
	w.shard("ShardId", r.Shard)
	if kms {
		w.text("EncryptionType", "KMS")
	}
	w.close()
	p.out = w.bytes()
	c.writeBody(200, p.out)
	return nil
}

// put checks the records against their stream and puts them.
func (c *call) put(p *putRequest) (*shards.Stream, error) {
	st, err := c.stream(p.ref)
	if err != nil {
		return nil, err
	}
	if err := p.check(c, st); err != nil {
		return nil, err
	}
	if p.dryRun {
		return nil, errDryRun
	}
	p.results, err = st.Put(c.r.Context(), p.records, p.results[:0])
	return st, err
}

// check refuses records that the stream does not take: nothing of the request is put then.
func (p *putRequest) check(c *call, st *shards.Stream) error {
	var wrong violations
	most, total := st.MaxRecordBytes(), 0
	for i := range p.records {
		r := &p.records[i]
		if r.Key == nil {
			if !isAuto(st) {
				wrong.add("null", p.path(c, i, "partitionKey"), notNull)
			}
			p.distribute(r)
		}
		size := len(r.Data) + len(r.Key)
		if size > most {
			subject := "Member"
			if len(r.Data) <= most {
				subject = "Member and partition key together"
			}
			wrong.add(fmt.Sprintf("'java.nio.HeapByteBuffer[pos=0 lim=%[1]d cap=%[1]d]'", len(r.Data)), p.path(c, i, "data"),
				fmt.Sprintf("%s must have length less than or equal to %d", subject, most))
		}
		total += size
	}
	if err := wrong.err(); err != nil {
		return err
	}
	if total > maxPutBytes {
		return invalidArgument("Records size exceeds 10 MB limit")
	}
	if p.ordering != "" {
		return p.checkOrdering(c, st)
	}
	return nil
}

// path is a member of a record as messages name it.
func (p *putRequest) path(c *call, i int, member string) string {
	if c.operation.name == "PutRecord" {
		return member
	}
	return "records." + strconv.Itoa(i+1) + ".member." + member
}

// checkOrdering refuses a SequenceNumberForOrdering that the stream has not given out: the number of the record that is put could
// not be above it.
func (p *putRequest) checkOrdering(c *call, st *shards.Stream) error {
	num, ok := sequence.Of(st.ID()).Parse(p.ordering)
	if ok {
		_, err := st.Reader(shards.ShardID(num.Shard), shards.Start{Kind: shards.AfterSequence, Sequence: num.Sequence()})
		ok = err == nil
	}
	if !ok {
		return invalidArgument("ExclusiveMinimumSequenceNumber %s used in PutRecord on stream %s under account %s is invalid.",
			p.ordering, c.names.stream, c.account)
	}
	return nil
}

// autoKey is the partition key under which records are kept that came without one, to a stream with the distribution strategy
// AUTO. Readers get those without a partition key again.
const autoKey = "\x7fauto\x7f"

// distribute gives a record without a partition key a shard by chance, unless it has an explicit hash key.
func (p *putRequest) distribute(r *record.Record) {
	r.Key = []byte(autoKey)
	if r.ExplicitHash == nil {
		var h [record.HashSize]byte
		binary.LittleEndian.PutUint64(h[:], rand.Uint64())
		binary.LittleEndian.PutUint64(h[8:], rand.Uint64())
		r.ExplicitHash = h[:]
	}
}
