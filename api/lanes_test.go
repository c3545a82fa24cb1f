package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// ledger is a log in memory that notes what it is given, and fails when it has
// taken as many records as it has room for.
type ledger struct {
	mu      sync.Mutex
	room    int
	batches int
	byKey   map[string][]string
	numbers map[string]uint64 // of data
}

func newLedger(room int) *ledger {
	return &ledger{room: room, byKey: map[string][]string{}, numbers: map[string]uint64{}}
}

var errFull = errors.New("the ledger is full")

func (l *ledger) Put(_ context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.batches++; l.room < len(records) {
		return results, errFull
	}
	l.room -= len(records)
	for _, r := range records {
		if len(r.Key) > 5 {
			results = append(results, shards.Result{Err: &shards.FieldError{Field: "partitionKey", Value: "long", Limit: "short"}})
			continue
		}
		number := uint64(len(l.numbers) + 1)
		l.numbers[string(r.Data)] = number
		l.byKey[string(r.Key)] = append(l.byKey[string(r.Key)], string(r.Data))
		results = append(results, shards.Result{Shard: shards.ShardID(len(r.Key)), Sequence: number})
	}
	return results, nil
}

// sentLine is a line of a body and what must become of it.
type sentLine struct {
	text string
	key  string
	bad  Kind // "" when it is good
}

func lineGenerator(i int) *rapid.Generator[sentLine] {
	return rapid.Custom(func(t *rapid.T) sentLine {
		key := rapid.StringMatching(`[a-d]{1,2}`).Draw(t, "key")
		pad := strings.Repeat("x", rapid.SampledFrom([]int{0, 1, 100, 5000}).Draw(t, "pad"))
		good := fmt.Sprintf(`{"k":%q,"n":%d,"pad":%q}`, key, i, pad)
		switch rapid.IntRange(0, 9).Draw(t, "sort") {
		case 0:
			return sentLine{text: good[:len(good)-1], bad: KindMalformedLine}
		case 1:
			return sentLine{text: `{"n":1}`, bad: KindMissingKey}
		case 2:
			return sentLine{text: fmt.Sprintf(`{"k":"toolong","n":%d}`, i), bad: KindInvalidField}
		}
		return sentLine{text: good, key: key}
	})
}

// TestPutLinesModel puts random lines and compares the answer and the log with
// what must have become of each: order per key, results in their places, and,
// when the log fails, nothing undecided in front of undecidedFrom.
func TestPutLinesModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		count := rapid.IntRange(0, 300).Draw(rt, "count")
		var body bytes.Buffer
		lines := make([]sentLine, count)
		for i := range lines {
			lines[i] = lineGenerator(i).Draw(rt, "line")
			body.WriteString(lines[i].text + "\n")
		}
		room := rapid.SampledFrom([]int{0, 10, 100, 1 << 20}).Draw(rt, "room")
		log := newLedger(room)
		a, err := putTo(t, log, &stepReader{&body, rapid.IntRange(1, 4000).Draw(rt, "step")}, &putQuery{Key: "/k", Results: true})
		decided := count
		if err != nil {
			p := asProblem(t, err)
			if a = p.Put; a == nil {
				rt.Fatalf("no answer with %v", err)
			}
			if a.UndecidedFrom > 0 {
				decided = int(a.UndecidedFrom) - 1
			}
		}
		checkOrder(rt, lines, log)
		checkResults(rt, lines[:decided], a, log)
	})
}

// checkOrder compares the log with the lines, key by key.
func checkOrder(t *rapid.T, lines []sentLine, log *ledger) {
	next := map[string]int{}
	for _, line := range lines {
		stored := log.byKey[line.key]
		if line.bad == "" && next[line.key] < len(stored) {
			if stored[next[line.key]] != line.text {
				t.Fatalf("key %s: %.60q comes where %.60q belongs", line.key, stored[next[line.key]], line.text)
			}
			next[line.key]++
		}
	}
	for key, stored := range log.byKey {
		if next[key] != len(stored) {
			t.Fatalf("key %s: %d records are stored that were not sent", key, len(stored)-next[key])
		}
	}
}

// checkResults compares the answer with the lines that are decided.
func checkResults(t *rapid.T, lines []sentLine, a *PutAnswer, log *ledger) {
	if int(a.Put+a.Failed) < len(lines) || len(a.Results) < len(lines) {
		t.Fatalf("%d put, %d failed, %d results, of %d lines", a.Put, a.Failed, len(a.Results), len(lines))
	}
	for i, line := range lines {
		r := a.Results[i]
		if r.Error != line.bad {
			t.Fatalf("line %d %.60q: %+v, want %q", i+1, line.text, r, line.bad)
		}
		if line.bad == "" && uint64(r.Sequence) != log.numbers[line.text] {
			t.Fatalf("line %d %.60q: %+v, is %d", i+1, line.text, r, log.numbers[line.text])
		}
	}
}

// slowPutter holds its first put until it is let go.
type slowPutter struct {
	*ledger
	once  sync.Once
	held  chan struct{}
	letGo chan struct{}
}

func (s *slowPutter) Put(ctx context.Context, records []record.Record, results []shards.Result) ([]shards.Result, error) {
	s.once.Do(func() {
		close(s.held)
		<-s.letGo
	})
	return s.ledger.Put(ctx, records, results)
}

// TestLaneGathers checks that what arrives during a put goes together in the
// next, and that a lane that is full has its reader wait.
func TestLaneGathers(t *testing.T) {
	to := &slowPutter{ledger: newLedger(1 << 20), held: make(chan struct{}), letGo: make(chan struct{})}
	o := newOutcome(false)
	l := startLanes(t.Context(), to, o)
	add := func(i int) {
		if err := l.add([]byte("k"), fmt.Appendf(nil, "%d", i), ticket{line: int64(i)}); err != nil {
			t.Error(err)
		}
	}
	add(0)
	if err := l.flush(); err != nil {
		t.Fatal(err)
	}
	<-to.held
	for i := range laneBatch {
		add(i + 1)
	}
	waits := make(chan struct{})
	go func() {
		defer close(waits)
		add(laneBatch + 1) // has no room until the first put is done
	}()
	select {
	case <-waits:
		t.Error("a lane that is full took a record")
	default:
	}
	close(to.letGo)
	<-waits
	if undecided, err := l.finish(); undecided != 0 || err != nil {
		t.Errorf("undecided from %d, %v", undecided, err)
	}
	if to.batches != 3 || len(to.byKey["k"]) != laneBatch+2 || o.answer.Put != laneBatch+2 {
		t.Errorf("%d puts of %d records, %d told", to.batches, len(to.byKey["k"]), o.answer.Put)
	}
}

// TestLaneFailure checks that a failed lane takes nothing more and is told as
// undecided from its first line on, while the others finish.
func TestLaneFailure(t *testing.T) {
	to := newLedger(0)
	o := newOutcome(false)
	l := startLanes(t.Context(), to, o)
	line := int64(0)
	for err := error(nil); err == nil; {
		line++
		if err = l.add([]byte("k"), []byte("data"), ticket{line: line}); err == nil {
			err = l.flush()
		}
		if err != nil && !errors.Is(err, errFull) {
			t.Fatal(err)
		}
	}
	if undecided, err := l.finish(); undecided != 1 || !errors.Is(err, errFull) {
		t.Errorf("undecided from %d, %v", undecided, err)
	}
	if o.answer.Put != 0 {
		t.Errorf("%d records are told to be put", o.answer.Put)
	}
}
