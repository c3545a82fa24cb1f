package api

import (
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestReshard splits, merges and resizes a stream over HTTP while it is followed: nothing is lost, and keys stay in order.
func TestReshard(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	put := func(i int) {
		t.Helper()
		a, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: "k", Text: new(strconv.Itoa(i))}, {PartitionKey: strconv.Itoa(i), Text: new("other")}})
		if err != nil || a.Put != 2 {
			t.Fatalf("put %d: %+v, %v", i, a, err)
		}
	}
	put(0)
	s, err := h.SplitShard(ctx, "s", "0", "")
	if err != nil || s.ShardCount != 2 || !s.Shards[0].Closed || s.Shards[0].Last == 0 || s.Shards[2].StartHash != "170141183460469231731687303715884105728" {
		t.Fatalf("%+v, %v", s, err)
	}
	put(1)
	if s, err = h.MergeShards(ctx, "s", "shardId-000000000002", "shardId-000000000001"); err != nil || s.ShardCount != 1 || len(s.Shards[3].Parents) != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	put(2)
	if s, err = h.ResizeStream(ctx, "s", 3); err != nil || s.ShardCount != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	put(3)
	next, others := 0, 0
	for r, err := range h.Records(ctx, "s", ReadOptions{Follow: true, Limit: 8}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case r.PartitionKey != "k":
			others++
		case string(r.Bytes()) != strconv.Itoa(next):
			t.Errorf("record %d of the key is %s", next, r.Bytes())
		default:
			next++
		}
	}
	if next != 4 || others != 4 {
		t.Errorf("%d records of the key and %d others, want 4 each", next, others)
	}
	// One closed shard that is followed alone ends by itself.
	if got := h.all(t, "s", ReadOptions{Follow: true, Shard: "0"}); len(got) != 2 {
		t.Errorf("the closed shard gave %d records, want 2", len(got))
	}
}

// TestReshardRefused asks for what cannot be: each is a problem that says why, and the stream stays as it is.
func TestReshardRefused(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 4)
	if _, err := h.SplitShard(ctx, "s", "3", ""); err != nil {
		t.Fatal(err)
	}
	before := h.state(t)
	for _, c := range []struct {
		what string
		call func() error
		kind Kind
	}{
		{"a split of a closed shard", func() error { _, err := h.SplitShard(ctx, "s", "3", ""); return err }, KindConflict},
		{"a split of no shard", func() error { _, err := h.SplitShard(ctx, "s", "99", ""); return err }, KindShardNotFound},
		{"a split of an odd shard", func() error { _, err := h.SplitShard(ctx, "s", "x", ""); return err }, KindInvalidField},
		{"a split at an odd key", func() error { _, err := h.SplitShard(ctx, "s", "0", "x"); return err }, KindInvalidField},
		{"a split beside the shard", func() error {
			_, err := h.SplitShard(ctx, "s", "0", "340282366920938463463374607431768211455")
			return err
		}, KindInvalidField},
		{"a merge of shards apart", func() error { _, err := h.MergeShards(ctx, "s", "0", "2"); return err }, KindConflict},
		{"a merge with no shard", func() error { _, err := h.MergeShards(ctx, "s", "0", "99"); return err }, KindShardNotFound},
		{"a merge with itself", func() error { _, err := h.MergeShards(ctx, "s", "0", "0"); return err }, KindConflict},
		{"no shards", func() error { _, err := h.ResizeStream(ctx, "s", 0); return err }, KindInvalidField},
		{"many shards", func() error { _, err := h.ResizeStream(ctx, "s", 1001); return err }, KindInvalidField},
		{"a split of no stream", func() error { _, err := h.SplitShard(ctx, "none", "0", ""); return err }, KindStreamNotFound},
		{"a resize of no stream", func() error { _, err := h.ResizeStream(ctx, "none", 2); return err }, KindStreamNotFound},
	} {
		if p := asProblem(t, c.call()); p.Kind() != c.kind || p.Detail == "" {
			t.Errorf("%s: %+v", c.what, p)
		}
		if after := h.state(t); after != before {
			t.Fatalf("%s has changed something", c.what)
		}
	}
}

// TestFollowFromNewestOverAReshard follows from the newest record on: what was there before does not come, what comes into the children of
// a shard that is split meanwhile does.
func TestFollowFromNewestOverAReshard(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	put := func(text string) {
		if _, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: "k", Text: &text}}); err != nil {
			t.Error(err)
		}
	}
	put("old")
	if _, err := h.SplitShard(ctx, "s", "0", ""); err != nil {
		t.Fatal(err)
	}
	put("old")
	seen, stop := make(chan struct{}), make(chan struct{})
	var putting sync.WaitGroup
	putting.Go(func() {
		for { // until the follow is there
			put("new")
			select {
			case <-seen:
			case <-time.After(10 * time.Millisecond):
				continue
			}
			break
		}
		for _, shard := range []string{"1", "2"} {
			if _, err := h.SplitShard(ctx, "s", shard, ""); err != nil {
				t.Error(err)
			}
		}
		put("last")
		<-stop
	})
	for r, err := range h.Records(ctx, "s", ReadOptions{Follow: true, From: "newest"}) {
		if err != nil || string(r.Bytes()) == "old" {
			t.Errorf("%s came, %v", r.Bytes(), err)
			break
		}
		if string(r.Bytes()) == "last" {
			break
		}
		select {
		case <-seen:
		default:
			close(seen)
		}
	}
	close(stop)
	putting.Wait()
}
