package api

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shardmill/shardmill/internal/aggregate"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// readQuery is the query of a read of records.
type readQuery struct {
	Shard  string `query:"shard" example:"shardId-000000000003" doc:"The shard to read; left out, all shards."`
	From   string `query:"from" default:"oldest" doc:"Where to begin: oldest, newest, a sequence number (with shard), or a time in RFC 3339 form."`
	Limit  int    `query:"limit" minimum:"0" doc:"The most records to answer; 0 or left out is without limit."`
	Follow bool   `query:"follow" doc:"Go on with records as they arrive, until the client ends it, the stream is deleted, or the shard that was named has been closed and read to its end."`
	Apart  bool   `query:"deaggregate" doc:"Answer the user records of KPL-aggregated records, each with its subSequenceNumber, in place of the aggregates. limit counts them."`
}

// shardRead is one shard being read.
type shardRead struct {
	id     shards.ShardID
	name   string
	reader *shards.Reader
	end    uint64 // the sequence number that a read without follow stops before
	run    record.Run
	head   record.Record // the first of run, where run is not empty
}

// readRecords is GET /v1/streams/{name}/records.
func (c *call) readRecords(q *readQuery) error {
	if q.Limit < 0 {
		return invalidField("limit", strconv.Itoa(q.Limit), "0 or more records")
	}
	f, err := c.newFeed()
	if err != nil {
		return err
	}
	st, err := c.streams.Stream(c.name())
	if err != nil {
		return err
	}
	d, err := c.streams.Describe(c.context(), c.name())
	if err != nil {
		return err
	}
	chosen, start, err := c.chosen(&d, q)
	if err != nil {
		return err
	}
	r := &recordFeed{feed: f, left: q.Limit, limited: q.Limit > 0, alone: q.Shard != ""}
	if q.Apart {
		r.aggregates = new(aggregate.Reader)
	}
	var over []shards.ShardDescription
	if q.Follow && q.Shard == "" {
		chosen, over = first(chosen, start.Kind)
	}
	reads := make([]*shardRead, len(chosen))
	for i, s := range chosen {
		if reads[i], err = openRead(st, s.ID, start); err != nil {
			return renameField(err, "from")
		}
		reads[i].end = s.Next
	}
	switch {
	case q.Follow && q.Shard == "":
		if start.Kind == shards.Newest { // what comes from now on includes all of a shard that comes from now on
			start = shards.Start{}
		}
		open := func(id shards.ShardID) (*shardRead, error) { return openRead(st, id, start) }
		return r.follow(c, st, reads, over, open)
	case q.Follow:
		return r.follow(c, st, reads, nil, nil)
	}
	return r.merge(reads)
}

// first are the shards that a follow of a whole stream begins with; the others
// wait until their parents have been read to the end. From the newest record on
// these are the open ones, and those that are closed are over.
func first(all []shards.ShardDescription, from shards.StartKind) (begin, over []shards.ShardDescription) {
	there := map[shards.ShardID]bool{}
	for _, s := range all {
		there[s.ID] = true
	}
	for _, s := range all {
		waits := slices.ContainsFunc(s.Parents, func(p shards.ShardID) bool { return there[p] })
		switch {
		case from == shards.Newest && s.State == shards.ShardClosed:
			over = append(over, s)
		case from == shards.Newest || !waits:
			begin = append(begin, s)
		}
	}
	return begin, over
}

// openRead opens a reader of a shard.
func openRead(st *shards.Stream, id shards.ShardID, start shards.Start) (*shardRead, error) {
	reader, err := st.Reader(id, start)
	if err != nil {
		return nil, err
	}
	return &shardRead{id: id, name: id.String(), reader: reader}, nil
}

// chosen are the shards that are asked for, and where to begin in them.
func (c *call) chosen(d *shards.Description, q *readQuery) ([]shards.ShardDescription, shards.Start, error) {
	list := d.Shards
	if q.Shard != "" {
		id, err := shards.ParseShardID(q.Shard)
		if err != nil {
			return nil, shards.Start{}, err
		}
		i := slices.IndexFunc(list, func(s shards.ShardDescription) bool { return s.ID == id })
		if i < 0 {
			return nil, shards.Start{}, unknownShard(d.Name, q.Shard)
		}
		list = list[i : i+1]
	}
	from, err := shortFrom(q.From, d.ID, list)
	if err != nil {
		return nil, shards.Start{}, err
	}
	q.From = from
	start, err := c.startOf(q, list)
	return list, start, err
}

func unknownShard(stream, shard string) *Problem {
	p := problem(KindShardNotFound, "").because("Stream "+stream+" has no shard "+quote(shard)+".", "GET /v1/streams/"+stream+" lists its shards.")
	p.Field, p.Value, p.Limit = "shard", cut(shard), "a shard of the stream"
	return p
}

// renameField gives an engine's refusal of a value the name that the value has
// on the wire.
func renameField(err error, field string) error {
	if p := refusal(err); p != nil {
		p.Field = field
		return p
	}
	return err
}

// lastEventID is the header of a client of server-sent events that comes back.
var lastEventID = header{"Last-Event-ID", "The id of the last event received: where one shard is read, and the event was of it, reading goes on behind that record."}

// startOf reads the from parameter. A browser that connects again says with
// Last-Event-ID which record it had last; that counts where one shard is read and
// the record was of it.
func (c *call) startOf(q *readQuery, list []shards.ShardDescription) (shards.Start, error) {
	if len(list) != 1 {
		return parseStart(q.From, false)
	}
	if shard, number, _ := strings.Cut(c.r.Header.Get(lastEventID.name), ":"); shard == list[0].ID.String() {
		if sequence, err := strconv.ParseUint(number, 10, 64); err == nil {
			return shards.Start{Kind: shards.AfterSequence, Sequence: sequence}, nil
		}
	}
	return parseStart(q.From, true)
}

// parseStart reads where to begin. A sequence number has a meaning in one shard only.
func parseStart(from string, oneShard bool) (shards.Start, error) {
	switch from {
	case "", "oldest":
		return shards.Start{Kind: shards.Oldest}, nil
	case "newest":
		return shards.Start{Kind: shards.Newest}, nil
	}
	if sequence, err := strconv.ParseUint(from, 10, 64); err == nil && from[0] != '+' || isLong(from) {
		if !oneShard || err != nil {
			return shards.Start{}, invalidField("from", from, "oldest, newest or a time where no shard is named; a sequence number belongs to one shard")
		}
		return shards.Start{Kind: shards.AtSequence, Sequence: sequence}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, from)
	if err != nil {
		return shards.Start{}, invalidField("from", from, "oldest, newest, a sequence number, or a time such as 2026-11-21T03:45:00Z (with + escaped as %2B)")
	}
	return shards.Start{Kind: shards.AtTime, Time: at}, nil
}

// recordFeed writes records until its limit.
type recordFeed struct {
	feed    *feed
	left    int
	limited bool
	alone   bool // one shard was named: its failure can be the whole answer's

	aggregates *aggregate.Reader // takes aggregates apart; nil when they are answered as they are stored
}

// write adds a stored record, or the user records in it, and tells whether the limit is reached.
func (r *recordFeed) write(shard string, rec *record.Record) (full bool, err error) {
	if r.aggregates == nil || !r.aggregates.Split(rec.Data) {
		return r.line(shard, rec, whole)
	}
	user := *rec
	last := r.aggregates.Len() - 1
	for u, more := r.aggregates.Next(); more && !full && err == nil; u, more = r.aggregates.Next() {
		user.Key, user.Data = u.Key, u.Data
		full, err = r.line(shard, &user, userPart{index: u.Index, last: u.Index == last})
	}
	return full, err
}

// line adds one record and tells whether the limit is reached.
func (r *recordFeed) line(shard string, rec *record.Record, of userPart) (full bool, err error) {
	if err := r.feed.record(shard, rec, of); err != nil {
		return true, err
	}
	if r.limited {
		r.left--
	}
	return r.limited && r.left == 0, nil
}

// fail tells that a shard cannot be read on: as the answer's status where that
// can still be said and the shard is all there is, else as a line.
func (r *recordFeed) fail(shard string, err error) error {
	if r.alone && !r.feed.begun && len(r.feed.buf) == 0 {
		return err
	}
	return r.feed.value("problem", &Record{Shard: shard, Problem: problemOf(err)})
}

// ended is a context that has ended: with it a reader gives what is stored and
// does not wait for more.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// merge answers what was stored when the read began, the shards merged by
// arrival. Memory is one run of records per shard.
func (r *recordFeed) merge(reads []*shardRead) error {
	var queue readQueue
	for _, s := range reads {
		switch ok, err := s.next(); {
		case err != nil:
			if err := r.fail(s.name, err); err != nil {
				return err
			}
		case ok:
			queue = append(queue, s)
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		s := queue[0]
		if full, err := r.write(s.name, &s.head); full || err != nil {
			return errors.Join(err, r.feed.write())
		}
		switch ok, err := s.next(); {
		case err != nil:
			heap.Pop(&queue)
			if err := r.fail(s.name, err); err != nil {
				return err
			}
		case ok:
			heap.Fix(&queue, 0)
		default:
			heap.Pop(&queue)
		}
	}
	return r.feed.write()
}

// next moves to the shard's next record before end and tells whether there is one.
func (s *shardRead) next() (bool, error) {
	if s.run.Len() > 0 {
		_, s.run = s.run.Split(1)
	}
	if s.run.Len() == 0 {
		if s.reader.Position() >= s.end {
			return false, nil
		}
		run, err := s.reader.Next(ended)
		if errors.Is(err, context.Canceled) || errors.Is(err, shards.ErrShardEnd) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		s.run = run
	}
	s.head = s.run.First()
	return s.head.Sequence < s.end, nil
}

// readQueue is a heap of shards by the arrival of their next record.
type readQueue []*shardRead

func (q readQueue) Len() int { return len(q) }
func (q readQueue) Less(i, j int) bool { // of one moment: parents, whose numbers are lower, before children
	return cmp.Or(cmp.Compare(q[i].head.Arrival, q[j].head.Arrival), cmp.Compare(q[i].id, q[j].id)) < 0
}
func (q readQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *readQueue) Push(x any)   { *q = append(*q, x.(*shardRead)) }
func (q *readQueue) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	*q = (*q)[:last]
	return x
}

// pump writes what comes from a channel, and sends it on whenever the channel
// has nothing more at hand. It ends when write says that it is enough, when the
// channel is closed, or when ctx ends, which is no error: a follow has no other
// end.
func pump[T any](ctx context.Context, f *feed, values <-chan T, write func(T) (full bool, err error)) error {
	alive := time.NewTicker(keepAlive)
	defer alive.Stop()
	if err := f.flush(); err != nil {
		return err
	}
	for {
		var v T
		var open bool
		select {
		case v, open = <-values:
		default:
			if len(f.buf) > 0 {
				if err := f.flush(); err != nil {
					return err
				}
			}
			select {
			case v, open = <-values:
			case <-alive.C:
				if err := f.alive(); err != nil {
					return err
				}
				continue
			case <-ctx.Done():
				return f.flush()
			}
		}
		if !open {
			return f.flush()
		}
		if full, err := write(v); full || err != nil {
			return errors.Join(err, f.flush())
		}
	}
}
