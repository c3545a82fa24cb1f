package triggers

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// While a checkpoint is being saved the next batches run, and their checkpoints are saved together.
func TestCheckpointsAreSavedBesideTheBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.saveDelay = time.Second
		first := b.stream.put(0, numbered(0, 10)...)
		b.put(func(m *Mapping) { m.BatchSize = 1 })
		synctest.Wait()
		if n, cp := len(b.functions.deliveries()), b.shard(0).Checkpoint; n != 10 || cp != 0 {
			t.Errorf("%d batches ran while the first checkpoint was being saved, which is at %d", n, cp)
		}
		time.Sleep(3 * time.Second)
		if s := b.shard(0); s.Checkpoint != first+9 || s.Counts.Saves > 2 {
			t.Errorf("status %+v, want everything saved with 2 saves at most", s)
		}
	})
}

// What one lane says too late does not undo what another has said since, and await waits for no more than it needs.
func TestMarksInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "0", "1")
		hold := make(chan struct{})
		var saved []string
		b.stream.saveErr = func(cp shards.Checkpoint) error {
			<-hold
			saved = append(saved, string(cp.State))
			return nil
		}
		s := newSaver(b.stream, shards.Checkpoint{Consumer: "c", Sequence: record.MakeSequence(1, 1)}, backoff{Base: time.Second, Max: time.Second}, func(error) {})
		at := record.MakeSequence(1, 2)
		for _, m := range []mark{{at, []byte("second"), 2}, {at, []byte("fourth"), 4}, {at, []byte("third"), 3}} {
			if err := s.settle(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // the first is being saved
		}
		done := make(chan error)
		go func() { done <- s.await(2) }()
		hold <- struct{}{}
		synctest.Wait()
		if err := <-done; err != nil || len(saved) != 1 || saved[0] != "second" {
			t.Errorf("saved %q, %v", saved, err)
		}
		close(hold)
		if err := s.wait(); err != nil || len(saved) != 2 || saved[1] != "fourth" {
			t.Errorf("saved %q, %v", saved, err)
		}
	})
}

// A checkpoint may take its time while nobody waits for it, and not too many batches are ahead of it.
func TestSavesTakeTheirTimeUntilSomebodyWaits(t *testing.T) {
	for name, c := range map[string]struct {
		then  func(*saver) error
		saved uint64 // how far, without any time passing
	}{
		"nobody":            {func(*saver) error { return nil }, 0},
		"all saves":         {(*saver).wait, 3},
		"a mark":            {func(s *saver) error { return s.await(3) }, 3},
		"too many batches":  {func(s *saver) error { return settleUpTo(s, maxAhead) }, maxAhead},
		"many batches":      {func(s *saver) error { return settleUpTo(s, maxAhead/2) }, 2},
		"not too many yet":  {func(s *saver) error { return settleUpTo(s, maxAhead/2-1) }, 0},
		"the end of a call": {func(s *saver) error { _ = s.wait(); return settleUpTo(s, 5) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := (&fakeStreams{}).create("s", 1)
				st.patience = time.Second
				s := newSaver(st, shards.Checkpoint{Consumer: "c"}, backoff{Base: time.Second, Max: time.Second}, func(error) {})
				for n := range uint64(3) {
					if err := s.settle(t.Context(), mark{sequence: n + 1, generation: n + 1}); err != nil {
						t.Fatal(err)
					}
					if n == 1 {
						synctest.Wait() // the second is being saved
					}
				}
				if err := c.then(s); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if cp, _ := s.checkpoint(); cp.Sequence != c.saved {
					t.Errorf("saved up to %d, want %d", cp.Sequence, c.saved)
				}
				time.Sleep(3 * time.Second)
				if cp, _ := s.checkpoint(); cp.Sequence != s.settled.sequence {
					t.Errorf("at last saved up to %d, want %d", cp.Sequence, s.settled.sequence)
				}
			})
		})
	}
}

// While batches are settled faster than they are saved saves keep a distance; the first one is made at once, and whoever waits does not wait for the distance.
func TestSavesKeepTheirDistance(t *testing.T) {
	for name, waits := range map[string]bool{"nobody waits": false, "somebody waits": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := (&fakeStreams{}).create("s", 1)
				st.saveDelay = time.Millisecond
				var begun []time.Duration
				start := time.Now().Add(st.saveDelay) // it is told then
				st.saving = func(context.Context, shards.Checkpoint) { begun = append(begun, time.Since(start)) }
				s := newSaver(st, shards.Checkpoint{Consumer: "c"}, backoff{Base: time.Second, Max: time.Second}, func(error) {})
				const each = 500 * time.Microsecond
				for n := range uint64(25) {
					if err := s.settle(t.Context(), mark{sequence: n + 1, generation: n + 1}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(each)
				}
				want := []time.Duration{0, pace, 2 * pace}
				if waits {
					if err := s.wait(); err != nil {
						t.Fatal(err)
					}
					want = append(want, 25*each)
				} else {
					time.Sleep(time.Second)
					want = append(want, 3*pace)
				}
				synctest.Wait()
				if !slices.Equal(begun, want) {
					t.Errorf("saves began after %v, want %v", begun, want)
				}
				if cp, _ := s.checkpoint(); cp.Sequence != 25 {
					t.Errorf("saved up to %d, want 25", cp.Sequence)
				}
			})
		})
	}
}

// settleUpTo settles what comes after three marks, one by one.
func settleUpTo(s *saver, last uint64) error {
	for n := uint64(4); n <= last; n++ {
		if err := s.settle(context.Background(), mark{sequence: n, generation: n}); err != nil {
			return err
		}
	}
	return nil
}

// Whoever waits for a mapping to stop does not wait for a checkpoint to find company.
func TestPauseDoesNotWaitForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.patience = time.Minute
		first := b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		if s := b.shard(0); s.Checkpoint != 0 {
			t.Fatalf("status %+v: the checkpoint was to wait", s)
		}
		began := time.Now()
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("close took %v", took)
		}
		if cp := b.stream.history; len(cp) == 0 || cp[len(cp)-1].Sequence != first {
			t.Errorf("saved %+v, want %d at last", cp, first)
		}
	})
}

func TestBatchesWaitForCheckpointsTheyAreTooFarAheadOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		full := atomic.Bool{}
		full.Store(true)
		b.stream.saveErr = func(shards.Checkpoint) error {
			if full.Load() {
				return shards.ErrNoSpace
			}
			return nil
		}
		first := b.stream.put(0, numbered(0, 2*maxAhead)...)
		b.put(func(m *Mapping) { m.BatchSize = 1 })
		time.Sleep(time.Minute)
		if n := len(b.functions.deliveries()); n != maxAhead {
			t.Errorf("%d batches ran with no checkpoint saved, want %d", n, maxAhead)
		}
		if s := b.shard(0); s.State != ShardBlocked || s.Checkpoint != 0 || s.LastError != "the checkpoint cannot be saved: "+shards.ErrNoSpace.Error() {
			t.Errorf("status %+v", s)
		}
		full.Store(false)
		time.Sleep(time.Minute)
		if s := b.shard(0); s.State != ShardRunning || s.LastError != "" || s.Checkpoint != first+2*maxAhead-1 {
			t.Errorf("after there is space again: %+v", s)
		}
	})
}

// A save that succeeded but said otherwise is not taken for another owner's.
func TestSaveWhoseAnswerWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.lostAnswer = true
		b.stream.put(0, "0")
		b.put(nil)
		time.Sleep(time.Minute)
		first := b.stream.put(0, "1")
		synctest.Wait()
		if s := b.shard(0); s.State != ShardRunning || s.Checkpoint != first {
			t.Errorf("status %+v, want the checkpoint %d", s, first)
		}
	})
}

func TestStopDuringASaveThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.saveErr = func(shards.Checkpoint) error { return shards.ErrNoSpace }
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		start := time.Now()
		if err := b.Close(t.Context()); !errors.Is(err, ErrDrain) {
			t.Errorf("close: %v, want ErrDrain", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("close took %v, want the drain time", took)
		}
	})
}

// The log is closed under a poller only when the host stops in the wrong order; it must end all the same.
func TestLogIsClosedUnderThePoller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.saveErr = func(shards.Checkpoint) error { return shards.ErrClosed }
		b.stream.put(0, "0")
		b.put(nil)
		synctest.Wait()
		if s := b.shard(0); s.State != ShardStopped || s.LastError != shards.ErrClosed.Error() {
			t.Errorf("status %+v", s)
		}
	})
}

func TestSaverHoldsTheNewestPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := (&fakeStreams{}).create("s", 1)
		st.saveDelay = time.Second
		cp := shards.Checkpoint{Consumer: "c"}
		s := newSaver(st, cp, backoff{Base: time.Second, Max: time.Second}, func(error) {})
		base := record.MakeSequence(1, 0)
		for i := range uint64(5) {
			if err := s.settle(context.Background(), mark{sequence: base + i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.wait(); err != nil {
			t.Fatal(err)
		}
		if n := len(st.history); n > 2 || st.history[n-1].Sequence != base+5 {
			t.Errorf("saved %+v, want 2 saves at most, the last at the newest position", st.history)
		}
		for i, h := range st.history[1:] {
			if h.Sequence <= st.history[i].Sequence {
				t.Errorf("a checkpoint went back: %+v", st.history)
			}
		}
	})
}

func TestSettledRecordsAreSavedBeforeTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.saveDelay = time.Second
		b.functions.handle = func(context.Context, runtime.Call, *runtime.Reply) error {
			time.Sleep(5 * time.Second)
			return nil
		}
		first := b.stream.put(0, "0", "1")
		b.put(func(m *Mapping) { m.BatchSize = 1 })
		time.Sleep(time.Second)
		b.close()
		if s := b.shard(0); s.Checkpoint != first || s.State != ShardStopped {
			t.Errorf("status %+v, want the batch under way settled and saved, and no further one begun", s)
		}
		wantData(t, b.functions.deliveries(), []string{"0"})
	})
}
