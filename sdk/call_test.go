package sdk

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestCallFacts(t *testing.T) {
	var first, second Call
	var kept []*Call
	h := newHost(Handlers{Batch: func(ctx context.Context, b *Batch) error {
		kept = append(kept, b.Call())
		if b.Call() != FromContext(context.WithValue(ctx, refusal{}, 1)) {
			t.Error("the batch and the context have different facts")
		}
		return nil
	}})
	h.head.Mapping, h.head.Stream, h.head.Invocation = "m", "s", "i-1"
	h.head.Version, h.head.Shard, h.head.Attempt, h.head.Deadline = 3, 2, 4, 1_700_000_000_000_001
	first = Call{Function: "f", Version: 3, Invocation: "i-1", Mapping: "m", Stream: "s", Shard: 2, Attempt: 4, Deadline: time.UnixMicro(1_700_000_000_000_001)}
	h.batch(t)
	long := strings.Repeat("i", 100)
	h.head.Mapping, h.head.Stream, h.head.Invocation, h.head.Deadline = "n", "", long, 0
	second = Call{Function: "f", Version: 3, Invocation: long, Mapping: "n", Shard: 2, Attempt: 4}
	h.batch(t)
	clear(h.guest.input)
	if *kept[0] != first || *kept[1] != second { // both after both calls: they outlive them
		t.Errorf("got  %+v and %+v\nwant %+v and %+v", *kept[0], *kept[1], first, second)
	}
	if got := *FromContext(context.Background()); got != (Call{}) {
		t.Errorf("no call has facts %+v", got)
	}
}

func TestContextEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deadline := time.Now().Add(time.Second)
		h := newHost(Handlers{Batch: func(ctx context.Context, _ *Batch) error {
			if d, ok := ctx.Deadline(); !ok || !d.Equal(deadline) || ctx.Err() != nil {
				t.Errorf("deadline %v %v, error %v", d, ok, ctx.Err())
			}
			<-ctx.Done()
			if time.Now().Before(deadline) {
				t.Error("done before the deadline")
			}
			return ctx.Err()
		}})
		h.head.Deadline = deadline.UnixMicro()
		if f := h.batch(t).Failure(); string(f.Message) != context.DeadlineExceeded.Error() {
			t.Errorf("%s", f.Message)
		}
	})
}

func TestContextErrWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHost(Handlers{Batch: func(ctx context.Context, _ *Batch) error {
			time.Sleep(2 * time.Second)
			return ctx.Err()
		}})
		h.head.Deadline = time.Now().Add(time.Second).UnixMicro()
		if f := h.batch(t).Failure(); string(f.Message) != context.DeadlineExceeded.Error() {
			t.Errorf("%s", f.Message)
		}
		h.head.Deadline = 0
		if r := h.batch(t); r.Failed() {
			t.Errorf("without a deadline: %s", r.Failure().Message)
		}
	})
}

// Whoever waits on the context of a call is released when the handler returns, and so is who comes later.
func TestContextEndsWithTheHandler(t *testing.T) {
	for _, deadline := range []int64{0, time.Now().Add(time.Hour).UnixMicro()} {
		released := make(chan error)
		var kept, unused context.Context
		h := newHost(Handlers{Batch: func(ctx context.Context, _ *Batch) error {
			if kept != nil {
				unused = ctx
				return nil
			}
			kept = ctx
			done := ctx.Done()
			go func() {
				<-done
				released <- ctx.Err()
			}()
			return nil
		}})
		h.head.Deadline = deadline
		h.batch(t)
		if err := <-released; !errors.Is(err, context.Canceled) {
			t.Errorf("released with %v", err)
		}
		h.batch(t)
		if err := unused.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("after the handler: %v", err)
		}
		<-unused.Done()
		if err := unused.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("after the handler and Done: %v", err)
		}
	}
}
