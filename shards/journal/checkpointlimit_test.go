package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards/journal"
)

// save saves a checkpoint of a consumer with a state of n bytes over the one that is there.
func save(j *journal.Journal, consumer string, shard uint32, n int) error {
	c, _ := j.Checkpoint(consumer, shard)
	_, err := j.SaveCheckpoint(context.Background(), journal.Checkpoint{
		Consumer: consumer, Shard: shard, Sequence: c.Sequence + 1, Revision: c.Revision, State: bytes.Repeat([]byte{byte(n)}, n),
	})
	return err
}

// refused wants the error of a checkpoint that is over the limit of all.
func refused(t *testing.T, err error) {
	t.Helper()
	var f *field.Error
	if !errors.As(err, &f) || !errors.Is(err, field.ErrInvalid) || f.Field != "state" || !strings.Contains(f.Error(), "at most 8192 bytes") {
		t.Errorf("%v, want a field error that names the state and the limit", err)
	}
}

// queue starts f and returns when it waits for a group, as the n-th.
func queue(t *testing.T, j *journal.Journal, n int, f func()) {
	t.Helper()
	go f()
	for deadline := time.Now().Add(20 * time.Second); j.Waiting() < n; goruntime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", j.Waiting(), n)
		}
	}
}

// held starts a put whose sync is held up until release is called, so that what is queued meanwhile is one group.
func held(t *testing.T, d *disk, j *journal.Journal) (release func()) {
	t.Helper()
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	d.set(func(d *disk) {
		d.gate = func() {
			if held.CompareAndSwap(false, true) {
				close(entered)
				<-leave
			}
		}
	})
	go func() {
		defer close(done)
		if err := j.Append(context.Background(), []journal.Part{{Records: run(t, "held")}}); err != nil {
			t.Error(err)
		}
	}()
	<-entered
	return func() {
		close(leave)
		<-done
		d.set(func(d *disk) { d.gate = nil })
	}
}

// All saved checkpoints fit into the table that every segment begins with: what would not is refused, and changes nothing.
func TestCheckpointsHaveALimit(t *testing.T) {
	d := newDisk()
	opt := options(d, 4)
	opt.Sizes.Checkpoints = 8192
	j := open(t, opt)
	const each = 1000 // with its header and name 1,064 bytes: 7 of them are 7,448
	for i := range 7 {
		if err := save(j, fmt.Sprintf("consumer %d", i), uint32(i%4), each); err != nil {
			t.Fatal(err)
		}
	}
	check := func(j *journal.Journal) {
		t.Helper()
		if n := len(j.Checkpoints()); n != 7 {
			t.Fatalf("%d checkpoints, want 7", n)
		}
		for i, c := range j.Checkpoints() {
			if !bytes.Equal(c.State, bytes.Repeat([]byte{each % 256}, each)) || c.Consumer != fmt.Sprintf("consumer %d", i) || c.Sequence != 1 {
				t.Errorf("checkpoint %d is %q at %d with %d bytes", i, c.Consumer, c.Sequence, len(c.State))
			}
		}
		refused(t, save(j, "one more", 0, each))
		refused(t, save(j, "consumer 1", 1, 2*each))
		expectNext := put(t, j, 1, "a put goes on")
		for range 100 { // over several segments
			expectNext++
			if n := put(t, j, 1, "a put goes on"); n != expectNext {
				t.Fatalf("number %d, want %d", n, expectNext)
			}
		}
	}
	check(j)
	for name, after := range map[string]*disk{"kill": d.kill(), "power": d.powerCut(rand.New(rand.NewPCG(1, 2)))} {
		t.Run(name, func(t *testing.T) {
			opt.FS = after
			j := open(t, opt)
			check(j)
			if err := save(j, "small", 0, 500); err != nil {
				t.Errorf("what fits is refused: %v", err)
			}
			if err := save(j, "consumer 1", 1, 100); err != nil {
				t.Errorf("a smaller state: %v", err)
			}
			if err := j.DeleteCheckpoints(t.Context(), "consumer 2"); err != nil {
				t.Fatal(err)
			}
			if err := save(j, "one more", 0, each); err != nil {
				t.Errorf("in the room of one that was deleted: %v", err)
			}
			if len(j.Damage()) > 0 {
				t.Error(j.Damage())
			}
		})
	}
	opt.FS, opt.Sizes.Checkpoints = d.kill(), 2000 // a limit that is over already
	j = open(t, opt)
	if err := save(j, "consumer 1", 1, each-8); err != nil {
		t.Errorf("a smaller state: %v", err)
	}
	if err := save(j, "consumer 1", 1, each); err == nil {
		t.Error("a larger one is accepted")
	}
}

// The limit holds for checkpoints of one group too.
func TestCheckpointLimitWithinAGroup(t *testing.T) {
	d := newDisk()
	opt := options(d, 1)
	opt.Sizes = journal.SegmentSizing{Checkpoints: 8192}
	j := open(t, opt)
	release := held(t, d, j)
	errs := make(chan error, 3)
	for i := range 3 {
		queue(t, j, i+1, func() { errs <- save(j, fmt.Sprint(i), 0, 3000) })
	}
	release()
	var failed error
	for range 3 {
		if err := <-errs; err != nil && failed == nil {
			failed = err
		} else if err != nil {
			t.Error(err)
		}
	}
	refused(t, failed)
	if n := len(j.Checkpoints()); n != 2 {
		t.Errorf("%d checkpoints, want 2", n)
	}
}

// A table of many megabytes, larger than a group of puts and than a segment, survives what a small one does.
func TestLargeTable(t *testing.T) {
	d := newDisk()
	opt := options(d, 6)
	j := open(t, opt)
	for shard := range uint32(6) {
		if err := save(j, "window", shard, 1<<20); err != nil {
			t.Fatal(err)
		}
	}
	put(t, j, 0, strings.Repeat("x", 14<<20)) // so that another segment begins
	put(t, j, 0, "in it")
	d = d.kill()
	for name, content := range d.snapshot(t) {
		if name == segmentFile(1) {
			d.files[segmentFile(1)].content = content[:64] // what is in the table needs no older segment
		}
	}
	j = open(t, options(d, 6))
	for shard := range uint32(6) {
		if c, ok := j.Checkpoint("window", shard); !ok || len(c.State) != 1<<20 {
			t.Errorf("shard %d: %d bytes of state, %v", shard, len(c.State), ok)
		}
	}
}

// A checkpoint that is saved in the group that forgets its shard goes with it, or is refused.
func TestForgetAndSaveInOneGroup(t *testing.T) {
	for _, saveFirst := range []bool{true, false} {
		t.Run(fmt.Sprintf("save first %v", saveFirst), func(t *testing.T) {
			d := newDisk()
			opt := options(d, 2)
			opt.Sizes = journal.SegmentSizing{}
			j := open(t, opt)
			release := held(t, d, j)
			saved, forgotten := make(chan error, 1), make(chan error, 1)
			steps := []func(){func() { saved <- save(j, "c", 1, 10) }, func() { forgotten <- j.Forget(context.Background(), []uint32{1}) }}
			if !saveFirst {
				steps[0], steps[1] = steps[1], steps[0]
			}
			queue(t, j, 1, steps[0])
			queue(t, j, 2, steps[1])
			release()
			if err := <-saved; saveFirst != (err == nil) || err != nil && !errors.Is(err, journal.ErrShard) {
				t.Errorf("saved: %v", err)
			}
			if err := <-forgotten; err != nil {
				t.Error(err)
			}
			for range 2 {
				if n := len(j.Checkpoints()); n != 0 || len(j.Shards()) != 1 {
					t.Errorf("%d checkpoints, shards %v", n, j.Shards())
				}
				opt = options(d.kill(), 0)
				j = open(t, opt)
			}
		})
	}
}
