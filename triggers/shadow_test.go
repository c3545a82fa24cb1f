package triggers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// newShadowBench has the function "f" with versions 1, 2 and 3, of which the mapping "m" names the first, and no shadow yet.
func newShadowBench(t *testing.T, shardCount int, change func(*Mapping)) *bench {
	t.Helper()
	b := newBench(t, shardCount)
	b.functions.versions = []int{1, 2, 3}
	b.putVersion(1, change)
	return b
}

func (b *bench) putVersion(version int, change func(*Mapping)) {
	b.t.Helper()
	b.put(func(m *Mapping) {
		m.Qualifier = fmt.Sprint(version)
		if change != nil {
			change(m)
		}
	})
}

func (b *bench) shadow(s Shadow) ShadowStatus {
	b.t.Helper()
	status, _, err := b.PutShadow(b.t.Context(), "m", s)
	if err != nil {
		b.t.Fatal(err)
	}
	return status
}

func (b *bench) found() ShadowStatus {
	b.t.Helper()
	s, err := b.Triggers.Shadow("m")
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// calls are those of a side; the real ones with "".
func (b *bench) calls(side string) (list []delivery) {
	for _, d := range b.functions.deliveries() {
		if side == "" && d.Trial == "" || side != "" && strings.HasSuffix(d.Trial, "/"+side) {
			list = append(list, d)
		}
	}
	return list
}

// unless has versions other than the first treat some data in another way.
func unless(data string, treat func(reply *runtime.Reply, index int) error) func(context.Context, runtime.Call, *runtime.Reply) error {
	return func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
		reply.Version = c.Version
		i := 0
		for _, run := range c.Records {
			for r := range run.All() {
				if string(r.Data) == data && c.Version != 1 {
					if err := treat(reply, i); err != nil {
						return err
					}
				} else {
					reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: abi.ResultDropped, Reason: "seen"})
				}
				i++
			}
		}
		return nil
	}
}

func rejecting(reply *runtime.Reply, i int) error {
	reply.Outcomes = append(reply.Outcomes, runtime.Outcome{Index: i, Result: abi.ResultRejected, Reason: "odd"})
	return nil
}

func cannot(*runtime.Reply, int) error { return failure("cannot") }

// The contract: a shadow sees all records once, from where it begins and across restarts; it names the one that makes a difference; the serving version is called as if
// there were no shadow; and what it keeps goes with it.
func TestShadow(t *testing.T) {
	for name, c := range map[string]struct {
		change      func(*Mapping)
		treat       func(*runtime.Reply, int) error
		what        What
		old, new    string
		failedCalls bool
	}{
		"one after the other": {nil, rejecting, OutcomeDiffers, "dropped: seen", "rejected: odd", false},
		"lanes":               {func(m *Mapping) { m.Parallelization = 3 }, rejecting, OutcomeDiffers, "dropped: seen", "rejected: odd", false},
		"a failure":           {nil, cannot, FailureDiffers, "", "error: cannot", true},
		"failures in lanes":   {func(m *Mapping) { m.Parallelization, m.Isolate = 2, true }, cannot, FailureDiffers, "", "error: cannot", true},
		"exactly once":        {func(m *Mapping) { m.ExactlyOnce, m.MaxAttempts, m.MaxRecordAge = true, 2, time.Minute }, rejecting, OutcomeDiffers, "dropped: seen", "rejected: odd", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newShadowBench(t, 1, c.change)
				b.functions.setHandle(unless("odd", c.treat))
				b.stream.put(0, "before")
				s := b.shadow(Shadow{Qualifier: "2"})
				if s.State != Enabled || s.Function != "f" || s.StartingPosition != Newest || len(s.ID) != 36 || s.Identical() != 1 {
					t.Errorf("%+v", s)
				}
				var list []record.Record
				for i := range 100 {
					list = append(list, record.Record{Key: fmt.Append(nil, i), Data: []byte("plain")})
				}
				list[37].Data = []byte("odd")
				first := b.stream.putRecords(0, list)
				time.Sleep(10 * time.Second)
				check := func(records, differ uint64) {
					t.Helper()
					s := b.found()
					if s.Records != records || s.Same+s.Changed+s.Missing+s.Extra == 0 || s.Changed+s.Missing+s.Extra < differ || s.Identical() >= 1 || s.Identical() < 0.97 {
						t.Errorf("%+v", s.Comparison)
					}
					if s.Serving.Version != 1 || s.Candidate.Version != 2 || s.Serving.Failed != 0 || (s.Candidate.Failed > 0) != c.failedCalls {
						t.Errorf("serving %+v, shadow %+v", s.Serving, s.Candidate)
					}
					if uint64(len(s.Differences)) < differ {
						t.Fatalf("%+v", s.Differences)
					}
					for _, d := range s.Differences {
						if (d.First-first)%100 != 37 || d.Last != d.First || string(d.Key) != "37" {
							t.Errorf("%+v", d)
						}
					}
					d := s.Differences[len(s.Differences)-1]
					if d.What != c.what || string(d.Old) != c.old || string(d.New) != c.new {
						t.Errorf("%+v: %s and %s", d, d.Old, d.New)
					}
				}
				check(100, 1)
				n := 0
				for _, d := range b.calls("") {
					if n += len(d.Data); d.Version != 1 {
						t.Errorf("serving: %+v", d)
					}
				}
				if n != 101 {
					t.Errorf("%d records were served", n)
				}
				b.close()
				b.open()
				time.Sleep(time.Second)
				check(100, 1)
				b.stream.putRecords(0, list)
				time.Sleep(10 * time.Second)
				check(200, 2)
				if m, err := b.Get("m"); err != nil || m.Shadow == nil || m.Shadow.Records != 200 || m.Shadow.Differences != nil {
					t.Errorf("%+v, %v", m.Shadow, err)
				}
				if n := len(b.functions.tables); n != 2 {
					t.Errorf("%d sets of tables", n)
				}
				if err := b.DeleteShadow(t.Context(), "m"); err != nil {
					t.Fatal(err)
				}
				b.wantNoShadow()
			})
		})
	}
}

// wantNoShadow makes sure that nothing is left of any.
func (b *bench) wantNoShadow() {
	b.t.Helper()
	if m, err := b.Get("m"); err != nil || m.Shadow != nil {
		b.t.Errorf("%+v, %v", m.Shadow, err)
	}
	if _, err := b.Triggers.Shadow("m"); !errors.Is(err, ErrNoShadow) {
		b.t.Error(err)
	}
	if err := b.DeleteShadow(b.t.Context(), "m"); !errors.Is(err, ErrNoShadow) {
		b.t.Error(err)
	}
	if len(b.functions.tables) != 0 {
		b.t.Errorf("tables: %v", b.functions.tables)
	}
	id := b.id()
	b.stream.mu.Lock()
	defer b.stream.mu.Unlock()
	for key := range b.stream.checkpoints {
		if !strings.HasPrefix(key, "mapping/"+id) {
			b.t.Errorf("a checkpoint is left: %s", key)
		}
	}
}

// A promoted shadow serves from the next batch on; each record is served once, by one version, in order.
func TestPromote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShadowBench(t, 2, func(m *Mapping) { m.BatchSize = 1 })
		b.functions.setHandle(func(_ context.Context, c runtime.Call, _ *runtime.Reply) error {
			if c.Trial == nil {
				time.Sleep(time.Second)
			}
			return nil
		})
		if _, err := b.Promote(t.Context(), "m", ""); !errors.Is(err, ErrNoShadow) || err.Error() != `triggers: promote the shadow of "m": the mapping has no shadow` {
			t.Error(err)
		}
		s := b.shadow(Shadow{Qualifier: "2", StartingPosition: Oldest})
		b.stream.put(0, "0", "1", "2", "3", "4")
		b.stream.put(1, "a")
		time.Sleep(2500 * time.Millisecond)
		if _, err := b.Promote(t.Context(), "m", "another"); !errors.Is(err, ErrConflict) {
			t.Error(err)
		}
		m, err := b.Promote(t.Context(), "m", s.ID)
		if err != nil || m.Qualifier != "2" || m.Function != "f" || m.State != Enabled || m.Shadow != nil || !m.Modified.After(m.Created) {
			t.Errorf("%+v, %v", m, err)
		}
		time.Sleep(time.Minute)
		var got []string
		for _, d := range b.calls("") {
			if d.Shard == 0 {
				got = append(got, fmt.Sprintf("%s v%d", d.Data[0], d.Version))
			}
		}
		if want := []string{"0 v1", "1 v1", "2 v1", "3 v2", "4 v2"}; !slices.Equal(got, want) {
			t.Errorf("served: %v, want %v", got, want)
		}
		b.wantNoShadow()
		if _, err := b.Promote(t.Context(), "m", ""); !errors.Is(err, ErrNoShadow) {
			t.Error(err)
		}
		b.close()
		b.open()
		if m, err := b.Get("m"); err != nil || m.Qualifier != "2" {
			t.Errorf("after a restart: %+v, %v", m, err)
		}
		b.shadow(Shadow{Qualifier: "3"})
		b.functions.mu.Lock()
		b.functions.versions = []int{1, 2}
		b.functions.mu.Unlock()
		if _, err := b.Promote(t.Context(), "m", ""); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `qualifier is 3;`) {
			t.Errorf("of a version that is gone: %v", err)
		}
		if s := b.found(); s.State != Blocked || !strings.Contains(s.Reason, "qualifier") {
			t.Errorf("%+v", s)
		}
		if m, _ := b.Get("m"); m.Qualifier != "2" || m.State != Enabled {
			t.Errorf("the mapping: %+v", m)
		}
	})
}

// A shadow that never comes back, is throttled or whose checkpoint is lost holds up nothing, not even the end.
func TestShadowHoldsUpNothing(t *testing.T) {
	for name, handle := range map[string]func(context.Context, runtime.Call) error{
		"hangs": func(ctx context.Context, c runtime.Call) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"throttled": func(context.Context, runtime.Call) error { return runtime.ErrThrottled },
		"traps": func(context.Context, runtime.Call) error {
			return &runtime.FunctionError{Kind: runtime.FailTrap, Message: "unreachable"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newShadowBench(t, 1, nil)
				b.functions.setHandle(func(ctx context.Context, c runtime.Call, _ *runtime.Reply) error {
					if c.Version == 2 {
						return handle(ctx, c)
					}
					return nil
				})
				b.shadow(Shadow{Qualifier: "2"})
				last := b.stream.put(0, "0", "1", "2", "3") + 3
				synctest.Wait()
				if s := b.shard(0); s.Checkpoint != last || s.State != ShardRunning || s.IteratorAge != 0 {
					t.Errorf("serving: %+v", s)
				}
				time.Sleep(time.Minute)
				s := b.found()
				if name == "traps" {
					if s.Records != 4 || s.Changed != 4 || len(s.Differences) != 4 || string(s.Differences[0].New) != "trap: unreachable" {
						t.Errorf("%+v", s)
					}
				} else if s.Records != 0 || s.Shards[0].IteratorAge < time.Minute {
					t.Errorf("%+v", s)
				}
				b.close()
				b.open()
			})
		})
	}
}

// A shadow goes by the mapping's settings, when they change too, and pauses with it.
func TestShadowFollowsTheMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShadowBench(t, 1, func(m *Mapping) { m.Filters = []string{`{"data": [{"exists": true}]}`} })
		b.put(func(m *Mapping) { m.Qualifier, m.BatchSize, m.Disabled = "1", 2, true })
		if s := b.shadow(Shadow{Qualifier: "2"}); s.State != Disabled || len(s.Shards) != 1 {
			t.Errorf("%+v", s)
		}
		b.stream.put(0, "0", "1", "2", "3")
		time.Sleep(time.Minute)
		if n := len(b.functions.deliveries()); n != 0 {
			t.Errorf("%d calls while it is paused", n)
		}
		b.putVersion(1, func(m *Mapping) { m.BatchSize = 2 })
		synctest.Wait()
		if s := b.found(); s.State != Enabled || s.Records != 4 || s.Calls != 2 {
			t.Errorf("%+v", s)
		}
		b.putVersion(3, nil)
		b.stream.put(0, "0", "1", "2", "3")
		synctest.Wait()
		if s := b.found(); s.Records != 8 || s.Calls != 3 {
			t.Errorf("%+v", s)
		}
		if calls := b.calls("serving"); calls[len(calls)-1].Version != 3 {
			t.Errorf("the version compared with: %+v", calls)
		}
		b.putVersion(3, func(m *Mapping) { m.Disabled = true })
		if s := b.found(); s.State != Disabled || s.Shards[0].State != ShardStopped {
			t.Errorf("%+v", s)
		}
		if err := b.Delete(t.Context(), "m"); err != nil {
			t.Fatal(err)
		}
		if len(b.functions.tables) != 0 || len(b.stream.checkpoints) != 0 {
			t.Errorf("left: %v, %v", b.functions.tables, b.stream.checkpoints)
		}
	})
}

// A shadow goes on with the children of a shard when it has compared all of the parent, also of shards that come later than it.
func TestShadowOfAReshardedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShadowBench(t, 1, nil)
		b.stream.put(0, "before")
		b.shadow(Shadow{Qualifier: "2"})
		b.stream.put(0, "0", "1")
		b.stream.reshard(2, 0)
		b.stream.put(1, "a")
		b.stream.put(2, "b", "c")
		synctest.Wait()
		s := b.found()
		if s.Records != 5 || len(s.Shards) != 3 || s.Shards[0].State != ShardEnded {
			t.Errorf("%+v", s)
		}
		for _, d := range b.calls("shadow") {
			if slices.Contains(d.Data, "before") {
				t.Errorf("it has what was there before: %+v", d)
			}
		}
		b.close()
		b.open()
		b.stream.put(1, "d")
		synctest.Wait()
		if s := b.found(); s.Records != 6 {
			t.Errorf("after a restart: %+v", s)
		}
	})
}

// The same again changes nothing; anything else is another shadow, which counts from zero.
func TestShadowIsPutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShadowBench(t, 1, nil)
		b.stream.put(0, "0", "1")
		first := b.shadow(Shadow{Qualifier: "2", StartingPosition: Oldest})
		synctest.Wait()
		again, created, err := b.PutShadow(t.Context(), "m", Shadow{Function: "f", Qualifier: "2", StartingPosition: Oldest})
		if err != nil || created || again.ID != first.ID || again.Records != 2 {
			t.Errorf("%+v, %v, %v", again, created, err)
		}
		other, created, err := b.PutShadow(t.Context(), "m", Shadow{Qualifier: "3"})
		if err != nil || !created || other.ID == first.ID {
			t.Errorf("%+v, %v, %v", other, created, err)
		}
		synctest.Wait()
		if s := b.found(); s.Records != 0 || s.Calls != 0 {
			t.Errorf("%+v", s)
		}
		for key := range b.stream.checkpoints {
			if strings.Contains(key, first.ID) {
				t.Errorf("left: %s", key)
			}
		}
	})
}

func TestPutShadowRefusesWhatIsNotValid(t *testing.T) {
	b := newShadowBench(t, 1, func(m *Mapping) { m.TumblingWindow = time.Minute })
	b.functions.set("transforms", 1<<runtime.KindTransform)
	b.functions.set("lambda", 1<<runtime.KindInvoke)
	b.functions.set("windowless", 1<<runtime.KindBatch)
	now := time.Now()
	for _, c := range []struct {
		field string
		s     Shadow
		says  string
	}{
		{"qualifier", Shadow{}, ""},
		{"qualifier", Shadow{Qualifier: "1"}, "another version than the one that serves"},
		{"qualifier", Shadow{Function: "f", Qualifier: "1"}, "another version than the one that serves"},
		{"qualifier", Shadow{Qualifier: "4"}, "the number of a version that the function has"},
		{"qualifier", Shadow{Qualifier: "none"}, "the number of a version that the function has"},
		{"qualifier", Shadow{Qualifier: "a b"}, ""},
		{"qualifier", Shadow{Function: "lambda"}, "takes records as the serving one does"},
		{"function", Shadow{Function: "unknown"}, "a function that exists"},
		{"function", Shadow{Function: "transforms"}, "handles stream batches"},
		{"function", Shadow{Function: "windowless"}, "handles the end of a window"},
		{"startingPosition", Shadow{Qualifier: "2", StartingPosition: "middle"}, "oldest, newest or timestamp"},
		{"startingTime", Shadow{Qualifier: "2", StartingPosition: AtTime}, "a time"},
		{"startingTime", Shadow{Qualifier: "2", StartingPosition: AtTime, StartingTime: now.Add(time.Hour)}, "not in the future"},
		{"startingTime", Shadow{Qualifier: "2", StartingTime: now.Add(-time.Hour)}, "left out"},
	} {
		if c.s == (Shadow{}) {
			b.putVersion(1, func(m *Mapping) { m.TumblingWindow, m.Qualifier = time.Minute, "" })
		}
		_, _, err := b.PutShadow(t.Context(), "m", c.s)
		var f *field.Error
		if !errors.As(err, &f) || f.Field != c.field || !strings.Contains(f.Limit, c.says) {
			t.Errorf("%+v: %v", c.s, err)
		}
		b.putVersion(1, func(m *Mapping) { m.TumblingWindow = time.Minute })
	}
	for _, try := range []func() error{
		func() error { _, _, err := b.PutShadow(t.Context(), "none", Shadow{Qualifier: "2"}); return err },
		func() error { _, err := b.Triggers.Shadow("none"); return err },
		func() error { return b.DeleteShadow(t.Context(), "none") },
		func() error { _, err := b.Promote(t.Context(), "none", ""); return err },
	} {
		if err := try(); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	b.wantNoShadow()
}

// Without a stream there is nothing to read, and nothing to promote.
func TestShadowOfAFailedMapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShadowBench(t, 1, nil)
		b.shadow(Shadow{Qualifier: "2"})
		b.streams.remove("s")
		synctest.Wait()
		if s := b.found(); s.State != Failed {
			t.Errorf("%+v", s)
		}
		if _, err := b.Promote(t.Context(), "m", ""); !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
		if _, _, err := b.PutShadow(t.Context(), "m", Shadow{Qualifier: "3"}); !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
		if err := b.DeleteShadow(t.Context(), "m"); err != nil {
			t.Error(err)
		}
	})
}

// In windows each version has its own state, by either door; what it comes to is compared with each call.
func TestShadowInWindows(t *testing.T) {
	for _, kinds := range []runtime.Kinds{runtime.AllKinds, 1 << runtime.KindInvoke} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 1)
			b.functions.versions = []int{1, 2}
			b.functions.set("f", kinds)
			b.functions.setHandle(summing)
			b.putVersion(1, func(m *Mapping) { m.TumblingWindow = time.Minute })
			b.shadow(Shadow{Qualifier: "2"})
			time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
			for range 3 {
				b.stream.put(0, "x")
				time.Sleep(time.Second)
			}
			s := b.found()
			if s.Records != 3 || s.Same != 0 || s.Changed != 3 || s.Differences[0].What != StateDiffers {
				t.Fatalf("%+v", s)
			}
			if d := s.Differences[0]; string(d.Old) != `{"n":3}` || string(d.New) != `{"n":6}` {
				t.Errorf("%s and %s", d.Old, d.New)
			}
			time.Sleep(2 * time.Minute)
			if s := b.found(); s.Calls != 4 || s.SameCalls != 1 {
				t.Errorf("after the end: %+v", s.Comparison)
			}
		})
	}
}

// summing counts records in the state of a window; the second version counts each twice.
func summing(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
	text, n := string(c.State), 0
	if c.Kind == runtime.KindInvoke {
		_, rest, _ := strings.Cut(string(c.Body), `"state":`)
		text = rest[:strings.Index(rest, "}")+1]
	}
	_, _ = fmt.Sscanf(text, `{"n":%d}`, &n) // in the beginning there is none
	if c.Kind != runtime.KindWindowClose {
		n += max(1, c.Version)
	}
	state := fmt.Appendf(nil, `{"n":%d}`, n)
	if c.Kind == runtime.KindInvoke {
		reply.Body = fmt.Appendf(nil, `{"state":%s}`, state)
	} else {
		reply.State = state
	}
	return nil
}
