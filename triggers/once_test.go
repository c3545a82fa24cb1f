package triggers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// copying is a function that emits its records to some streams.
func copying(o *outlet, streams ...string) func(context.Context, runtime.Call, *runtime.Reply) error {
	return func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
		var list []emission
		for _, name := range streams {
			list = append(list, emission{name, textOf(c.Records)})
		}
		return o.emit(ctx, &c, reply, list...)
	}
}

func exactlyOnce(m *Mapping) { m.ExactlyOnce, m.BatchSize = true, 3 }

func wantEmitted(t *testing.T, o *outlet, stream string, want ...string) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if diff := cmp.Diff(want, o.stream(stream).texts); diff != "" {
		t.Errorf("%s has (-want +got)\n%s", stream, diff)
	}
}

// crashing is a mapping whose host crashes after a number of writes, while it has records 0 to 4 in batches of three.
func crashing(t *testing.T, writes int, handle func(*outlet) func(context.Context, runtime.Call, *runtime.Reply) error) *bench {
	b := newBench(t, 1)
	b.functions.handle, b.stream.saveErr = handle(b.outlet), b.outlet.checkSave
	b.stream.put(0, numbered(0, 5)...)
	b.outlet.crash(writes)
	b.put(exactlyOnce)
	time.Sleep(time.Second)
	synctest.Wait()
	return b
}

// The call that had emitted is made again with the same records, whatever the batch size is now, and emits where it had not.
func TestTheSameCallIsMadeAgain(t *testing.T) {
	for writes, first := range []int{3, 3, 3, 2, 2, 2, 2} { // none, first stream, second, checkpoint, first, …
		synctest.Test(t, func(t *testing.T) {
			b := crashing(t, writes, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error { return copying(o, "a", "b") })
			shut(b, true) // first, because the host that is crashing may still call for what is put
			b.stream.put(0, "5")
			before := len(b.functions.deliveries())
			restart(b, true)
			b.put(func(m *Mapping) { m.ExactlyOnce, m.BatchSize = true, 100 })
			time.Sleep(time.Minute)
			synctest.Wait()
			for _, stream := range []string{"a", "b"} {
				wantEmitted(t, b.outlet, stream, numbered(0, 6)...)
			}
			again := len(b.functions.deliveries()[before].Data)
			if doubtful := writes == 1 || writes == 2 || writes == 4 || writes == 5; doubtful && again != first {
				t.Errorf("crash after %d writes: a call of %d records, want %d", writes, again, first)
			}
			if s := b.shard(0); s.Counts.Settled != s.Counts.Delivered || s.Attempt != 0 || s.State != ShardRunning {
				t.Errorf("status %+v", s)
			}
		})
	}
}

// What is settled is what the outputs are for, also when the function answers in another way the second time.
func TestTheMarkerSaysWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		b := crashing(t, 1, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error {
			return func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
				texts := textOf(c.Records)
				if calls++; calls == 1 {
					reply.Outcomes = []runtime.Outcome{{Index: 2, Result: runtime.ResultRetry}}
					texts = texts[:2]
				}
				return o.emit(ctx, &c, reply, emission{"a", texts})
			}
		})
		shut(b, true)
		before := len(b.functions.deliveries())
		b.outlet.restart()
		b.open()
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", numbered(0, 5)...)
		wantData(t, b.functions.deliveries()[before:], numbered(0, 3), numbered(2, 1), numbered(3, 2))
	})
}

// What a reply emits that settles nothing is not put: it is tried again, and would be there twice.
func TestAReplyThatSettlesNothingEmitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if c.Attempt == 1 {
				reply.Outcomes = []runtime.Outcome{{Index: 0, Result: runtime.ResultRetry}}
			}
			return b.outlet.emit(ctx, &c, reply, emission{"a", textOf(c.Records)})
		}
		b.stream.put(0, "0", "1")
		b.put(exactlyOnce)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", "0", "1")
	})
}

// A call in doubt that fails for ever ends with the stream's retention, as a whole.
func TestDoubtEndsWithTheRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := crashing(t, 1, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error { return copying(o, "a", "b") })
		b.stream.retention = 24 * time.Hour
		shut(b, true)
		b.outlet.restart()
		b.functions.setHandle(func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if textOf(c.Records)[0] == "0" {
				return failure("not any more")
			}
			return nil
		})
		b.open() // after that, because it calls at once
		b.put(toFailures(exactlyOnce))
		time.Sleep(23 * time.Hour)
		if s := b.shard(0); s.State != ShardRetrying {
			t.Errorf("status %+v", s)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		got, texts := b.failures.deliveries()
		if len(got) != 1 || got[0].Reason != RecordExpired || !slices.Equal(texts[0], numbered(0, 3)) {
			t.Errorf("given up %+v with %q", got, texts)
		}
		if s := b.shard(0); s.State != ShardRunning || s.Counts.Settled != 2 || s.Counts.GivenUp != 3 {
			t.Errorf("status %+v", s)
		}
	})
}

// A call in doubt that always fails now is given up as a whole, and divided by nothing.
func TestDoubtIsNotDivided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := crashing(t, 1, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error { return copying(o, "a", "b") })
		shut(b, true)
		b.outlet.restart()
		b.functions.setHandle(func(context.Context, runtime.Call, *runtime.Reply) error { return failure("not any more") })
		b.open()
		b.put(toFailures(func(m *Mapping) {
			m.ExactlyOnce, m.Bisect, m.Isolate, m.MaxAttempts, m.MaxRecordAge = true, true, true, 2, time.Minute
		}))
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		_, texts := b.failures.deliveries()
		if len(texts) == 0 || !slices.Equal(texts[0], numbered(0, 3)) {
			t.Errorf("given up %q", texts)
		}
		wantEmitted(t, b.outlet, "a", numbered(0, 3)...)
	})
}

// After Seek outputs are put again, with new numbers; also when a call was in doubt.
func TestSeekEmitsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := crashing(t, 1, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error { return copying(o, "a") })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = b.Close(ctx)
		b.outlet.restart()
		b.functions.setHandle(func(context.Context, runtime.Call, *runtime.Reply) error { return runtime.ErrThrottled })
		b.open()
		synctest.Wait()
		b.functions.setHandle(copying(b.outlet, "a"))
		for range 2 {
			if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		wantEmitted(t, b.outlet, "a", slices.Concat(numbered(0, 3), numbered(0, 5), numbered(0, 5))...)
	})
}

// With the setting switched off and on again numbers go on.
func TestExactlyOnceIsSwitched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = copying(b.outlet, "a")
		n := 0
		for _, change := range []func(*Mapping){
			exactlyOnce, nil, exactlyOnce, func(m *Mapping) { m.Parallelization = 3 }, exactlyOnce, func(m *Mapping) { m.Isolate = true }, exactlyOnce,
		} {
			b.put(change)
			b.stream.put(0, numbered(n, 5)...)
			n += 5
			time.Sleep(time.Second)
			synctest.Wait()
			restart(b, false)
		}
		synctest.Wait()
		count := b.outlet.emitted("a")
		for i := range n {
			if count[fmt.Sprint(i)] != 1 {
				t.Errorf("%d was put %d times", i, count[fmt.Sprint(i)])
			}
		}
		m, _ := b.outlet.Marker(producer(b.id(), 0))
		s, err := parseState(b.stream.checkpoints[checkpointKey("mapping/"+b.id(), 0)].State)
		if m.Ordinal != 8 || s.calls.ordinal != 8 || err != nil {
			t.Errorf("call %d in the marker, %d in the checkpoint; %v", m.Ordinal, s.calls.ordinal, err)
		}
	})
}

// A user record of an aggregate that is settled is not handed over again.
func TestCheckpointWithinAnAggregate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = copying(b.outlet, "a")
		var users []aggregatetest.User
		for _, text := range numbered(0, 7) {
			users = append(users, aggregatetest.User{Key: "k", Data: text})
		}
		b.stream.putRecords(0, []record.Record{{Key: []byte("a"), Data: aggregatetest.Encode(users...)}})
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			if slices.Contains(textOf(c.Records), "6") {
				return runtime.ErrThrottled
			}
			return copying(b.outlet, "a")(ctx, c, reply)
		}
		b.put(exactlyOnce)
		synctest.Wait()
		before := len(b.functions.deliveries())
		restart(b, true)
		b.functions.setHandle(copying(b.outlet, "a"))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", numbered(0, 7)...)
		for _, d := range b.functions.deliveries()[before:] {
			if !slices.Equal(d.Data, []string{"6"}) {
				t.Errorf("handed over again: %q", d.Data)
			}
		}
	})
}

// Markers go with their mapping; what a crash has left of a deleted one goes at the next start.
func TestMarkersGoWithTheirMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.functions.handle = copying(b.outlet, "a")
		b.stream.put(0, "0")
		b.stream.put(1, "1")
		b.put(exactlyOnce)
		synctest.Wait()
		id := b.id()
		if got := b.outlet.Producers(emittedBy); !maps.Equal(got, map[string]bool{producer(id, 0): true, producer(id, 1): true}) {
			t.Errorf("producers %v", got)
		}
		if err := b.outlet.put(emission{"b", []string{"x"}}, true, runtime.Mark{Producer: producer("gone", 3), Ordinal: 1}); err != nil {
			t.Fatal(err)
		}
		restart(b, false)
		if got := b.outlet.Producers(emittedBy); len(got) != 2 {
			t.Errorf("producers %v after a start", got)
		}
		if err := b.Delete(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		if got := b.outlet.Producers(""); len(got) != 0 {
			t.Errorf("producers %v after the deletion", got)
		}
	})
}

func TestExactlyOnceIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.close()
		b.outlet = nil
		b.open()
		var f *field.Error
		_, _, err := b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f", ExactlyOnce: true})
		if !errors.As(err, &f) || f.Field != "exactlyOnce" {
			t.Errorf("without markers: %v", err)
		}
	})
}

// A marker that cannot be read stops the shard until the mapping is moved; one that is far ahead of the checkpoint does not.
func TestStrangeMarkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = copying(b.outlet, "a")
		b.put(exactlyOnce)
		id := b.id()
		b.close()
		mark := func(ordinal uint64, note []byte) {
			b.outlet.mu.Lock()
			defer b.outlet.mu.Unlock()
			b.outlet.stream("a").markers[producer(id, 0)] = shards.Marker{Producer: producer(id, 0), Ordinal: ordinal, Note: note}
		}
		mark(1, []byte("?"))
		b.open()
		b.stream.put(0, "0")
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := b.shard(0); s.State == ShardRunning || !strings.Contains(s.LastError, "seek") {
			t.Errorf("status %+v", s)
		}
		if _, err := b.Seek(t.Context(), "m", Target{Position: Oldest}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", "0")
		b.close()
		mark(100, nil) // the stream's own checkpoints are of a copy from before
		b.open()
		b.stream.put(0, "1")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", "0", "1")
		if m, _ := b.outlet.Marker(producer(id, 0)); m.Ordinal != 101 {
			t.Errorf("call %d", m.Ordinal)
		}
	})
}

// The records of the call in doubt have expired: it is done with, and the next call has another number.
func TestDoubtWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := crashing(t, 1, func(o *outlet) func(context.Context, runtime.Call, *runtime.Reply) error { return copying(o, "a", "b") })
		b.stream.change(0, func(s *fakeShard) { s.runs = nil })
		restart(b, true)
		b.stream.put(0, "5")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "a", "0", "1", "2", "5")
		wantEmitted(t, b.outlet, "b", "5")
		restart(b, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantEmitted(t, b.outlet, "b", "5")
	})
}

// A function that takes Lambda's event has a mark too, for what its reply settles.
func TestWhatARepliesSettles(t *testing.T) {
	var w record.Builder
	for range 3 {
		if err := w.Append(record.Record{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	record.Stamp(w.Run(), record.MakeSequence(1, 1), 0)
	head := []record.Run{w.Run()}
	for name, c := range map[string]struct {
		asked asked
		reply runtime.Reply
		want  int
	}{
		"all":            {asked{request: request{head: head, n: 3, through: doorSDK}}, runtime.Reply{}, 3},
		"a part":         {asked{request: request{head: head, n: 3, through: doorSDK}}, runtime.Reply{Outcomes: []runtime.Outcome{{Index: 1, Result: runtime.ResultRetry}}}, 1},
		"nothing":        {asked{request: request{head: head, n: 3, through: doorSDK}}, runtime.Reply{Outcomes: []runtime.Outcome{{Index: 0, Result: runtime.ResultRetry}}}, 0},
		"a window":       {asked{request: request{final: true, through: doorSDK}}, runtime.Reply{}, 1},
		"event":          {asked{request: request{head: head, n: 3, through: doorLambda}, items: true}, runtime.Reply{Body: []byte(`{"batchItemFailures":[]}`)}, 3},
		"event, nothing": {asked{request: request{head: head, n: 3, through: doorLambda}, items: true}, runtime.Reply{Body: []byte(`no JSON`)}, 0},
		"event, unknown": {asked{request: request{head: head, n: 3, through: doorLambda}, items: true}, runtime.Reply{Body: []byte(`{"batchItemFailures":[{"itemIdentifier":"7"}]}`)}, 0},
	} {
		if got := c.asked.settles(&c.reply); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Whatever bytes a checkpoint has, they are a state that is written the same, or refused.
func FuzzState(f *testing.F) {
	var w window
	w.open(time.Hour.Microseconds(), time.Minute)
	w.keep([]byte("state"))
	lanes := ahead{upto: place{9, 1}, low: []place{{}, {7, 0}}, parked: map[string]place{"k": {5, 0}}}
	for _, inner := range [][]byte{nil, w.blob, lanes.encode(), both(w.blob, lanes.encode()), both(w.blob, nil)} {
		f.Add(inner)
		f.Add((&calls{ordinal: 7, inside: 3}).wrap(inner))
		f.Add((&calls{ordinal: 7, lanes: [MaxParallelization]uint64{0, 5}}).wrap(inner))
	}
	f.Add([]byte{callsFormat})
	f.Fuzz(func(t *testing.T, blob []byte) {
		s, err := parseState(blob)
		if err != nil || !s.calls.used() {
			return
		}
		var above []byte
		if s.ahead != nil {
			above = s.ahead.blob
		}
		inner := both(s.window.blob, above)
		back, err := parseState(s.calls.wrap(inner))
		if err != nil || back.calls != s.calls || !bytes.Equal(back.window.blob, s.window.blob) ||
			(back.ahead == nil) != (s.ahead == nil) || s.ahead != nil && !bytes.Equal(back.ahead.blob, above) {
			t.Errorf("%v: %+v became %+v", err, s, back)
		}
	})
}

// Whatever bytes a marker has, they are a note that is written the same, or refused.
func FuzzMarker(f *testing.F) {
	f.Add((&doubt{last: place{7, 1}, settles: place{7, 0}}).note())
	f.Add((&doubt{closing: true}).note())
	f.Add((&doubt{last: place{7, 1}, settles: place{7, 0}, lane: 0, lanes: 3, stored: true}).note())
	f.Add(make([]byte, noteSize))
	f.Fuzz(func(t *testing.T, note []byte) {
		for _, lane := range []int{noLane, 0, 9} {
			d, err := parseMarker(shards.Marker{Note: note}, lane)
			if err != nil {
				continue
			}
			back, err := parseMarker(shards.Marker{Note: d.note()}, lane)
			if err != nil || !reflect.DeepEqual(back, d) && !bytes.Equal(note, d.note()) {
				t.Errorf("%v: %+v became %+v", err, d, back)
			}
		}
	})
}
