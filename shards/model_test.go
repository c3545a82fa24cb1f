package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// The model of a stream: every record ever put, by shard. A program of steps puts, reads, lets time pass,
// saves checkpoints and restarts, and compares with the model after each of them.

// step is one step of a program. What N and M choose from depends on what there is when it runs.
type step struct {
	Do      string
	Records []record.Record
	N, M    uint64
	Text    string
}

type program struct {
	Shards    int
	Retention time.Duration
	Steps     []step
}

func drawProgram(t *rapid.T) program {
	kinds := rapid.SampledFrom([]string{"put", "put", "put run", "put once", "start", "read", "read all", "wait", "checkpoint", "restart",
		"split", "split", "merge", "resize"})
	one := rapid.Custom(func(t *rapid.T) step {
		s := step{Do: kinds.Draw(t, "do"), N: rapid.Uint64().Draw(t, "n"), M: rapid.Uint64().Draw(t, "m")}
		switch s.Do {
		case "put", "put run", "put once":
			s.Records = drawRecords(t)
		case "checkpoint":
			s.Text = rapid.StringN(0, 10, -1).Draw(t, "state")
		}
		return s
	})
	return program{
		Shards:    rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "shards"),
		Retention: rapid.SampledFrom([]time.Duration{time.Hour, 25 * time.Hour}).Draw(t, "retention"),
		Steps:     rapid.SliceOfN(one, 1, 40).Draw(t, "steps"),
	}
}

// TestStreamAgainstModel runs programs on both logs, in fake time. One bubble runs them all, because the
// journal keeps channels in pools, and rapid stays outside, because its deadlines are in real time.
func TestStreamAgainstModel(t *testing.T) {
	logs := map[string]func(*rig) openLog{
		"memory":  func(r *rig) openLog { return r.disk.open },
		"journal": func(*rig) openLog { return openSmallJournal },
	}
	for name, open := range logs {
		t.Run(name, func(t *testing.T) {
			programs, outcomes := make(chan program), make(chan error)
			var bubble sync.WaitGroup
			bubble.Go(func() {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					r.logs = open(r)
					r.reopen(t)
					for p := range programs {
						outcomes <- run(t, r, p)
					}
				})
			})
			defer bubble.Wait()
			defer close(programs)
			rapid.Check(t, func(t *rapid.T) {
				programs <- drawProgram(t)
				if err := <-outcomes; err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// openSmallJournal is an openLog with segments so small that trimming has something to drop.
func openSmallJournal(ctx context.Context, dir string, d *definition) (Log, error) {
	j, err := journal.Open(ctx, journal.Options{
		Dir: dir, Name: d.Name, Shards: d.journalShards(), Sizes: journal.SegmentSizing{Segment: 2 << 10, First: 4 << 10},
	})
	if err != nil {
		return nil, err
	}
	return embedded{j}, nil
}

// machine is a stream and its model.
type machine struct {
	r       *rig
	st      *Stream
	records map[ShardID][]modelRecord
	epochs  map[ShardID]uint32
	last    map[Hash]uint64 // the newest sequence number of each hash key
	readers []*modelReader
	saved   map[ShardID]Checkpoint
	once    uint64 // puts of the producer
}

type modelRecord struct {
	key, data []byte
	arrival   time.Time
}

// modelReader is a reader and where it should be: an index in its shard's records.
type modelReader struct {
	*Reader
	id      ShardID
	at      int
	trimmed uint64
}

// run runs a program on a stream of its own.
func run(t *testing.T, r *rig, p program) error {
	m := &machine{
		r: r, st: r.create(t, Config{Name: "s", Shards: p.Shards, Retention: p.Retention, MaxRecordBytes: 1024}),
		records: make(map[ShardID][]modelRecord), epochs: make(map[ShardID]uint32), last: make(map[Hash]uint64),
		saved: make(map[ShardID]Checkpoint),
	}
	m.learn()
	for i, s := range p.Steps {
		err := m.step(t, s)
		if err == nil {
			err = m.check()
		}
		if err != nil {
			return errors.Join(fmt.Errorf("step %d, %s: %w", i, s.Do, err), r.Delete(context.Background(), "s"))
		}
	}
	return r.Delete(context.Background(), "s")
}

func (m *machine) step(t *testing.T, s step) error {
	shards := m.st.Shards()
	id := shards[s.N%uint64(len(shards))]
	switch s.Do {
	case "put", "put run":
		return m.put(s.Records, s.Do == "put run")
	case "put once":
		return m.putOnce(s.Records, s.M%3 == 0)
	case "start":
		return m.start(id, StartKind(s.M%5), s.M/5)
	case "read", "read all":
		if len(m.readers) == 0 {
			return nil
		}
		return m.read(m.readers[s.N%uint64(len(m.readers))], s.Do == "read all")
	case "wait":
		time.Sleep(time.Duration([]int{1, 59, 60, 61, 300, 1500}[s.N%6]) * time.Minute)
		synctest.Wait() // for the trimmer
		return nil
	case "split", "merge", "resize":
		return m.reshard(s)
	case "checkpoint":
		return m.checkpoint(id, s.M%uint64(len(m.records[id])+1), s.Text)
	}
	return m.restart(t)
}

func (m *machine) put(records []record.Record, asRun bool) (err error) {
	var results []Result
	if asRun {
		var b record.Builder
		for _, r := range records {
			if err := b.Append(r); err != nil {
				return err
			}
		}
		results, err = m.st.PutRun(context.Background(), b.Run(), []Result{})
	} else {
		results, err = m.st.Put(context.Background(), records, nil)
	}
	if err != nil || len(results) != len(records) {
		return fmt.Errorf("%d results of %d records, %w", len(results), len(records), err)
	}
	for i, r := range records {
		res := results[i]
		if res.Err != nil {
			continue
		}
		want := routeSlowly(m.st, r)
		m.records[want] = append(m.records[want], modelRecord{r.Key, r.Data, time.Now()})
		if n := len(m.records[want]); res.Shard != want || res.Sequence != m.seq(want, n) {
			return fmt.Errorf("record %d got %+v as the %d. of %v", i, res, n, want)
		}
		h := HashKey(r.Key)
		if r.ExplicitHash != nil {
			h = hashOf(r.ExplicitHash)
		}
		if res.Sequence <= m.last[h] {
			return fmt.Errorf("record %d got %d after %d of the same key", i, res.Sequence, m.last[h])
		}
		m.last[h] = res.Sequence
	}
	return nil
}

// putOnce puts the records that are valid, or puts again what was put before, which must do nothing.
func (m *machine) putOnce(records []record.Record, again bool) error {
	var b record.Builder
	var valid []record.Record
	for _, r := range records {
		if checkRecord(&r, 1024) == nil {
			valid = append(valid, r)
			if err := b.Append(r); err != nil {
				return err
			}
		}
	}
	if !again || m.once == 0 {
		m.once, again = m.once+1, false
	}
	put, err := m.st.PutOnce(context.Background(), b.Run(), Marker{Producer: "p", Ordinal: m.once, Note: []byte{byte(m.once)}})
	if err != nil || put == again {
		return fmt.Errorf("the %d. put once, again %v: %v, %w", m.once, again, put, err)
	}
	if got, _ := m.r.Marker("p"); got.Ordinal != m.once {
		return fmt.Errorf("the marker is %+v after the %d. put", got, m.once)
	}
	if again {
		return nil
	}
	for _, r := range valid {
		to := routeSlowly(m.st, r)
		m.records[to] = append(m.records[to], modelRecord{r.Key, r.Data, time.Now()})
		h := HashKey(r.Key)
		if r.ExplicitHash != nil {
			h = hashOf(r.ExplicitHash)
		}
		m.last[h] = m.seq(to, len(m.records[to]))
	}
	return nil
}

// seq is the sequence number of the n-th record of a shard, from 1.
func (m *machine) seq(id ShardID, n int) uint64 { return seq(m.epochs[id], uint64(n)) }

// learn notes the epochs of new shards: each is greater than its parents'.
func (m *machine) learn() {
	for _, s := range m.st.def().Shards {
		m.epochs[s.ID] = s.Epoch
	}
}

// openShards are the open shards by range.
func (m *machine) openShards() (open []shardDefinition) {
	for _, s := range m.st.def().Shards {
		if s.State == ShardOpen {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b shardDefinition) int { return a.StartHash.Compare(b.StartHash) })
	return open
}

func (m *machine) reshard(s step) error {
	ctx := context.Background()
	open := m.openShards()
	i := int(s.N % uint64(len(open)))
	var err error
	var want []hashRange
	for _, o := range open {
		want = append(want, hashRange{o.StartHash, o.EndHash})
	}
	switch {
	case s.Do == "split" && len(open) < 12:
		r := want[i]
		at := r.middle()
		if h := HashKey([]byte{byte(s.M)}); r.start.next().less(h) && h.less(r.end) {
			at = h
		}
		if !r.start.next().less(at) || !at.less(r.end) { // split to the last
			return nil
		}
		want = slices.Replace(want, i, i+1, hashRange{r.start, at.previous()}, hashRange{at, r.end})
		_, err = m.r.Split(ctx, "s", open[i].ID, at)
	case s.Do == "merge" && i+1 < len(open):
		a, b := open[i].ID, open[i+1].ID
		if s.M%2 == 0 {
			a, b = b, a
		}
		want = slices.Replace(want, i, i+2, hashRange{want[i].start, want[i+1].end})
		_, err = m.r.Merge(ctx, "s", a, b)
	case s.Do == "resize":
		n := int(s.M%9) + 1
		want = evenRanges(n)
		_, err = m.r.Resize(ctx, "s", n)
	}
	if err != nil {
		return err
	}
	m.learn()
	var got []hashRange
	for _, o := range m.openShards() {
		got = append(got, hashRange{o.StartHash, o.EndHash})
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("ranges %v, want %v", got, want)
	}
	return nil
}

// oldest is the index of the first record that is served.
func (m *machine) oldest(id ShardID) int {
	for i, r := range m.records[id] {
		if time.Since(r.arrival) <= m.st.def().retention() {
			return i
		}
	}
	return len(m.records[id])
}

// start begins a reader somewhere.
func (m *machine) start(id ShardID, kind StartKind, choice uint64) (err error) {
	n := len(m.records[id])
	r := &modelReader{id: id, at: int(choice % uint64(n+1))}
	s := Start{Kind: kind}
	switch kind {
	case Oldest:
		r.at = m.oldest(id)
	case Newest:
		r.at = n
	case AtSequence:
		s.Sequence = m.seq(id, r.at+1)
	case AfterSequence:
		s.Sequence = m.seq(id, r.at)
	case AtTime:
		s.Time = time.Now().Add(-time.Duration(choice % uint64(30*time.Hour)))
		for r.at = m.oldest(id); r.at < n && m.records[id][r.at].arrival.Before(s.Time.Truncate(time.Microsecond)); {
			r.at++
		}
	}
	if r.Reader, err = m.st.Reader(id, s); err != nil {
		return fmt.Errorf("%+v: %w", s, err)
	}
	m.readers = append(m.readers, r)
	return nil
}

// read lets a reader read one run, or all there is.
func (m *machine) read(r *modelReader, all bool) error {
	for {
		if oldest := m.oldest(r.id); r.at < oldest {
			r.trimmed += uint64(oldest - r.at)
			r.at = oldest
		}
		run, ok, err := r.TryNext()
		left := len(m.records[r.id]) - r.at
		if s, there := m.st.def().shard(r.id); (!there || s.State == ShardClosed) && left == 0 {
			var end *ShardEndError
			if !errors.As(err, &end) || ok || there && len(end.Children) == 0 {
				return fmt.Errorf("at the end of a closed shard: %v, %w", ok, err)
			}
			return nil
		}
		if err != nil || ok != (left > 0) {
			return fmt.Errorf("%v, %w with %d records left", ok, err, left)
		}
		for rec := range run.All() {
			want := m.records[r.id][r.at]
			if rec.Sequence != m.seq(r.id, r.at+1) || !bytes.Equal(rec.Key, want.key) || !bytes.Equal(rec.Data, want.data) ||
				rec.Arrival != want.arrival.UnixMicro() {
				return fmt.Errorf("read %+v, want record %d, %+v", rec, r.at, want)
			}
			r.at++
		}
		if r.Trimmed() != r.trimmed {
			return fmt.Errorf("trimmed %d, want %d", r.Trimmed(), r.trimmed)
		}
		if !ok || !all {
			return nil
		}
	}
}

func (m *machine) checkpoint(id ShardID, at uint64, state string) (err error) {
	c := Checkpoint{Consumer: "c", Shard: uint32(id), State: []byte(state), Sequence: m.seq(id, int(at)), Revision: m.saved[id].Revision}
	stale := c
	stale.Revision++
	if _, err := m.st.SaveCheckpoint(context.Background(), stale); !errors.Is(err, ErrRevision) {
		return fmt.Errorf("saved over a checkpoint of another revision: %w", err)
	}
	c.Revision, err = m.st.SaveCheckpoint(context.Background(), c)
	m.saved[id] = c
	return err
}

// restart closes the store, which ends the readers, and goes on where they were.
func (m *machine) restart(t *testing.T) (err error) {
	m.r.reopen(t)
	m.st = m.r.stream(t, m.st.Name())
	m.readers = slices.DeleteFunc(m.readers, func(r *modelReader) bool {
		_, there := m.st.def().shard(r.id)
		return !there
	})
	for _, r := range m.readers {
		if r.Reader, err = m.st.Reader(r.id, Start{Kind: AtSequence, Sequence: r.Position()}); err != nil {
			return err
		}
		r.trimmed = 0
	}
	return nil
}

// check compares what can be seen without changing anything.
func (m *machine) check() error {
	d, err := m.r.Describe(context.Background(), m.st.Name())
	if err != nil {
		return err
	}
	if _, err := newRouting(m.st.def().Shards); err != nil {
		return err
	}
	for id := range m.records {
		if s, ok := m.st.def().shard(id); m.oldest(id) < len(m.records[id]) && (!ok || s.Epoch != m.epochs[id]) {
			return fmt.Errorf("%v is gone, and has records within the retention", id)
		}
	}
	for _, s := range d.Shards {
		n := len(m.records[s.ID])
		if s.Oldest != m.seq(s.ID, m.oldest(s.ID)+1) || s.Next != m.seq(s.ID, n+1) {
			return fmt.Errorf("%v is described from %d to %d, want %d to %d", s.ID, s.Oldest, s.Next, m.oldest(s.ID)+1, n+1)
		}
		for _, parent := range s.Parents {
			if m.epochs[parent] >= s.Epoch || len(s.Parents) > 2 {
				return fmt.Errorf("%v of epoch %d has the parents %v of epoch %d", s.ID, s.Epoch, s.Parents, m.epochs[parent])
			}
		}
		if s.State == ShardClosed && (s.Last != s.Next-1 || s.Closed.IsZero()) {
			return fmt.Errorf("%v has ended: %+v", s.ID, s)
		}
		c, ok := m.st.Checkpoint("c", s.ID)
		want, wantOK := m.saved[s.ID]
		if ok != wantOK || c.Revision != want.Revision || c.Sequence != want.Sequence || !bytes.Equal(c.State, want.State) {
			return fmt.Errorf("checkpoint of %v is %+v, want %+v", s.ID, c, want)
		}
	}
	for _, r := range m.readers {
		want := time.Duration(0)
		if at := max(r.at, m.oldest(r.id)); at < len(m.records[r.id]) {
			want = time.Since(m.records[r.id][at].arrival)
		}
		if got := r.Behind(); got != want {
			return fmt.Errorf("behind by %v, want %v", got, want)
		}
	}
	return nil
}
