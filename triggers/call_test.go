package triggers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/internal/sequence"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers/event"
)

// lambdaBench is a bench whose function "f" takes Lambda's event only. handle has the event, and returns what the function does.
func lambdaBench(t *testing.T, handle func(e lambdaEvent) (string, error)) *bench {
	b := newBench(t, 1)
	b.functions.set("f", 1<<runtime.KindInvoke)
	b.functions.handle = func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
		if c.Kind != runtime.KindInvoke || len(c.Records) != 0 {
			return fmt.Errorf("%w: %v", runtime.ErrUnsupported, c.Kind)
		}
		var e lambdaEvent
		if err := json.Unmarshal(c.Body, &e); err != nil {
			return failure(err.Error())
		}
		out, err := handle(e)
		reply.Body = []byte(out)
		return err
	}
	return b
}

// A call by Lambda's door is kept as one that failed also when its answer asks for records again, or cannot be read.
func TestEventsThatAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e lambdaEvent
		var keep *runtime.Keep
		b := lambdaBench(t, func(event lambdaEvent) (string, error) { e = event; return "", nil })
		handle := b.functions.handle
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			keep = c.Keep
			return handle(ctx, c, reply)
		}
		for name, mapping := range map[string]func(*Mapping){
			"reported": func(m *Mapping) { m.Capsules.Failed, m.ReportItemFailures = true, true },
			"not":      func(m *Mapping) { m.Capsules.Failed = true },
			"none":     func(m *Mapping) { m.Capsules.Sample = 1 },
		} {
			b.put(func(m *Mapping) { mapping(m) })
			b.stream.put(0, "0", "1")
			synctest.Wait()
			if name == "none" {
				if keep == nil || keep.Troubled != nil {
					t.Errorf("%s: %+v", name, keep)
				}
				continue
			}
			for answer, troubled := range map[string]bool{
				`{"batchItemFailures":[{"itemIdentifier":"` + e.Records[1].Kinesis.SequenceNumber + `"}]}`: true, `{"batchItemFailures":[{"itemIdentifier":"no"}]}`: true, `no JSON`: true,
				`{"batchItemFailures":[]}`: false, "": false,
			} {
				if got := keep.Troubled([]byte(answer)); got != (troubled && name == "reported") {
					t.Errorf("%s: %q is kept: %v", name, answer, got)
				}
			}
		}
	})
}

// The end of a window is kept by the window's end, which the event has and the call has not: not at every try anew.
func TestEndsOfWindowsThatAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var ends []time.Duration // of the windows by which final calls are kept; of others less than 0
		b := lambdaBench(t, func(e lambdaEvent) (string, error) {
			if e.Final {
				return "", failure("no database")
			}
			return `{"state":{}}`, nil
		})
		handle := b.functions.handle
		b.functions.handle = func(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
			ends = append(ends, c.Keep.Window.Sub(began))
			return handle(ctx, c, reply)
		}
		b.put(func(m *Mapping) { m.Capsules.Failed, m.TumblingWindow, m.MaxAttempts = true, 10*time.Second, 2 })
		b.stream.put(0, "0")
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(ends) != 3 || ends[0] >= 0 || ends[1] != 10*time.Second || ends[2] != 10*time.Second {
			t.Errorf("kept by windows that end after %v", ends)
		}
	})
}

// A version with Lambda's door that takes the place of one without, in the midst of a window, gets the state in an event that can be read; also after a crash.
func TestStateGoesFromDoorToDoor(t *testing.T) {
	for _, crash := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var states []string
			b := lambdaBench(t, func(e lambdaEvent) (string, error) {
				states = append(states, string(e.State))
				return `{"state":{"n":"1"}}`, nil
			})
			takesEvents := b.functions.handle
			b.functions.set("f", runtime.AllKinds)
			b.functions.setHandle(func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
				reply.State, reply.Version = []byte("1,2,"), 1
				return nil
			})
			b.put(func(m *Mapping) { m.TumblingWindow, m.BatchSize = 10*time.Minute, 1 })
			b.stream.put(0, "0")
			synctest.Wait()
			if crash {
				b.close()
			}
			b.functions.set("f", 1<<runtime.KindInvoke)
			b.functions.setHandle(takesEvents)
			if crash {
				b.open()
			} else {
				b.put(func(m *Mapping) { m.TumblingWindow, m.BatchSize, m.Qualifier = 10*time.Minute, 1, "$LATEST" })
			}
			b.stream.put(0, "1", "2")
			time.Sleep(time.Minute)
			synctest.Wait()
			if want := []string{`{"base64":"MSwyLA=="}`, `{"n":"1"}`}; !slices.Equal(states, want) {
				t.Errorf("after a crash %v: states %q, want %q", crash, states, want)
			}
		})
	}
}

type lambdaEvent struct {
	Records []struct {
		Kinesis struct {
			Data           []byte `json:"data"`
			SequenceNumber string `json:"sequenceNumber"`
		} `json:"kinesis"`
		EventSourceARN string `json:"eventSourceARN"`
	}
	Window *struct{ Start, End time.Time }
	State  json.RawMessage
	Final  bool `json:"isFinalInvokeForWindow"`
	Early  bool `json:"isWindowTerminatedEarly"`
}

func (e *lambdaEvent) text() (list []string) {
	for _, r := range e.Records {
		list = append(list, string(r.Kinesis.Data))
	}
	return list
}

// testEvents are events of the region "here".
func testEvents(m Mapping, streamID string) event.Envelope {
	return event.Envelope{Region: "here", StreamARN: "arn:" + m.Stream, Role: "role", Numbers: sequence.Of("01ARZ3NDEKTSV4RRFFQ69G5FAV")}
}

func TestLambdaDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got [][]string
		b := lambdaBench(t, func(e lambdaEvent) (string, error) {
			got = append(got, e.text())
			if i := slices.Index(e.text(), "2"); i >= 0 && len(got) < 3 {
				return `{"batchItemFailures":[{"itemIdentifier":"` + e.Records[i].Kinesis.SequenceNumber + `"}]}`, nil
			}
			return "", nil
		})
		first := b.stream.put(0, numbered(0, 5)...)
		b.put(func(m *Mapping) { m.ReportItemFailures = true })
		time.Sleep(time.Minute)
		synctest.Wait()
		want := [][]string{numbered(0, 5), numbered(2, 3), numbered(2, 3)}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("events %q, want %q", got, want)
		}
		if s := b.shard(0); s.Checkpoint != first+4 || s.Counts.Settled != 5 || s.Counts.Partial != 2 {
			t.Errorf("status %+v", s)
		}
	})
}

// What a function says of single records counts only where the mapping says so, and what it says wrongly is a failure.
func TestLambdaDoorReplies(t *testing.T) {
	for name, c := range map[string]struct {
		report bool
		reply  string
		calls  int
		given  uint64
	}{
		"nothing":                {true, "", 1, 0},
		"an empty list":          {true, `{"batchItemFailures":[]}`, 1, 0},
		"an unknown item":        {true, `{"batchItemFailures":[{"itemIdentifier":"123"}]}`, 3, 2},
		"an item without id":     {true, `{"batchItemFailures":[{"foo":1}]}`, 3, 2},
		"items, not asked for":   {false, `{"batchItemFailures":[{"itemIdentifier":"123"}]}`, 1, 0},
		"no JSON, not asked for": {false, `hello`, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := lambdaBench(t, func(e lambdaEvent) (string, error) { return c.reply, nil })
				b.stream.put(0, "0", "1")
				b.put(func(m *Mapping) { m.ReportItemFailures, m.MaxAttempts = c.report, 3 })
				time.Sleep(time.Minute)
				synctest.Wait()
				if s := b.shard(0); len(b.functions.deliveries()) != c.calls || s.Counts.GivenUp != c.given || s.Counts.Settled != 2-c.given {
					t.Errorf("%d calls, %+v", len(b.functions.deliveries()), s)
				}
			})
		})
	}
}

func TestLambdaDoorWindows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		b := lambdaBench(t, func(e lambdaEvent) (string, error) {
			got = append(got, fmt.Sprintf("%v %s %v %s", e.text(), e.State, e.Final, e.Window.End.Sub(e.Window.Start)))
			if len(got) == 2 {
				return `{}`, nil // without a state it counts as failed
			}
			return fmt.Sprintf(`{"state":{"n":%d}}`, len(got)), nil
		})
		b.stream.put(0, "0", "1")
		b.put(func(m *Mapping) { m.TumblingWindow, m.BatchSize = time.Minute, 1 })
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		want := []string{`[0] {} false 1m0s`, `[1] {"n":1} false 1m0s`, `[1] {"n":1} false 1m0s`, `[] {"n":3} true 1m0s`}
		if !slices.Equal(got, want) {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}

// An event has at most 6 MiB; a record that is larger than that alone is given up, and never handed over.
func TestLambdaDoorSizes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sizes [][]int
		b := lambdaBench(t, func(e lambdaEvent) (string, error) {
			var list []int
			for _, text := range e.text() {
				list = append(list, len(text)>>20)
			}
			sizes = append(sizes, list)
			return "", nil
		})
		mebibyte := func(n int) string { return strings.Repeat("x", n<<20) }
		first := b.stream.put(0, mebibyte(2), mebibyte(2), mebibyte(1), mebibyte(5), "small")
		b.put(toFailures(func(*Mapping) {}))
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := [][]int{{2, 2}, {1}, {0}}; fmt.Sprint(sizes) != fmt.Sprint(want) {
			t.Errorf("events with records of %d MiB, want %d", sizes, want)
		}
		got, _ := b.failures.deliveries()
		if s := b.shard(0); len(got) != 1 || got[0].Reason != RecordTooLarge || got[0].Attempts != 0 || s.Counts.GivenUp != 1 || s.Checkpoint != first+4 {
			t.Errorf("delivered %+v, status %+v", got, s)
		}
	})
}

// A function may change its door with a new version, both ways.
func TestFunctionsChangeTheirDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		version := 1
		b.functions.handle = func(_ context.Context, c runtime.Call, reply *runtime.Reply) error {
			reply.Version = version
			if f, _ := b.functions.Get("f"); !f.Kinds.Has(c.Kind) {
				return fmt.Errorf("invoke: %w", runtime.ErrUnsupported)
			}
			return nil
		}
		b.put(func(m *Mapping) { m.MaxAttempts = 1 })
		var kinds []runtime.Kind
		for _, k := range []runtime.Kinds{runtime.AllKinds, 1 << runtime.KindInvoke, 1<<runtime.KindInvoke | 1<<runtime.KindBatch, 1 << runtime.KindBatch} {
			b.functions.set("f", k)
			version++
			for range 2 {
				b.stream.put(0, "x")
				time.Sleep(time.Second)
				synctest.Wait()
				calls := b.functions.deliveries()
				kinds = append(kinds, calls[len(calls)-1].Kind)
			}
		}
		// The first call of the third version still takes the Lambda door, which it has as well.
		if want := []runtime.Kind{1, 1, 4, 4, 4, 1, 1, 1}; !slices.Equal(kinds, want) {
			t.Errorf("kinds %v, want %v", kinds, want)
		}
		if c := b.shard(0).Counts; c.Settled != 8 || c.GivenUp != 0 {
			t.Errorf("counts %+v", c)
		}
	})
}

// Without events a function that takes only those is refused.
func TestLambdaDoorIsClosed(t *testing.T) {
	b := newBench(t, 1)
	b.functions.set("f", 1<<runtime.KindInvoke)
	b.events = nil
	b.close()
	b.open()
	var refused *FieldError
	if _, _, err := b.Put(t.Context(), Mapping{Name: "m", Stream: "s", Function: "f"}); !errors.As(err, &refused) || refused.Field != "function" {
		t.Error(err)
	}
}
