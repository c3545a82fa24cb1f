package shards

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"slices"
	"sync"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
)

// load is writers and readers of one stream. A reader that comes to the end of its shard is followed by readers of the
// children, each when all its parents have been read.
type load struct {
	st      *Stream
	writers sync.WaitGroup
	readers sync.WaitGroup

	mu      sync.Mutex
	written int
	read    int
	next    map[string]int // by key, the number of the record that should be read next
	done    []ShardID      // shards read to their end
	started []ShardID
	cancel  context.CancelFunc
}

// write puts numbered records of some keys of its own until stop is closed.
func (l *load) write(t *testing.T, w int, stop <-chan struct{}) {
	numbers := make([]int, 10)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		var records []record.Record
		for k := range numbers {
			if (i+k)%3 > 0 {
				continue
			}
			records = append(records, record.Record{Key: fmt.Appendf(nil, "%d/%d", w, k), Data: fmt.Append(nil, numbers[k])})
			numbers[k]++
		}
		results, err := l.st.Put(context.Background(), records, nil)
		if err != nil || len(results) != len(records) {
			t.Errorf("%d results, %v", len(results), err)
			return
		}
		l.mu.Lock()
		l.written += len(records)
		l.mu.Unlock()
	}
}

// follow begins to read shards, and goes on with their children.
func (l *load) follow(t *testing.T, shards ...ShardID) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	for _, id := range shards {
		l.begin(t, ctx, id)
	}
}

func (l *load) begin(t *testing.T, ctx context.Context, id ShardID) {
	l.started = append(l.started, id)
	l.readers.Go(func() {
		rd, err := l.st.Reader(id, Start{})
		if err != nil {
			t.Error(err)
			return
		}
		for {
			run, err := rd.Next(ctx)
			var end *ShardEndError
			switch {
			case errors.As(err, &end):
				l.ended(t, ctx, id, end.Children)
				return
			case errors.Is(err, context.Canceled):
				return
			case err != nil:
				t.Error(err)
				return
			}
			l.take(t, run)
		}
	})
}

func (l *load) take(t *testing.T, run record.Run) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range run.All() {
		key := string(r.Key)
		if want := fmt.Sprint(l.next[key]); string(r.Data) != want {
			t.Errorf("%s: read %s, want %s", key, r.Data, want)
		}
		l.next[key]++
		l.read++
	}
}

func (l *load) ended(t *testing.T, ctx context.Context, id ShardID, children []ShardID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, id)
	for _, child := range children {
		s, _ := l.st.def().shard(child)
		ready := true
		for _, p := range s.Parents {
			ready = ready && slices.Contains(l.done, p)
		}
		if ready && !slices.Contains(l.started, child) {
			l.begin(t, ctx, child)
		}
	}
}

// finish closes all shards, so that the readers come to an end once they have read everything, and compares.
func (l *load) finish(t *testing.T, r *rig) {
	if _, err := r.Resize(context.Background(), "s", 11); err != nil { // every range is another one then
		t.Fatal(err)
	}
	if _, err := r.Resize(context.Background(), "s", 1); err != nil {
		t.Fatal(err)
	}
	last := l.st.Shards()[len(l.st.Shards())-1]
	for { // until the readers have come to the last shard, which is empty
		l.mu.Lock()
		there := slices.Contains(l.started, last)
		l.mu.Unlock()
		if there || t.Failed() {
			break
		}
		goruntime.Gosched()
	}
	l.cancel()
	l.readers.Wait()
	if l.read != l.written || l.written == 0 {
		t.Errorf("%d records read, %d written", l.read, l.written)
	}
}
