package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards/journal"
)

// The conformance suite of Log: what every implementation must do, whatever it is made of. testLog runs it.

// logShards are the shards that the suite works on.
var logShards = []journal.Shard{{ID: 0, Epoch: 1}, {ID: 1, Epoch: 1}, {ID: 7, Epoch: 3}}

// logUnderTest is one log, open.
type logUnderTest struct {
	Log
	reopen func() Log // closes it and opens it anew
}

// testLog runs the suite. prepare gives, for each test, a function that opens one and the same log with the
// given shards; it is called again only after Close.
func testLog(t *testing.T, prepare func(t *testing.T, shards []journal.Shard) (open func() Log)) {
	for name, test := range map[string]func(*testing.T, *logUnderTest){
		"append numbers records":                testAppendNumbers,
		"read returns what was appended":        testReadExact,
		"append copies":                         testAppendCopies,
		"append is all or nothing":              testAppendUnknownShard,
		"concurrent appends":                    testAppendConcurrent,
		"read from the middle and seek":         testReadFrom,
		"next waits":                            testNextWaits,
		"try next does not":                     testTryNext,
		"next ends with its context":            testNextContext,
		"close ends what is under way":          testLogClose,
		"bounds":                                testLogBounds,
		"sequence at a time":                    testSequenceAt,
		"trim":                                  testTrim,
		"checkpoints by compare and set":        testLogCheckpoints,
		"what is acknowledged survives a close": testLogReopen,
		"what is put once":                      testAppendOnce,
		"no damage":                             testNoDamage,
		"shards are added":                      testAddShards,
		"sealed shards take nothing":            testSeal,
		"a seal waits for what is under way":    testSealWaits,
		"ended shards end":                      testEnd,
		"forgotten shards are gone":             testForget,
	} {
		t.Run(name, func(t *testing.T) {
			open := prepare(t, logShards)
			l := &logUnderTest{Log: open()}
			l.reopen = func() Log {
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
				l.Log = open()
				return l.Log
			}
			test(t, l)
			if err := l.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

func seq(epoch uint32, counter uint64) uint64 { return record.MakeSequence(epoch, counter) }

// runOf encodes records whose data are the texts given, with the key "key".
func runOf(t testing.TB, texts ...string) record.Run {
	t.Helper()
	var b record.Builder
	for _, text := range texts {
		if err := b.Append(record.Record{Key: []byte("key"), Data: []byte(text)}); err != nil {
			t.Fatal(err)
		}
	}
	return b.Run()
}

func mustAppend(t testing.TB, l Log, shard uint32, texts ...string) journal.Part {
	t.Helper()
	parts := []journal.Part{{Shard: shard, Records: runOf(t, texts...)}}
	if err := l.Append(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	return parts[0]
}

func logReader(t testing.TB, l Log, shard uint32, from uint64) LogReader {
	t.Helper()
	r, err := l.Reader(shard, from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readLog reads n records.
func readLog(t testing.TB, r LogReader, n int) (records []record.Record) {
	t.Helper()
	for len(records) < n {
		run, err := r.Next(t.Context())
		if err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), n, err)
		}
		if run.Len() == 0 {
			t.Fatal("an empty run")
		}
		for rec := range run.All() {
			records = append(records, rec)
		}
	}
	return records
}

func texts(records []record.Record) (texts []string) {
	for _, r := range records {
		texts = append(texts, string(r.Data))
	}
	return texts
}

func testAppendNumbers(t *testing.T, l *logUnderTest) {
	before := time.Now().UnixMicro()
	parts := []journal.Part{
		{Shard: 7, Records: runOf(t, "a", "b")}, {Shard: 0, Records: runOf(t, "c")},
	}
	if err := l.Append(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	if parts[0].First != seq(3, 1) || parts[1].First != seq(1, 1) {
		t.Errorf("first numbers %d and %d", parts[0].First, parts[1].First)
	}
	if now := time.Now().UnixMicro(); parts[0].Arrival < before || parts[0].Arrival > now {
		t.Errorf("arrival %d is not within %d and %d", parts[0].Arrival, before, now)
	}
	again := mustAppend(t, l, 7, "d")
	if again.First != seq(3, 3) || again.Arrival < parts[0].Arrival {
		t.Errorf("second append is at %d, %d", again.First, again.Arrival)
	}
}

func testReadExact(t *testing.T, l *logUnderTest) {
	hash := MaxHash.Bytes()
	want := []record.Record{
		{Key: []byte("k"), Data: []byte{}},
		{Key: []byte("schlüssel"), Data: []byte{0, 255, 10, 13, 0}, ExplicitHash: hash[:]},
		{Key: []byte("long"), Data: make([]byte, 3<<20)},
	}
	var b record.Builder
	for _, r := range want {
		if err := b.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	parts := []journal.Part{{Shard: 1, Records: b.Run()}}
	if err := l.Append(t.Context(), parts); err != nil {
		t.Fatal(err)
	}
	for i := range want {
		want[i].Sequence, want[i].Arrival = parts[0].First+uint64(i), parts[0].Arrival
	}
	if diff := cmp.Diff(want, readLog(t, logReader(t, l, 1, seq(1, 1)), len(want)), cmp.Comparer(bytes.Equal)); diff != "" {
		t.Error(diff)
	}
}

func testAppendCopies(t *testing.T, l *logUnderTest) {
	run := runOf(t, "before")
	if err := l.Append(t.Context(), []journal.Part{{Shard: 0, Records: run}}); err != nil {
		t.Fatal(err)
	}
	clear(run.Bytes())
	if got := texts(readLog(t, logReader(t, l, 0, 0), 1)); got[0] != "before" {
		t.Errorf("read %q", got)
	}
}

func testAppendUnknownShard(t *testing.T, l *logUnderTest) {
	err := l.Append(t.Context(), []journal.Part{{Shard: 0, Records: runOf(t, "a")}, {Shard: 99, Records: runOf(t, "b")}})
	if err == nil {
		t.Error("an append to an unknown shard succeeded")
	}
	if _, next := l.Bounds(0); next != seq(1, 1) {
		t.Errorf("half of it was stored: next is %d", next)
	}
	if _, err := l.Reader(99, 0); err == nil {
		t.Error("a reader of an unknown shard")
	}
}

func testAppendConcurrent(t *testing.T, l *logUnderTest) {
	const putters, puts = 8, 25
	var wg sync.WaitGroup
	for p := range putters {
		wg.Go(func() {
			for i := range puts {
				parts := []journal.Part{
					{Shard: 0, Records: runOf(t, fmt.Sprint(p, ":", i, "a"), fmt.Sprint(p, ":", i, "b"))},
					{Shard: 1, Records: runOf(t, fmt.Sprint(p, ":", i))},
				}
				if err := l.Append(context.Background(), parts); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	records := readLog(t, logReader(t, l, 0, 0), 2*putters*puts)
	seen := make(map[byte]int) // by putter, the puts seen
	for i, r := range records {
		if r.Sequence != seq(1, uint64(i)+1) {
			t.Fatalf("record %d has the number %d", i, r.Sequence)
		}
		if i > 0 && r.Arrival < records[i-1].Arrival {
			t.Errorf("record %d arrived before the one before it", i)
		}
		p := r.Data[0]
		want := fmt.Sprintf("%c:%d%c", p, seen[p]/2, "ab"[i%2])
		if string(r.Data) != want {
			t.Fatalf("record %d is %q, want %q", i, r.Data, want)
		}
		seen[p]++
	}
}

func testReadFrom(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "1", "2", "3", "4")
	mustAppend(t, l, 1, "other")
	mustAppend(t, l, 0, "5", "6")
	for from := uint64(1); from <= 6; from++ {
		r := logReader(t, l, 0, seq(1, from))
		if got := readLog(t, r, int(7-from)); got[0].Sequence != seq(1, from) || len(got) != int(7-from) {
			t.Errorf("from %d: %q, first %d", from, texts(got), got[0].Sequence)
		}
		r.Seek(seq(1, 2))
		if got := readLog(t, r, 5); string(got[0].Data) != "2" {
			t.Errorf("after Seek: %q", texts(got))
		}
	}
}

func testNextWaits(t *testing.T, l *logUnderTest) {
	r := logReader(t, l, 0, seq(1, 1))
	got := make(chan string)
	go func() {
		run, err := r.Next(context.Background())
		got <- fmt.Sprint(string(run.First().Data), err)
	}()
	mustAppend(t, l, 1, "elsewhere")
	mustAppend(t, l, 0, "here")
	if s := <-got; s != "here<nil>" {
		t.Errorf("woken with %s", s)
	}
}

func testTryNext(t *testing.T, l *logUnderTest) {
	r := logReader(t, l, 0, seq(1, 1))
	try := func(want string, wantOK bool) {
		t.Helper()
		run, ok, err := r.TryNext()
		if ok != wantOK || err != nil || string(run.First().Data) != want {
			t.Errorf("%q, %v, %v, want %q, %v", run.First().Data, ok, err, want, wantOK)
		}
	}
	try("", false)
	mustAppend(t, l, 0, "x", "y")
	r.Seek(seq(1, 2))
	try("y", true)
	try("", false)
}

func testNextContext(t *testing.T, l *logUnderTest) {
	r := logReader(t, l, 0, seq(1, 1))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := r.Next(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	mustAppend(t, l, 0, "and it can go on")
	readLog(t, r, 1)
}

func testLogClose(t *testing.T, l *logUnderTest) {
	r := logReader(t, l, 0, seq(1, 1))
	ended := make(chan error)
	go func() {
		_, err := r.Next(context.Background())
		ended <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Next ended with %v", err)
	}
	_, readErr := r.Next(t.Context())
	_, saveErr := l.SaveCheckpoint(t.Context(), Checkpoint{Consumer: "c"})
	for what, err := range map[string]error{
		"Append": l.Append(t.Context(), []journal.Part{{Records: runOf(t, "late")}}),
		"Next":   readErr, "SaveCheckpoint": saveErr, "DeleteCheckpoints": l.DeleteCheckpoints(t.Context(), "c"),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", what, err)
		}
	}
}

func testLogBounds(t *testing.T, l *logUnderTest) {
	want := func(shard uint32, oldest, next uint64) {
		t.Helper()
		if o, n := l.Bounds(shard); o != oldest || n != next {
			t.Errorf("shard %d is from %d to %d, want %d to %d", shard, o, n, oldest, next)
		}
	}
	want(0, seq(1, 1), seq(1, 1))
	want(7, seq(3, 1), seq(3, 1))
	if at := l.LastArrival(7); at != 0 {
		t.Errorf("the last arrival of nothing is %d", at)
	}
	if p := mustAppend(t, l, 7, "a", "b"); l.LastArrival(7) != p.Arrival {
		t.Errorf("the last arrival is %d, want %d", l.LastArrival(7), p.Arrival)
	}
	want(7, seq(3, 1), seq(3, 3))
	want(0, seq(1, 1), seq(1, 1))
}

func testSequenceAt(t *testing.T, l *logUnderTest) {
	at := func(arrival int64, want uint64) {
		t.Helper()
		if got, err := l.SequenceAt(0, arrival); got != want || err != nil {
			t.Errorf("at %d: %d, %v, want %d", arrival, got, err, want)
		}
	}
	at(0, seq(1, 1))
	var parts []journal.Part
	for i := range 20 {
		parts = append(parts, mustAppend(t, l, 0, fmt.Sprint(i), fmt.Sprint(i)))
		mustAppend(t, l, 1, "between")
	}
	for i, p := range parts {
		at(p.Arrival+1, seq(1, uint64(firstAfter(parts, p.Arrival))*2+1))
		if i == 0 || parts[i-1].Arrival < p.Arrival {
			at(p.Arrival, p.First)
		}
	}
	at(0, seq(1, 1))
}

// firstAfter is the index of the first part that arrived after a time.
func firstAfter(parts []journal.Part, arrival int64) int {
	for i, p := range parts {
		if p.Arrival > arrival {
			return i
		}
	}
	return len(parts)
}

func testTrim(t *testing.T, l *logUnderTest) {
	const n = 50
	var last journal.Part
	for i := range n {
		last = mustAppend(t, l, 0, fmt.Sprint(i))
	}
	if _, err := l.Trim(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if oldest, _ := l.Bounds(0); oldest != seq(1, 1) {
		t.Errorf("a trim of nothing moved the oldest to %d", oldest)
	}
	if _, err := l.Trim(t.Context(), last.Arrival); err != nil {
		t.Fatal(err)
	}
	if oldest, _ := l.Bounds(0); oldest > last.First {
		t.Errorf("the record that arrived in time is gone: oldest is %d", oldest)
	}
	if _, err := l.Trim(t.Context(), time.Now().Add(time.Hour).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	oldest, next := l.Bounds(0)
	if next != seq(1, n+1) {
		t.Errorf("next is %d after a trim", next)
	}
	if after := mustAppend(t, l, 0, "after"); after.First != next {
		t.Errorf("the next record got %d", after.First)
	}
	got := readLog(t, logReader(t, l, 0, seq(1, 1)), int(next-oldest)+1)
	if got[0].Sequence != oldest {
		t.Errorf("a reader from before the trim begins at %d, the oldest is %d", got[0].Sequence, oldest)
	}
	l.reopen()
	if o, n := l.Bounds(0); n != next+1 || o < oldest {
		t.Errorf("opened anew from %d to %d, it was %d to %d", o, n, oldest, next+1)
	}
}

func TestJournalConforms(t *testing.T) {
	for name, sizes := range map[string]journal.SegmentSizing{
		"one segment":   {},
		"many segments": {Segment: 4 << 10, First: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			testLog(t, func(t *testing.T, shards []journal.Shard) func() Log {
				options := journal.Options{Dir: t.TempDir(), Name: "conformance", Shards: shards, Sizes: sizes}
				return func() Log {
					j, err := journal.Open(t.Context(), options)
					if err != nil {
						t.Fatal(err)
					}
					return embedded{j}
				}
			})
		})
	}
}
