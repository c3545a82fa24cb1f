package triggers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// fakeFailures keeps what it is given, with the text of its records.
type fakeFailures struct {
	mu   sync.Mutex
	err  error
	got  []Failure
	text [][]string
	uris []string
	wait chan struct{} // not nil: a delivery waits for it
}

func (f *fakeFailures) Check(_ context.Context, uri string) error {
	if !strings.HasPrefix(uri, "stream:") {
		return field.Invalid("onFailure", uri, "stream:NAME")
	}
	return nil
}

func (f *fakeFailures) Deliver(ctx context.Context, uri string, failure Failure) error {
	f.mu.Lock()
	err, wait := f.err, f.wait
	f.mu.Unlock()
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.text = append(f.text, textOf(failure.Records))
	failure.Records = nil
	f.got, f.uris = append(f.got, failure), append(f.uris, uri)
	return nil
}

func (f *fakeFailures) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeFailures) deliveries() ([]Failure, [][]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got, f.text
}

// toFailures makes a mapping change that gives what fails to "stream:failed".
func toFailures(change func(*Mapping)) func(*Mapping) {
	return func(m *Mapping) {
		m.OnFailure = "stream:failed"
		change(m)
	}
}

// A batch that always fails holds up its shard as long as the stream keeps it, whatever keeps it from being handled; and it is tried once, however old it is.
func TestFailuresEndWithTheRetention(t *testing.T) {
	for name, broken := range map[string]error{"fails": failure("always"), "is throttled": runtime.ErrThrottled} {
		to := toFailures
		if broken == runtime.ErrThrottled {
			to = func(change func(*Mapping)) func(*Mapping) { return change }
		}
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.stream.retention = 24 * time.Hour
			b.functions.handle = func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
				if textOf(c.Records)[0] == "poison" {
					return broken
				}
				return nil
			}
			b.stream.put(0, "poison")
			b.put(to(func(m *Mapping) { m.BatchSize = 1 }))
			time.Sleep(23 * time.Hour)
			first := b.stream.put(0, "late")
			if s := b.shard(0); s.Counts.GivenUp != 0 || s.Counts.Settled != 0 {
				t.Errorf("%s: after 23 hours %+v", name, s)
			}
			time.Sleep(2 * time.Hour)
			list, texts := b.failures.deliveries()
			if s := b.shard(0); s.Checkpoint != first || s.Counts.GivenUp != 1 || s.Counts.Lost != 0 || s.LastGivenUp.Reason != RecordExpired ||
				int(s.Counts.Sent) != len(list) || broken != runtime.ErrThrottled && texts[0][0] != "poison" {
				t.Errorf("%s: %+v, %+v", name, s, list)
			}
			// What is read late has its attempt.
			b.put(func(m *Mapping) { m.Disabled = true })
			b.stream.put(0, "old")
			time.Sleep(48 * time.Hour)
			b.put(func(m *Mapping) { m.Disabled = false })
			time.Sleep(time.Minute)
			if s := b.shard(0); s.Counts.Settled != 2 || s.Counts.GivenUp != 1 {
				t.Errorf("%s: at the end %+v", name, s)
			}
		})
	}
}

func TestWhatIsGivenUpIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			return fmt.Errorf("invoke: %w", &runtime.FunctionError{
				Function: "f", Version: 7, Invocation: fmt.Sprint("call ", c.Attempt), Kind: runtime.FailTrap, Message: "unreachable", Stack: "main.handle",
			})
		}
		arrival := time.Now().UTC()
		first := b.stream.put(0, "0", "1")
		s := b.put(toFailures(func(m *Mapping) { m.MaxAttempts, m.FailureTrace = 2, true }))
		time.Sleep(time.Minute)
		got, text := b.failures.deliveries()
		want := Failure{
			MappingID: s.ID, Source: runtime.Source{Mapping: "m", Stream: "s", First: first, Last: first + 1}, Traced: true,
			Function: "f", Version: 7, Invocation: "call 2", Reason: AttemptsExhausted, Attempts: 2, Count: 2,
			Failed:       &runtime.FunctionError{Function: "f", Version: 7, Invocation: "call 2", Kind: runtime.FailTrap, Message: "unreachable", Stack: "main.handle"},
			FirstArrival: arrival, LastArrival: arrival,
		}
		if diff := cmp.Diff([]Failure{want}, got, cmpopts.IgnoreFields(Failure{}, "Time", "Err"), cmpopts.IgnoreUnexported(record.Run{})); diff != "" {
			t.Errorf("delivered: (-want +got)\n%s", diff)
		}
		if !strings.Contains(got[0].Err, "unreachable") || got[0].Time.IsZero() || cmp.Diff([][]string{{"0", "1"}}, text) != "" {
			t.Errorf("error %q at %v, records %q", got[0].Err, got[0].Time, text)
		}
		if s := b.shard(0); s.Counts.Sent != 2 || s.Counts.GivenUp != 2 || s.Checkpoint != first+1 || s.LastGivenUp == nil {
			t.Errorf("status %+v", s)
		}
	})
}

// What has expired is a document of its own, with no attempt, and goes before the rest is delivered.
func TestExpiredRecordsAreDeliveredByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.stream.put(0, "0", "1")
		time.Sleep(2 * time.Minute)
		b.stream.put(0, numbered(2, 4)...)
		b.put(toFailures(func(m *Mapping) { m.MaxRecordAge = time.Minute }))
		time.Sleep(time.Second)
		got, text := b.failures.deliveries()
		if len(got) != 1 || got[0].Reason != AgeExceeded || got[0].Attempts != 0 || got[0].Invocation != "" || got[0].Err != "" || cmp.Diff([][]string{{"0", "1"}}, text) != "" {
			t.Errorf("delivered %+v, records %q", got, text)
		}
		wantData(t, b.functions.deliveries(), numbered(2, 4))
	})
}

// The checkpoint stays until the destination has what was given up; it is tried for ever, and the status says why.
func TestDestinationThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = poison("1")
		b.failures.fail(errors.New("bucket is gone"))
		first := b.stream.put(0, numbered(0, 3)...)
		b.put(toFailures(func(m *Mapping) { m.MaxAttempts, m.BatchSize = 1, 1 }))
		time.Sleep(time.Hour)
		if s := b.shard(0); s.Checkpoint != first || s.State != ShardBlocked || !strings.Contains(s.LastError, "bucket is gone") || s.Counts.GivenUp != 0 {
			t.Errorf("while it fails: %+v", s)
		}
		wantData(t, b.functions.deliveries(), []string{"0"}, []string{"1"})
		b.failures.fail(nil)
		time.Sleep(time.Minute)
		if s := b.shard(0); s.Checkpoint != first+2 || s.State != ShardRunning || s.LastError != "" || s.Counts.Sent != 1 {
			t.Errorf("after it works: %+v", s)
		}
		if got, _ := b.failures.deliveries(); len(got) != 1 || !strings.Contains(got[0].Err, "poisoned") {
			t.Errorf("delivered %+v", got)
		}
	})
}

// A mapping can be stopped, and its destination changed or taken away, while that does not take records.
func TestChangesWhileTheDestinationFails(t *testing.T) {
	for name, then := range map[string]func(b *bench){
		"another": func(b *bench) {
			b.put(func(m *Mapping) { m.MaxAttempts, m.OnFailure = 1, "stream:other" })
			b.failures.fail(nil)
		},
		"none":    func(b *bench) { b.put(func(m *Mapping) { m.MaxAttempts = 1 }) },
		"stopped": func(b *bench) { b.close(); b.failures.fail(nil); b.open() },
		"pausing": func(b *bench) {
			b.put(toFailures(func(m *Mapping) { m.MaxAttempts, m.Disabled = 1, true }))
			b.failures.fail(nil)
			b.put(nil)
		},
		"hanging": func(b *bench) { b.failures.fail(nil) },
		"deleting": func(b *bench) {
			_ = b.Delete(context.Background(), "m")
			b.failures.fail(nil)
			b.put(func(m *Mapping) { m.MaxAttempts = 1 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 1)
				b.functions.handle = poison("0")
				b.failures.fail(errors.New("no"))
				first := b.stream.put(0, "0", "1")
				b.put(toFailures(func(m *Mapping) { m.MaxAttempts, m.BatchSize = 1, 1 }))
				time.Sleep(time.Minute)
				then(b)
				b.functions.setHandle(nil)
				time.Sleep(time.Minute)
				if s := b.shard(0); s.Checkpoint != first+1 {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

func TestRejectedRecordsAreDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			reply.Version, reply.Invocation = 3, "id"
			for i, reason := range []string{"", "no airport", "", "no date", "no airport", ""} {
				if reason != "" {
					_ = outcomes(runtime.ResultRejected, reason, i)(ctx, c, reply)
				}
			}
			return outcomes(runtime.ResultRetry, "", 5)(ctx, c, reply)
		}
		first := b.stream.put(0, numbered(0, 6)...)
		b.put(toFailures(func(*Mapping) {}))
		synctest.Wait()
		got, text := b.failures.deliveries()
		if diff := cmp.Diff([][]string{{"1", "4"}, {"3"}}, text); diff != "" {
			t.Errorf("delivered: (-want +got)\n%s", diff)
		}
		if f := got[0]; f.Reason != RecordRejected || f.Err != "no airport" || f.Version != 3 || f.Invocation != "id" || f.Attempts != 1 ||
			f.Source.First != first+1 || f.Source.Last != first+4 || f.Count != 2 {
			t.Errorf("delivered %+v", f)
		}
		if s := b.shard(0); s.Counts.Sent != 3 || s.Counts.Rejected != 3 || s.Checkpoint != first+4 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestDrainTimeEndsADelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.functions.handle = poison("0")
		b.failures.wait = make(chan struct{})
		b.stream.put(0, "0")
		b.put(toFailures(func(m *Mapping) { m.MaxAttempts = 1 }))
		synctest.Wait()
		if err := b.Close(t.Context()); !errors.Is(err, ErrDrain) || !strings.Contains(err.Error(), "on-failure destination") {
			t.Errorf("close: %v", err)
		}
		if s := b.shard(0); s.Checkpoint != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestDestinationsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var refused *FieldError
		_, _, err := b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f", OnFailure: "sqs:queue"})
		if !errors.As(err, &refused) || refused.Field != "onFailure" {
			t.Errorf("put: %v", err)
		}
		b.failures = nil
		b.close()
		b.open()
		_, _, err = b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f", OnFailure: "stream:failed"})
		if !errors.As(err, &refused) || refused.Field != "onFailure" {
			t.Errorf("put on a host without destinations: %v", err)
		}
	})
}
