package triggers

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

const (
	// maxDealt is how many bytes of records may wait in all lanes of a shard, those under way included. The reader waits at it.
	maxDealt = 2 * maxPayload
	// batchCost is what a batch that waits counts for, in bytes, beside its records.
	batchCost = 512
	// maxLead is how many records may be dealt behind the first that is not settled: what a crash can deliver again at most, in lanes that
	// are ahead of a slow one.
	maxLead = 1 << 20
)

// fan deals the records of a shard out to lanes, by partition key: the lanes run side by side, and the records of a key, which are all in
// one lane, come in order. The position that is settled is that below the lowest record that some lane has in hand.
//
// Beside the poller's goroutine, which deals, a lane has one while records wait for it or are under way.
type fan struct {
	p       *poller
	running sync.WaitGroup // the lanes' goroutines

	mu     sync.Mutex
	lanes  []*queue          // those that are dealt to, and then those for parked keys
	dealt  int               // how many are dealt to
	parked map[string]*queue // by key
	upto   place             // everything below has been dealt or needs no handling
	hurry  bool              // batch windows are over: the lanes are to become idle
	before *ahead            // what an earlier checkpoint had above its position; nil = nothing
	stored bool              // aggregates are dealt as they are stored
	eased  chan struct{}     // has a token after something was settled
}

// queue is a lane and what waits for it. The fan's lock guards everything but the lane.
type queue struct {
	lane    lane
	waiting []*batch // all but the last are full
	free    []*batch
	low     place // the lowest record that is not settled; zero = none
	held    int   // bytes that wait
	busy    int   // bytes under way
	running bool
	wake    chan struct{} // has a token after something was dealt

	key string // the key that is parked here; "" = none
}

func newFan(p *poller, lanes int, isolate bool) *fan {
	f := &fan{p: p, dealt: lanes, eased: make(chan struct{}, 1), stored: p.feed.stored, upto: p.reached()}
	if p.feed.empty() {
		f.stored = p.stored(p.r.settings.Load(), p.next)
	}
	if a := p.feed.ahead; a != nil && a.aggregated == f.stored {
		f.before = a
	}
	if isolate {
		f.parked = map[string]*queue{}
		lanes += maxParked
	}
	for i := range lanes {
		f.lanes = append(f.lanes, &queue{lane: lane{p: p, number: i, called: p.lane.called}, wake: make(chan struct{}, 1)})
	}
	return f
}

// begin has the checkpoint say where the lanes begin, where that is within an aggregate and their calls are numbered: what they put is ahead of no
// checkpoint that tells of other lanes.
func (f *fan) begin(work context.Context) error {
	if f.upto.inside == 0 || !f.p.r.settings.Load().ExactlyOnce {
		return nil
	}
	f.mu.Lock()
	m := f.mark()
	f.mu.Unlock()
	if err := f.p.saver.settle(work, m); err != nil {
		return err
	}
	return f.p.saver.wait()
}

// signal puts a token into a channel that holds one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// deal reads and deals until there is an error or the mapping has another number of lanes; then it returns nil when the lanes are idle.
func (f *fan) deal(read, work context.Context) error {
	for {
		if f.p.feed.empty() {
			if err := f.p.read(read); err != nil {
				return err
			}
		}
		s := f.p.r.settings.Load()
		if !f.suits(s) {
			return f.drain(read)
		}
		if err := f.wait(read, f.roomy); err != nil {
			return err
		}
		if err := f.share(read, work, s); err != nil {
			return err
		}
	}
}

// suits says whether the settings still want this fan, for what is in the feed.
func (f *fan) suits(s *settings) bool {
	return f.p.lanes(s) == f.dealt && s.isolates() == (f.parked != nil) && f.p.feed.stored == f.stored
}

// share deals what the feed has, as far as there is room.
func (f *fan) share(read, work context.Context, s *settings) error {
	feed := &f.p.feed
	f.mu.Lock()
	for n := 0; ; n++ {
		r, ok := feed.peek()
		if !ok || n%64 == 63 && !f.roomy() {
			break
		}
		if feed.skips(r, s.filter) {
			continue
		}
		f.of(r.Key).add(r, feed.index, &s.limits)
		feed.polled++
		feed.advance()
	}
	if at := f.p.reached(); at.after(f.upto) {
		f.upto = at
	}
	m := f.mark()
	for _, q := range f.lanes {
		if len(q.waiting) == 0 {
			continue
		}
		if signal(q.wake); !q.running {
			q.running = true
			f.running.Go(func() { f.serve(read, work, q) })
		}
	}
	f.mu.Unlock()
	polled, filtered := feed.counted()
	f.p.progress.read(polled, filtered, feed.rest.First().Arrival)
	return f.p.saver.settle(work, m)
}

// ahead is the state of a checkpoint at the position: what lanes have settled above it. nil when that is nothing. The lock must be held.
func (f *fan) ahead(position uint64) []byte {
	switch {
	case f.before != nil && f.before.upto.after(f.upto):
		return f.passing()
	case f.upto == place{position + 1, 0}:
		return nil
	}
	a := ahead{aggregated: f.stored, upto: f.upto, parked: map[string]place{}}
	for _, q := range f.lanes[:f.dealt] {
		a.low = append(a.low, q.low)
	}
	for key, q := range f.parked {
		a.parked[key] = q.low
	}
	return a.encode()
}

// passing is ahead while the reader is still passing over what an earlier checkpoint had above its position. What the lanes have settled since then
// is added to it, if it is of the same lanes; else it stays as it is.
func (f *fan) passing() []byte {
	if len(f.before.low) != f.dealt || len(f.before.parked) > 0 || f.parked != nil {
		return f.before.blob
	}
	a := ahead{aggregated: f.stored, upto: f.before.upto}
	for i, q := range f.lanes {
		low := f.before.low[i]
		switch {
		case q.low != place{}:
			low = q.low
		case low != place{} && f.upto.after(low): // all that was dealt is settled
			low = f.upto
		}
		a.low = append(a.low, low)
	}
	return a.encode()
}

// mark is what a checkpoint is to have. The lock must be held.
func (f *fan) mark() mark {
	position := f.position()
	f.p.generation.Add(1)
	return f.p.markOf(position, f.ahead(position))
}

// of is the lane of a key. The lock must be held.
func (f *fan) of(key []byte) *queue {
	if len(f.parked) > 0 {
		if q := f.parked[string(key)]; q != nil {
			return q
		}
	}
	return f.lanes[keyHash(key)%uint64(f.dealt)]
}

// add puts a record, the user record of a number, behind what waits for a lane.
func (q *queue) add(r *record.Record, inside uint32, l *limits) {
	n := len(q.waiting)
	if n == 0 || !q.waiting[n-1].room(r, l) {
		b := new(batch)
		if free := len(q.free); free > 0 {
			b, q.free = q.free[free-1], q.free[:free-1]
		}
		q.waiting = append(q.waiting, b)
		q.held += batchCost
		n++
	}
	size := l.sizeOf(r)
	q.held += size
	q.waiting[n-1].add(r, size)
	q.waiting[n-1].note(inside)
	if q.low == (place{}) {
		q.low = place{r.Sequence, inside}
	}
}

// roomy says whether more may be dealt. The lock must be held.
func (f *fan) roomy() bool {
	bytes := 0
	for _, q := range f.lanes {
		bytes += q.held + q.busy
	}
	return bytes < maxDealt && f.upto.sequence-f.lowest() < maxLead
}

// lowest is the first stored record of which something is not settled or not dealt. The lock must be held.
func (f *fan) lowest() uint64 {
	at := f.upto.sequence
	for _, q := range f.lanes {
		if q.low.sequence != 0 {
			at = min(at, q.low.sequence)
		}
	}
	return at
}

// position is how far everything is settled; 0 = not known. The lock must be held.
func (f *fan) position() uint64 { return max(f.lowest(), 1) - 1 }

// settled takes notice of what a lane has settled, and returns what the checkpoint is to be.
func (f *fan) settled(l *lane) mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.resolve() // together with its records, so that no checkpoint has the one without the other
	f.lanes[l.number].look()
	signal(f.eased)
	m := f.mark()
	l.owed = m.generation
	return m
}

// look notes what the lane has in hand. It is called by the lane, with the lock held.
func (q *queue) look() {
	b := &q.lane.batch
	q.busy = b.bytes
	switch {
	case b.records > 0:
		q.low = place{b.first().Sequence, b.insideOf(0)}
	case len(q.waiting) > 0:
		q.low = q.waiting[0].start
	default:
		q.low = place{}
	}
}

// wait waits until what is asked for, under the lock, is so. Meanwhile the lanes do not wait for their batches to fill.
func (f *fan) wait(read context.Context, until func() bool) error {
	for {
		f.mu.Lock()
		ok := until()
		if f.hurry = !ok; f.hurry {
			for _, q := range f.lanes {
				signal(q.wake)
			}
		}
		f.mu.Unlock()
		switch {
		case read.Err() != nil:
			return context.Cause(read)
		case ok:
			return nil
		}
		select {
		case <-f.eased:
		case <-read.Done():
		}
	}
}

// drain waits until the lanes are idle.
func (f *fan) drain(read context.Context) error {
	return f.wait(read, func() bool {
		return !slices.ContainsFunc(f.lanes, func(q *queue) bool { return q.running })
	})
}

// end waits for the lanes, whose reading has been stopped or which are idle, and lets go of everything.
func (f *fan) end() {
	f.running.Wait()
	for _, q := range f.lanes {
		q.lane.end()
		for _, b := range q.waiting {
			b.reset()
		}
		q.waiting = nil
	}
}

// serve is the goroutine of a lane: it sees batches through until none waits.
func (f *fan) serve(read, work context.Context, q *queue) {
	for f.next(read, q) {
		if err := q.lane.process(read, work); err != nil {
			// Either reading has been stopped, or the checkpoint is lost and the saver has stopped it: the poller ends, and says why.
			return
		}
	}
}

// next gives the lane its next batch. It waits for the batch window; false when nothing waits or reading has been stopped.
func (f *fan) next(read context.Context, q *queue) bool {
	for {
		f.mu.Lock()
		if len(q.waiting) == 0 || read.Err() != nil {
			if q.running = false; len(q.waiting) == 0 {
				delete(f.parked, q.key)
				q.key, q.free = "", nil
				q.lane.batch.reset() // an idle lane holds no memory
			}
			f.mu.Unlock()
			signal(f.eased)
			return false
		}
		s := f.p.r.settings.Load()
		first := q.waiting[0]
		left := time.Until(q.lane.called.Add(s.BatchWindow))
		if len(q.waiting) > 1 || left <= 0 || f.hurry || first.full(&s.limits) {
			q.waiting[0] = nil
			q.waiting = q.waiting[1:]
			q.held -= first.bytes + batchCost
			first.seal()
			q.lane.batch.reset()
			q.lane.batch, *first = *first, q.lane.batch
			q.free = append(q.free, first)
			q.busy = q.lane.batch.bytes
			f.mu.Unlock()
			f.p.progress.holding(q.lane.number, q.lane.batch.arrival)
			return true
		}
		f.mu.Unlock()
		f.p.progress.holding(q.lane.number, first.arrival)
		f.rest(read, q, left)
	}
}

// rest waits for the end of a batch window, or for more records.
func (f *fan) rest(read context.Context, q *queue, left time.Duration) {
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-q.wake:
	case <-read.Done():
	}
}
