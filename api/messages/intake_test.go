package messages

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// discard is a stream that keeps nothing.
type discard struct{}

func (discard) Stream(string) (Stream, error) { return discard{}, nil }

func (discard) Put(_ context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error) {
	for range records {
		results = append(results, shards.Result{Sequence: 1})
	}
	return results, nil
}

// countdown is an origin that is done after so many messages.
type countdown struct {
	left int
	done chan struct{}
}

func (c *countdown) settled(*item, []shards.Result, error) {
	if c.left--; c.left == 0 {
		c.done <- struct{}{}
	}
}

// pass gives n messages to an intake and waits until they are settled.
func (c *countdown) pass(in *intake, n int) {
	one := record.Record{Key: []byte("k"), Data: []byte("d")}
	c.left = n
	for range n {
		if !in.room.TryAcquire(cost(1)) {
			panic("no room")
		}
		in.add("s", item{from: c, one: one, size: cost(1)})
	}
	<-c.done
}

// A message costs the intake nothing of its own: what is allocated is the lane's, for as long as messages wait.
func TestIntakeAllocations(t *testing.T) {
	in := newIntake(discard{})
	defer in.close(t.Context())
	c := &countdown{done: make(chan struct{}, 1)}
	const messages = 10_000
	if n := testing.AllocsPerRun(20, func() { c.pass(in, messages) }); n/messages > 0.2 {
		t.Errorf("%.3f allocations a message", n/messages)
	}
}

func BenchmarkIntake(b *testing.B) {
	in := newIntake(discard{})
	defer in.close(b.Context())
	c := &countdown{done: make(chan struct{}, 1)}
	const messages = 1000
	b.ReportAllocs()
	for b.Loop() {
		c.pass(in, messages)
	}
	b.ReportMetric(float64(b.N)*messages/b.Elapsed().Seconds(), "messages/s")
}

// told is an origin that remembers what it was told.
type told struct {
	records int
	puts    []string // shard and sequence number, or the error
}

func (o *told) settled(_ *item, results []shards.Result, err error) {
	o.records += len(results)
	if err != nil {
		o.puts = append(o.puts, err.Error())
	}
	for _, r := range results {
		if r.Err != nil {
			o.puts = append(o.puts, r.Err.Error())
			continue
		}
		o.puts = append(o.puts, strconv.FormatUint(r.Sequence, 10))
	}
}

// Whatever mixture of events and batches arrives for whatever streams: each is settled once, with the results of its own
// records, and each stream has its records in the order of the messages.
func TestIntakeProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		streams := newMemory("a", "b")
		in := newIntake(streams)
		var origins []*told
		want := map[string][]string{}
		expect := map[*told]int{}
		n := rapid.IntRange(1, 60).Draw(t, "messages")
		for i := range n {
			name := rapid.SampledFrom([]string{"a", "b", "none"}).Draw(t, "stream")
			size := rapid.IntRange(0, 3).Draw(t, "batch")
			o := &told{}
			it := item{from: o, size: cost(size)}
			var b record.Builder
			for j := range max(size, 1) {
				r := record.Record{Key: []byte(rapid.SampledFrom([]string{"k", "bad"}).Draw(t, "key")), Data: []byte(strconv.Itoa(i*10 + j))}
				if size == 0 {
					it.one = r
				} else if err := b.Append(r); err != nil {
					t.Fatal(err)
				}
				if string(r.Key) != "bad" {
					want[name] = append(want[name], string(r.Key)+"="+string(r.Data))
				}
			}
			it.batch = b.Run()
			expect[o] = max(size, 1)
			if name == "none" {
				expect[o] = 0
			}
			origins = append(origins, o)
			if err := in.room.Acquire(context.Background(), it.size); err != nil {
				t.Fatal(err)
			}
			in.add(name, it)
		}
		if err := in.close(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, o := range origins {
			if o.records != expect[o] || len(o.puts) != max(expect[o], 1) {
				t.Fatalf("a message of %d records was told of %v", expect[o], o.puts)
			}
		}
		for _, name := range []string{"a", "b"} {
			got := streams.streams[name].stored()
			if len(got) != len(want[name]) {
				t.Fatalf("%s has %v, want %v", name, got, want[name])
			}
			for i := range got {
				if got[i] != want[name][i] {
					t.Fatalf("%s has %v, want %v", name, got, want[name])
				}
			}
		}
		if !in.room.TryAcquire(maxWaiting) {
			t.Fatal("room was not given back")
		}
	})
}

func TestReasons(t *testing.T) {
	for err, want := range map[error]reason{
		nil: reasonOK, errNoRule: reasonTopicName, ErrNoKey: reasonPayload, errBadKey: reasonImplementation,
		shards.ErrThrottled: reasonQuota, errLeftover: reasonUnspecified, errors.New("odd"): reasonUnspecified,
	} {
		if got := reasonOf(err); got != want {
			t.Errorf("%v: %#x, want %#x", err, got, want)
		}
	}
}
