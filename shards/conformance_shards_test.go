package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/shards/journal"
)

func testAddShards(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "a")
	for range 2 { // the second time they are known
		if err := l.AddShards(t.Context(), []journal.Shard{{ID: 0, Epoch: 9}, {ID: 8, Epoch: 4}, {ID: 9, Epoch: 4}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.AddShards(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, l, 8, "b").First; got != seq(4, 1) {
		t.Errorf("the first number of a new shard is %d", got)
	}
	if got := mustAppend(t, l, 0, "c").First; got != seq(1, 2) {
		t.Errorf("a shard that is known goes on at %d", got)
	}
	l.reopen()
	if got := l.Shards(); !slices.Equal(got, []uint32{0, 1, 7, 8, 9}) {
		t.Errorf("shards %v", got)
	}
	if got := mustAppend(t, l, 8, "d").First; got != seq(4, 2) {
		t.Errorf("opened anew, the new shard goes on at %d", got)
	}
	readLog(t, logReader(t, l, 8, 0), 2)
}

func testSeal(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "a")
	if err := l.Seal(t.Context(), []uint32{0, 7, 99}); err != nil {
		t.Fatal(err)
	}
	_, before := l.Bounds(0)
	for _, parts := range [][]journal.Part{
		{{Shard: 0, Records: runOf(t, "b")}},
		{{Shard: 1, Records: runOf(t, "c")}, {Shard: 7, Records: runOf(t, "d")}},
	} {
		if err := l.Append(t.Context(), parts); !errors.Is(err, journal.ErrSealed) {
			t.Errorf("appended to a sealed shard: %v", err)
		}
	}
	if _, next := l.Bounds(0); next != before {
		t.Errorf("a sealed shard went on to %d", next)
	}
	if got := mustAppend(t, l, 1, "e").First; got != seq(1, 1) {
		t.Errorf("half of a refused put was stored: the next number is %d", got)
	}
	r := logReader(t, l, 0, 0)
	readLog(t, r, 1)
	if _, ok, err := r.TryNext(); ok || err != nil {
		t.Errorf("at the end of a sealed shard: %v, %v", ok, err)
	}
	l.Unseal([]uint32{0, 7, 99})
	mustAppend(t, l, 0, "f")
	if err := l.Seal(t.Context(), []uint32{0}); err != nil {
		t.Fatal(err)
	}
	l.reopen()
	mustAppend(t, l, 0, "g")
	readLog(t, logReader(t, l, 0, 0), 3)
}

// testSealWaits has putters run into a seal: what is behind its answer is refused, and what is before is stored.
func testSealWaits(t *testing.T, l *logUnderTest) {
	for range 20 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		stored := 0
		_, from := l.Bounds(0)
		running := make(chan struct{}, 8)
		for range 4 {
			wg.Go(func() {
				for {
					err := l.Append(context.Background(), []journal.Part{{Shard: 0, Records: runOf(t, "x")}})
					if errors.Is(err, journal.ErrSealed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					stored++
					mu.Unlock()
					select {
					case running <- struct{}{}:
					default:
					}
				}
			})
		}
		<-running
		if err := l.Seal(t.Context(), []uint32{0}); err != nil {
			t.Fatal(err)
		}
		_, sealed := l.Bounds(0)
		wg.Wait()
		if _, next := l.Bounds(0); next != sealed || next-from != uint64(stored) {
			t.Fatalf("sealed at %d, ended at %d, %d stored from %d on", sealed, next, stored, from)
		}
		l.Unseal([]uint32{0})
	}
}

func testEnd(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "a")
	end := []uint32{0, 7, 99}
	blocked := make(chan error)
	go func() {
		_, err := logReaderOf(l, 7).Next(context.Background())
		blocked <- err
	}()
	if err := l.Seal(t.Context(), end); err != nil {
		t.Fatal(err)
	}
	l.End(end)
	if err := <-blocked; !errors.Is(err, journal.ErrEnd) {
		t.Errorf("the blocked reader got %v", err)
	}
	r := logReader(t, l, 0, 0)
	readLog(t, r, 1)
	_, err := r.Next(t.Context())
	_, ok, tryErr := r.TryNext()
	if !errors.Is(err, journal.ErrEnd) || ok || !errors.Is(tryErr, journal.ErrEnd) {
		t.Errorf("at the end: %v and %v, %v", err, ok, tryErr)
	}
	r.Seek(0)
	readLog(t, r, 1)
}

func logReaderOf(l *logUnderTest, shard uint32) LogReader {
	r, err := l.Reader(shard, 0)
	if err != nil {
		panic(err)
	}
	return r
}

func testForget(t *testing.T, l *logUnderTest) {
	mustAppend(t, l, 0, "a")
	mustAppend(t, l, 7, "b")
	for _, c := range []Checkpoint{{Consumer: "a"}, {Consumer: "a", Shard: 1}, {Consumer: "b", Shard: 1}, {Consumer: "a", Shard: 7}} {
		if _, err := l.SaveCheckpoint(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	r := logReader(t, l, 1, 0)
	for range 2 { // the second time there is nothing to do
		if err := l.Forget(t.Context(), []uint32{1, 7, 99}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, journal.ErrEnd) {
		t.Errorf("the reader of a forgotten shard got %v", err)
	}
	if err := l.Append(t.Context(), []journal.Part{{Shard: 1, Records: runOf(t, "x")}}); err == nil {
		t.Error("appended to a forgotten shard")
	}
	check := func(want ...uint32) {
		t.Helper()
		if got := l.Shards(); !slices.Equal(got, want) {
			t.Errorf("shards %v, want %v", got, want)
		}
		for _, c := range []struct {
			consumer string
			shard    uint32
			want     bool
		}{{"a", 0, true}, {"a", 1, false}, {"b", 1, false}, {"a", 7, false}} {
			if _, ok := l.Checkpoint(c.consumer, c.shard); ok != c.want {
				t.Errorf("checkpoint of %s in %d: %v", c.consumer, c.shard, ok)
			}
		}
	}
	check(0, 7) // shard 7 has a record
	readLog(t, logReader(t, l, 7, 0), 1)
	for i := range 20 { // segments come and go
		mustAppend(t, l, 0, fmt.Sprint(i))
	}
	if _, err := l.Trim(t.Context(), time.Now().Add(time.Hour).UnixMicro()); err != nil {
		t.Fatal(err)
	}
	if err := l.Forget(t.Context(), []uint32{7}); err != nil {
		t.Fatal(err)
	}
	if oldest, next := l.Bounds(7); oldest < next {
		return // the log drops records later than others
	}
	check(0)
	// The number can be given again, in another epoch.
	if err := l.AddShards(t.Context(), []journal.Shard{{ID: 1, Epoch: 5}}); err != nil {
		t.Fatal(err)
	}
	if got := mustAppend(t, l, 1, "again").First; got != seq(5, 1) {
		t.Errorf("it begins at %d", got)
	}
	check(0, 1)
}
