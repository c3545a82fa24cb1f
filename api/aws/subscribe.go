package aws

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// pace is what a subscription keeps to.
type pace struct {
	life      time.Duration // how long it lasts
	heartbeat time.Duration // the longest time without an event
	takeOver  time.Duration // how old it is when another one of its consumer may take its place
	unread    time.Duration // the longest time that a client may leave an event unread
	// settle is how long the first byte of the answer waits. The Go SDK (smithy-go v1.28.8) closes the request's body when it has the
	// head of the answer; where that comes within microseconds, as it does on one machine, its transport may still be reading the body, takes
	// this for a failure and closes the connection under the events.
	settle time.Duration
}

var defaultPace = pace{
	life: 5 * time.Minute, heartbeat: 4 * time.Second, takeOver: 5 * time.Second, unread: 30 * time.Second, settle: 5 * time.Millisecond,
}

type subscribeInput struct {
	ConsumerARN      string        `aws:"required;len=1..2048;pattern=consumer"`
	ShardId          string        `aws:"required;len=1..128;pattern=name"`
	StartingPosition startPosition `aws:"required"`
	StreamId         string        `aws:"len=1..24;pattern=streamid"`
	DryRun           bool
}

type startPosition struct {
	Type           string `aws:"required;enum=AFTER_SEQUENCE_NUMBER,LATEST,AT_TIMESTAMP,AT_SEQUENCE_NUMBER,TRIM_HORIZON"`
	SequenceNumber string `aws:"pattern=sequence"`
	Timestamp      *instant
}

// subscriptions are those that are active: one per consumer and shard.
type subscriptions struct {
	pace pace
	hub  hub

	mu     sync.Mutex
	active map[subscriptionKey]*subscription
}

type subscriptionKey struct {
	shardKey
	consumer string
}

func newSubscriptions() *subscriptions {
	return &subscriptions{
		pace: defaultPace, hub: hub{pumps: make(map[shardKey]*pump)},
		active: make(map[subscriptionKey]*subscription),
	}
}

// errTakenOver ends a subscription whose place another one of its consumer has taken.
var errTakenOver = faultf(codeInUse, "Another active subscription exists for this consumer: it has taken over.")

// begin makes a subscription the active one of its consumer and shard. Error: ResourceInUseException when there is a young one.
func (s *subscriptions) begin(key subscriptionKey, cancel context.CancelCauseFunc) (*subscription, error) {
	mine := &subscription{key: key, since: time.Now(), cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.active[key]; other != nil {
		if mine.since.Sub(other.since) < s.pace.takeOver {
			return nil, faultf(codeInUse, "Another active subscription exists for this consumer: it was made less than 5 seconds ago.")
		}
		other.cancel(errTakenOver)
	}
	s.active[key] = mine
	return mine, nil
}

// finish forgets a subscription that has ended.
func (s *subscriptions) finish(mine *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[mine.key] == mine {
		delete(s.active, mine.key)
	}
}

// end ends the subscriptions of a consumer that has been deregistered.
func (s *subscriptions) end(stream, consumer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sub := range s.active {
		if key.stream == stream && key.consumer == consumer {
			sub.cancel(shards.ErrNoConsumer)
		}
	}
}

// subscription is a SubscribeToShard that is being answered.
type subscription struct {
	key    subscriptionKey
	since  time.Time
	cancel context.CancelCauseFunc

	call     *call
	enc      encoder
	reader   *shards.Reader // while it reads for itself
	pump     *pump          // while it is at the tail
	position uint64         // the next record to send
	buffer   []byte         // of what it encodes for itself
	budget   *bucket        // under shards.LimitsAWS
	beat     *time.Timer
}

func subscribeToShard(c *call, body []byte) error {
	var in subscribeInput
	if err := c.input(c.operation.input, body, &in); err != nil {
		return err
	}
	ref := consumerRef{ConsumerARN: in.ConsumerARN, StreamId: in.StreamId}
	d, con, err := c.registered(ref)
	if err != nil {
		return err
	}
	st, err := c.streams.Stream(d.Name)
	if err != nil {
		return err
	}
	shard, err := c.shardID(in.ShardId)
	if err != nil {
		return err
	}
	p := in.StartingPosition
	reader, err := c.reader(st, shard, position{p.Type, p.SequenceNumber, p.Timestamp, "SubscribeToShard"})
	if err != nil {
		return err
	}
	if in.DryRun {
		return errDryRun
	}
	ctx, release := c.untilStop(c.r.Context())
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s, err := c.activate(subscriptionKey{shardKey{st.ID(), shard}, con.Name}, ref, cancel)
	if err != nil {
		return err
	}
	defer c.subscriptions.finish(s)
	s.call, s.enc = c, encoder{st, shard, c.streams.Describe}
	s.reader, s.position = reader, reader.Position()
	select {
	case <-ctx.Done():
	case <-time.After(c.subscriptions.pace.settle):
	}
	s.serve(ctx)
	return nil
}

// activate makes a subscription the active one. Whoever deregisters a consumer ends the subscriptions that are active by then: one that comes
// too late for that finds that there is no such consumer any more.
func (c *call) activate(key subscriptionKey, ref consumerRef, cancel context.CancelCauseFunc) (*subscription, error) {
	s, err := c.subscriptions.begin(key, cancel)
	if err != nil {
		return nil, err
	}
	if _, _, err := c.registered(ref); err != nil {
		c.subscriptions.finish(s)
		return nil, err
	}
	return s, nil
}

// serve answers until the subscription ends, and says in the stream why it did when that is an error.
func (s *subscription) serve(ctx context.Context) {
	pace := s.call.subscriptions.pace
	ctx, cancel := context.WithTimeout(ctx, pace.life)
	defer cancel()
	freed := make(chan struct{})
	free := context.AfterFunc(ctx, func() { // a write that waits for the client does not outlast the subscription
		defer close(freed)
		_ = s.call.control.SetWriteDeadline(time.Now().Add(time.Second))
	})
	defer func() {
		if !free() {
			<-freed
		}
		_ = s.call.control.SetWriteDeadline(time.Time{})
	}()
	header := s.call.w.Header()
	header.Set("Content-Type", typeEventStream)
	header.Set("Cache-Control", "no-cache")
	s.call.begun = true
	s.call.w.WriteHeader(http.StatusOK)
	s.beat = time.NewTimer(pace.heartbeat)
	defer s.beat.Stop()
	defer s.leave()
	err := s.write(event{frame: initialFrame()})
	if err == nil {
		err = s.follow(ctx)
	}
	if f := s.verdict(ctx, err); f != nil {
		s.call.code = f.code
		_ = s.write(event{frame: faultFrame(f)}) // a client that has gone does not want to know
	}
}

// verdict is what the stream ends with, nil for a plain end: the shard's, the five minutes', the client's, the host's.
func (s *subscription) verdict(ctx context.Context, err error) *fault {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, errStopping) {
			return nil
		}
	} else if errors.Is(err, errUnread) {
		return nil
	}
	f := s.call.faultOf(err)
	if f.status >= http.StatusInternalServerError {
		s.call.logger.Error("subscription failed", "stream", s.enc.st.Name(), "shard", s.enc.shard, "consumer", s.key.consumer, "error", err)
	}
	return f
}

// follow sends events until the shard ends. It reads for itself until it is at the tail, and there takes what the pump has.
func (s *subscription) follow(ctx context.Context) error {
	for until := uint64(0); ; {
		if s.reader != nil {
			ended, err := s.catchUp(ctx, until)
			if ended || err != nil {
				return err
			}
			s.reader = nil
		}
		if s.pump == nil {
			p, err := s.call.subscriptions.hub.attach(s.enc.st, s.enc.shard, s.enc.describe)
			if err != nil {
				return err
			}
			s.pump = p
		}
		a := s.pump.at(s.position)
		switch {
		case a.err != nil:
			return a.err
		case a.event != nil:
			if err := s.send(ctx, *a.event); err != nil || a.event.last {
				return err
			}
		case a.changed != nil:
			if err := s.wait(ctx, a.changed, 0); err != nil {
				return err
			}
		default:
			s.leave()
			until = a.until
			r, err := s.enc.st.Reader(s.enc.shard, shards.Start{Kind: shards.AtSequence, Sequence: s.position})
			if err != nil {
				return err
			}
			s.reader = r
		}
	}
}

// leave detaches from the pump.
func (s *subscription) leave() {
	if s.pump != nil {
		s.call.subscriptions.hub.detach(s.pump)
		s.pump = nil
	}
}

// catchUp reads and sends up to a sequence number, or with 0 until there is nothing more; ended says that the shard has.
func (s *subscription) catchUp(ctx context.Context, until uint64) (ended bool, err error) {
	for until == 0 || s.position < until {
		run, ok, err := s.reader.TryNext()
		if errors.Is(err, shards.ErrShardEnd) {
			last, err := s.enc.end(ctx, s.position)
			if err == nil {
				err = s.send(ctx, last)
			}
			return true, err
		}
		if err != nil {
			return false, err
		}
		if !ok {
			s.position = s.reader.Position()
			return false, nil
		}
		behind := s.reader.Behind()
		for run.Len() > 0 {
			var part record.Run
			part, run = cutEvent(run)
			if first := part.First().Sequence; until != 0 && first+uint64(part.Len()) > until {
				if first >= until { // nothing that is still there comes before
					s.position = until
					return false, nil
				}
				part, _ = part.Split(int(until - first))
				run = record.Run{}
			}
			e := s.enc.encode(s.buffer, part, max(behind, restBehind(run)))
			s.buffer = e.frame
			if err := s.send(ctx, e); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// restBehind is how old the first record of a rest is.
func restBehind(rest record.Run) time.Duration {
	if rest.Len() == 0 {
		return 0
	}
	return ageOf(rest.First().Arrival)
}

// wait waits for a change, and sends a sign of life when it takes long. That says how old the record is that comes next, which arrived at
// arrival, in µs; 0: there is none yet.
func (s *subscription) wait(ctx context.Context, changed <-chan struct{}, arrival int64) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
		return nil
	case <-s.beat.C:
		behind := time.Duration(0)
		if arrival != 0 {
			behind = ageOf(arrival)
		}
		return s.write(s.enc.empty(s.position, behind))
	}
}

// send sends an event, within what the consumer may have.
func (s *subscription) send(ctx context.Context, e event) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if s.enc.st.Limits() == shards.LimitsAWS {
		if err := s.ration(ctx, &e); err != nil {
			return err
		}
	}
	if err := s.write(e); err != nil {
		return err
	}
	s.position = e.next
	return nil
}

// ration waits until a consumer may have more, and takes the bytes of an event.
func (s *subscription) ration(ctx context.Context, e *event) error {
	now := time.Now()
	if s.budget == nil {
		s.budget = &bucket{bytes: readBytes, at: now}
	}
	s.budget.refill(now)
	for s.budget.bytes <= 0 {
		enough := make(chan struct{})
		wait := time.AfterFunc(time.Duration(-s.budget.bytes/readBytes*float64(time.Second))+time.Millisecond, func() { close(enough) })
		err := s.wait(ctx, enough, e.arrival)
		wait.Stop()
		if err != nil {
			return err
		}
		s.budget.refill(time.Now())
	}
	s.budget.bytes -= float64(e.size)
	return nil
}

// errUnread is a client that has gone, or does not read.
var errUnread = errors.New("the client does not read")

// write sends a frame at once.
func (s *subscription) write(e event) error {
	pace := s.call.subscriptions.pace
	_ = s.call.control.SetWriteDeadline(time.Now().Add(pace.unread))
	if _, err := s.call.w.Write(e.frame); err != nil {
		return errUnread
	}
	if err := s.call.control.Flush(); err != nil {
		return errUnread
	}
	if s.beat != nil {
		s.beat.Reset(pace.heartbeat)
	}
	return nil
}
