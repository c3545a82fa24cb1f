package triggers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// behaviour is what the function does with one delivery.
type behaviour struct {
	Class    class
	Takes    time.Duration
	Retry    []int // indexes asked for again, of those the batch has
	Rejected []int
}

// modelShard is what the specification says of one shard.
type modelShard struct {
	frontier uint64  // the lowest sequence number that is neither settled nor given up
	arrivals []int64 // of all records, by counter - 1
	last     uint64  // last record of the batch in hand; 0 = none
	attempts int     // that count, on the batch in hand
	settled  uint64  // since the last start
	givenUp  uint64
	largest  int // batch size in force since the last delivery: a batch may have been begun before a change
	script   []behaviour
}

// model plays the function, and checks each delivery against what must come next.
type model struct {
	mu      sync.Mutex
	mapping Mapping       // in force
	least   time.Duration // the least maximum age there has been; 0 = none
	shards  []*modelShard
	wrong   string // the first violation
}

func (m *model) violated(format string, args ...any) {
	if m.wrong == "" {
		m.wrong = fmt.Sprintf(format, args...)
	}
}

// begin checks a delivery and returns how it is going to go.
func (m *model) begin(c runtime.Call) (behaviour, Mapping) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[c.Source.Shard]
	m.checkRecords(c)
	if m.mapping.MaxRecordAge > 0 {
		oldest := time.Now().Add(-m.mapping.MaxRecordAge).UnixMicro()
		for s.frontier <= c.Source.Last && s.arrivals[record.Counter(s.frontier)-1] < oldest {
			s.frontier++
			s.givenUp++
			s.attempts = 0
		}
	}
	n := 0
	for _, run := range c.Records {
		n += run.Len()
	}
	switch {
	case c.Source.First != s.frontier:
		m.violated("shard %d: a delivery begins at %d, the first unsettled record is %d", c.Source.Shard, c.Source.First, s.frontier)
	case s.frontier <= s.last && c.Source.Last != s.last:
		m.violated("shard %d: a batch up to %d was redelivered up to %d", c.Source.Shard, s.last, c.Source.Last)
	case s.frontier > s.last && n > s.largest:
		m.violated("shard %d: a batch of %d records, the limit is %d", c.Source.Shard, n, s.largest)
	}
	if s.frontier > s.last {
		s.attempts = 0
	}
	if c.Attempt != s.attempts+1 {
		m.violated("shard %d: a delivery is called attempt %d after %d that count", c.Source.Shard, c.Attempt, s.attempts)
	}
	s.last, s.largest = c.Source.Last, m.mapping.BatchSize
	b := behaviour{Class: replied}
	if len(s.script) > 0 {
		b, s.script = s.script[0], s.script[1:]
	}
	return b, m.mapping
}

func (m *model) checkRecords(c runtime.Call) {
	want := c.Source.First
	for _, run := range c.Records {
		for r := range run.All() {
			if r.Sequence != want || string(r.Data) != fmt.Sprint(want) {
				m.violated("shard %d: record %d holds %q where %d should be", c.Source.Shard, r.Sequence, r.Data, want)
			}
			want++
		}
	}
	if want != c.Source.Last+1 {
		m.violated("shard %d: the batch %d to %d ends before %d", c.Source.Shard, c.Source.First, c.Source.Last, want)
	}
}

// end moves the model on as the specification says.
func (m *model) end(c runtime.Call, b behaviour, retryFrom int, in Mapping) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[c.Source.Shard]
	n := int(c.Source.Last - c.Source.First + 1)
	switch {
	case b.Class == throttled || b.Class == refused:
	case b.Class == replied && retryFrom > 0:
		s.frontier += uint64(min(retryFrom, n))
		s.settled += uint64(min(retryFrom, n))
		s.attempts = 0
	default:
		if s.attempts++; in.MaxAttempts > 0 && s.attempts >= in.MaxAttempts {
			s.frontier = c.Source.Last + 1
			s.givenUp += uint64(n)
		}
	}
}

func (m *model) invoke(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
	b, in := m.begin(c)
	if !sleep(ctx, b.Takes) {
		return ctx.Err()
	}
	n := int(c.Source.Last - c.Source.First + 1)
	retryFrom := n
	if b.Class == replied {
		for i := range n {
			switch {
			case contains(b.Retry, i):
				retryFrom = min(retryFrom, i)
				_ = outcomes(runtime.ResultRetry, "later", i)(ctx, c, reply)
			case contains(b.Rejected, i):
				_ = outcomes(runtime.ResultRejected, "no", i)(ctx, c, reply)
			}
		}
	}
	m.end(c, b, retryFrom, in)
	switch b.Class {
	case failed:
		return failure("as drawn")
	case throttled:
		return runtime.ErrThrottled
	case refused:
		return runtime.ErrEmit
	}
	return nil
}

func contains(list []int, i int) bool {
	for _, x := range list {
		if x == i {
			return true
		}
	}
	return false
}

// restarted takes the frontiers back to the checkpoints, which must not be beyond them.
func (m *model) restarted(b *bench, id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, s := range m.shards {
		at := record.MakeSequence(uint32(i)+1, 0)
		if cp, ok := b.stream.Checkpoint("mapping/"+id, shards.ShardID(i)); ok {
			at = cp.Sequence
		}
		s.frontier, s.last, s.attempts, s.settled, s.givenUp = at+1, 0, 0, 0, 0
	}
}

// plan is one random run.
type plan struct {
	Mapping Mapping
	Scripts [][]behaviour // by shard
	Save    time.Duration // how long the saving of a checkpoint takes
	Company time.Duration // and waits for company before
	Steps   []step
}

// step is something that happens from outside.
type step struct {
	Kind    string        // put, wait, change, stop, kill
	Shard   int           // put
	Records int           // put
	Wait    time.Duration // wait
	Mapping Mapping       // change
}

// TestModel runs random mappings against random functions, with restarts and changes of the settings in
// between: every record is settled or given up as the settings say, in order, or still pending.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		var err error
		synctest.Test(t, func(t *testing.T) { err = p.run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

func (p *plan) run(t *testing.T) error {
	b := &bench{t: t, streams: &fakeStreams{}, table: &fakeTable{}}
	b.functions = &fakeFunctions{kinds: map[string]runtime.Kinds{"f": runtime.AllKinds}}
	b.stream = b.streams.create("s", len(p.Scripts))
	m := &model{}
	for i, script := range p.Scripts {
		m.shards = append(m.shards, &modelShard{frontier: record.MakeSequence(uint32(i)+1, 1), script: script})
	}
	m.change(p.Mapping)
	b.functions.handle = m.invoke
	b.stream.saveErr, b.stream.saveDelay, b.stream.patience = m.checkSave, p.Save, p.Company
	b.open()
	defer func() { b.close() }()
	id := b.put(func(x *Mapping) { *x = p.Mapping }).ID
	for _, s := range p.Steps {
		if err := s.do(b, m, id); err != nil {
			return err
		}
	}
	time.Sleep(6 * time.Hour)
	return m.checkEnd(b)
}

func (s *step) do(b *bench, m *model, id string) error {
	switch s.Kind {
	case "put":
		m.put(b, s.Shard, s.Records)
	case "wait":
		time.Sleep(s.Wait)
	case "change":
		synctest.Wait()
		m.change(s.Mapping)
		b.put(func(x *Mapping) { *x = s.Mapping })
	case "stop":
		b.close()
		before := m.frontiers()
		expired := m.expired()
		m.restarted(b, id)
		after := m.frontiers()
		if slices.ContainsFunc(m.numbers(), func(i int) bool { return after[i] < before[i] || after[i] > expired[i] }) {
			return fmt.Errorf("a graceful stop left the checkpoints at %d, settled was up to %d", after, before)
		}
		b.open()
	case "kill":
		now, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.Close(now)
		m.restarted(b, id)
		b.open()
	}
	return nil
}

func (m *model) change(to Mapping) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mapping = to
	if age := to.MaxRecordAge; age > 0 && (m.least == 0 || age < m.least) {
		m.least = age
	}
	for _, s := range m.shards {
		s.largest = max(s.largest, to.BatchSize)
	}
}

func (m *model) numbers() (list []int) {
	for i := range m.shards {
		list = append(list, i)
	}
	return list
}

// expired is how far the frontiers may be when what was too old has been given up, which no delivery needs to show.
func (m *model) expired() (list []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shards {
		at := s.frontier
		oldest := time.Now().Add(-m.least).UnixMicro()
		for m.least > 0 && int(record.Counter(at)) <= len(s.arrivals) && s.arrivals[record.Counter(at)-1] < oldest {
			at++
		}
		list = append(list, at)
	}
	return list
}

func (m *model) frontiers() (list []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.shards {
		list = append(list, s.frontier)
	}
	return list
}

// checkSave is asked before each save: a checkpoint never covers what is not settled or given up.
func (m *model) checkSave(cp shards.Checkpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[cp.Shard]
	at := s.frontier
	if m.mapping.MaxRecordAge > 0 { // what has expired is given up without a delivery that says so
		oldest := time.Now().Add(-m.mapping.MaxRecordAge).UnixMicro()
		for at <= cp.Sequence && s.arrivals[record.Counter(at)-1] < oldest {
			at++
		}
	}
	if cp.Sequence >= at {
		m.violated("shard %d: the checkpoint %d covers %d, which is not settled", cp.Shard, cp.Sequence, at)
	}
	return nil
}

func (m *model) checkEnd(b *bench) error {
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.wrong != "" {
		return errors.New(m.wrong)
	}
	for i, s := range m.shards {
		tip := record.MakeSequence(uint32(i)+1, uint64(len(s.arrivals)))
		for s.frontier <= tip && m.mapping.MaxRecordAge > 0 { // expired without a delivery after that
			s.frontier++
			s.givenUp++
		}
		got := b.shard(i)
		if s.frontier != tip+1 || len(s.arrivals) > 0 && got.Checkpoint != tip {
			return fmt.Errorf("shard %d: records are left behind: settled up to %d, checkpoint %d of %d; %+v", i, s.frontier-1, got.Checkpoint, tip, got)
		}
		if c := got.Counts; c.Settled != s.settled || c.GivenUp != s.givenUp {
			return fmt.Errorf("shard %d: %d settled and %d given up, want %d and %d", i, c.Settled, c.GivenUp, s.settled, s.givenUp)
		}
		if got.State != ShardRunning || got.IteratorAge != 0 || got.Attempt != 0 {
			return fmt.Errorf("shard %d: all is done, and its status is %+v", i, got)
		}
	}
	return nil
}

// put appends n records whose data are their sequence numbers.
func (m *model) put(b *bench, shard, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.shards[shard]
	var data []string
	for range n {
		s.arrivals = append(s.arrivals, time.Now().UnixMicro())
		data = append(data, fmt.Sprint(record.MakeSequence(uint32(shard)+1, uint64(len(s.arrivals)))))
	}
	b.stream.put(shard, data...)
}

func drawPlan(rt *rapid.T) plan {
	p := plan{Mapping: drawMapping(rt), Save: drawDuration(rt, "save", 2*time.Second), Company: drawDuration(rt, "company", time.Second)}
	for range rapid.IntRange(1, 3).Draw(rt, "shards") {
		p.Scripts = append(p.Scripts, drawScript(rt))
	}
	for range rapid.IntRange(1, 30).Draw(rt, "steps") {
		s := step{Kind: rapid.SampledFrom([]string{"put", "put", "put", "wait", "wait", "change", "stop", "kill"}).Draw(rt, "step")}
		switch s.Kind {
		case "put":
			s.Shard = rapid.IntRange(0, len(p.Scripts)-1).Draw(rt, "shard")
			s.Records = rapid.IntRange(1, 12).Draw(rt, "records")
		case "wait":
			s.Wait = drawDuration(rt, "wait", time.Minute)
		case "change":
			s.Mapping = drawMapping(rt)
		}
		p.Steps = append(p.Steps, s)
	}
	return p
}

func drawDuration(rt *rapid.T, label string, most time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(0, int64(most/time.Millisecond)).Draw(rt, label)) * time.Millisecond
}

func drawMapping(rt *rapid.T) Mapping {
	return Mapping{
		Name: "m", Stream: "s", Function: "f",
		BatchSize:    rapid.IntRange(1, 8).Draw(rt, "batch size"),
		BatchWindow:  rapid.SampledFrom([]time.Duration{0, 0, time.Second, 20 * time.Second}).Draw(rt, "window"),
		MaxAttempts:  rapid.IntRange(0, 4).Draw(rt, "max attempts"),
		MaxRecordAge: rapid.SampledFrom([]time.Duration{0, 0, time.Minute, 10 * time.Minute}).Draw(rt, "max age"),
	}
}

func drawScript(rt *rapid.T) []behaviour {
	indexes := rapid.SliceOfN(rapid.IntRange(0, 7), 0, 3)
	return rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) behaviour {
		return behaviour{
			Class:    rapid.SampledFrom([]class{replied, replied, failed, failed, throttled, refused}).Draw(rt, "class"),
			Takes:    drawDuration(rt, "takes", 3*time.Second),
			Retry:    indexes.Draw(rt, "retry"),
			Rejected: indexes.Draw(rt, "rejected"),
		}
	}), 0, 40).Draw(rt, "script")
}
