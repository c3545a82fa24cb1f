package aws

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awslambda "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// hanging are destinations of which one does not answer until it has healed.
type hanging struct {
	streamDestinations
	uri    string
	healed chan struct{}

	mu  sync.Mutex
	got map[string]int // how often a document came, by destination and request
}

func (d *hanging) Deliver(ctx context.Context, uri string, doc Document) error {
	if uri == d.uri {
		select {
		case <-d.healed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got[uri+" "+doc.ID]++
	return nil
}

// count is how many documents a destination has, and fails where it has one twice.
func (d *hanging) count(t *testing.T, uri string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, times := range d.got {
		if strings.HasPrefix(key, uri+" ") {
			n++
		}
		if times > 1 {
			t.Errorf("document %s came %d times", key, times)
		}
	}
	return n
}

// TestDeadDestination holds nobody else up: calls of another function are made, and their documents delivered, while those of the first wait for a destination that does not
// answer, most of them in the stream. When it does answer, or the next host finds that it does, each of them is delivered.
func TestDeadDestination(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			l := newLambdaRig(t)
			to := &hanging{streamDestinations: streamDestinations{l.store}, uri: "stream:dead", healed: make(chan struct{}), got: map[string]int{}}
			for function, stream := range map[string]string{"f": "dead", "g": "good"} {
				l.stream(stream, 1)
				l.createFunction(function, guest{}, nil)
				ok(l.putAsync(function, func(in *awslambda.PutFunctionEventInvokeConfigInput) {
					in.DestinationConfig = successesTo(streamsAt + stream)
				}))(t)
			}
			q := l.handler.lambda.events
			q.destinations, q.room, q.functions = to, newPot(6*leastUnderWay, 2), stubFunctions{invoke: func(_ runtime.Call, reply *runtime.Reply) error {
				reply.Version, reply.Body = 1, []byte(`"done"`)
				return nil
			}}
			const each = 12
			for i := range each {
				for _, function := range []string{"f", "g"} {
					l.must(q.add(l.ctx, runtime.Call{Function: function, ID: fmt.Sprint(function, i)}))
				}
			}
			eventually(t, "g's documents are there", func() bool { return to.count(t, "stream:good") == each })
			st := ok(l.store.Stream(AsyncStream))(t)
			eventually(t, "all of g's have ended by the checkpoint, and f's have not", func() bool {
				cp, _ := st.Checkpoint(asyncConsumer, 0)
				return record.Counter(cp.Sequence) == 2*each && strings.HasPrefix(string(cp.State), `{"f":{`) && !strings.Contains(string(cp.State), `"g"`)
			})
			q.room.mu.Lock()
			if n := to.count(t, "stream:dead"); n != 0 || q.room.held["f"] != 2*leastUnderWay {
				t.Errorf("%d of f's documents are delivered, %d bytes under way", n, q.room.held["f"])
			}
			q.room.mu.Unlock()
			if restart {
				q.stop()
				q = newEvents(Options{Streams: l.store, Settings: l.handler.settings, Logger: slog.New(slog.DiscardHandler), Functions: q.functions, Destinations: to}, l.handler.functionARN)
				defer q.stop()
			}
			close(to.healed)
			eventually(t, "f's documents are there", func() bool { return to.count(t, "stream:dead") == each })
			settled(t, st, 2*each)
			q.stop()
			for _, p := range []*pot{q.room, q.answers, q.deliveries} {
				if len(p.held)+len(p.line) != 0 {
					t.Errorf("%v is held, %d wait", p.held, len(p.line))
				}
			}
		})
	}
}

// TestBacklog makes each call once while functions hang by turns, have no room, and hosts stop; only what a stop has cut off is made again.
func TestBacklog(t *testing.T) {
	l := newLambdaRig(t)
	l.handler.lambda.events.stop()
	const functions, rounds, each = 5, 4, 12
	var mu sync.Mutex
	made := map[string]int{}
	want := map[string]bool{}
	for round := range rounds {
		stuck := map[string]bool{}
		if round < rounds-1 {
			stuck[fmt.Sprint("f", round)], stuck[fmt.Sprint("f", round+1)] = true, true
		}
		q := newEventsIn(l, 4*leastUnderWay, stubFunctions{wait: func(ctx context.Context, call runtime.Call) error {
			if stuck[call.Function] {
				<-ctx.Done()
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			made[call.Function+" "+call.ID]++
			return nil
		}})
		for i := range functions * each {
			call := runtime.Call{Function: fmt.Sprint("f", i*i%functions), ID: fmt.Sprint(round, "-", i)}
			l.must(q.add(l.ctx, call))
			want[call.Function+" "+call.ID] = true
		}
		eventually(t, "what is not stuck is made", func() bool {
			mu.Lock()
			defer mu.Unlock()
			for key := range want {
				if function, _, _ := strings.Cut(key, " "); made[key] == 0 && !stuck[function] {
					return false
				}
			}
			return true
		})
		if round == rounds-1 {
			settled(t, ok(l.store.Stream(AsyncStream))(t), rounds*functions*each)
		}
		q.stop()
	}
	for call := range want {
		if made[call] != 1 {
			t.Errorf("%s was made %d times", call, made[call])
		}
	}
}

// newEventsIn is a reader of the rig's invocations with little room, of which a function can have a half.
func newEventsIn(l *lambdaRig, room int64, functions Functions) *events {
	q := newEvents(Options{Streams: noStreams{l.store}, Settings: noSettings{}, Logger: slog.New(slog.DiscardHandler), Functions: functions}, l.handler.functionARN)
	q.streams, q.room = l.store, newPot(room, 1)
	if st, err := l.store.Stream(AsyncStream); err == nil {
		q.read(st)
	}
	return q
}

// noStreams has none yet.
type noStreams struct{ *shards.Store }

func (noStreams) Stream(string) (*shards.Stream, error) { return nil, shards.ErrNotFound }

// TestWaitsForAnAnswersRoom holds no call of another function up where a function's answers wait for a destination: it waits before its call.
func TestWaitsForAnAnswersRoom(t *testing.T) {
	l := newLambdaRig(t)
	to := &hanging{streamDestinations: streamDestinations{l.store}, uri: "stream:dead", healed: make(chan struct{}), got: map[string]int{}}
	l.stream("dead", 1)
	for _, function := range []string{"f", "g"} {
		l.createFunction(function, guest{}, nil)
	}
	ok(l.putAsync("f", func(in *awslambda.PutFunctionEventInvokeConfigInput) {
		in.DestinationConfig = successesTo(streamsAt + "dead")
	}))(t)
	q := l.handler.lambda.events
	var mu sync.Mutex
	called := map[string]int{}
	q.destinations, q.answers = to, newPot(leastAnswer+1, 1)
	q.functions = stubFunctions{invoke: func(call runtime.Call, reply *runtime.Reply) error {
		mu.Lock()
		defer mu.Unlock()
		called[call.Function]++
		reply.Version, reply.Body = 1, []byte(`"an answer that is longer than the room"`)
		return nil
	}}
	for _, function := range []string{"f", "f", "f", "g", "g", "g"} {
		l.must(q.add(l.ctx, runtime.Call{Function: function, ID: newRequestID()}))
	}
	have := func(f, g int) bool {
		mu.Lock()
		defer mu.Unlock()
		return called["f"] == f && called["g"] == g
	}
	eventually(t, "g's are called, and f's first", func() bool { return have(1, 3) })
	close(to.healed)
	eventually(t, "all are called", func() bool { return have(3, 3) })
	settled(t, ok(l.store.Stream(AsyncStream))(t), 6)
	if n := to.count(t, "stream:dead"); n != 3 {
		t.Errorf("%d documents", n)
	}
}

// TestSlowFunction holds nobody else up, however many calls of it are under way.
func TestSlowFunction(t *testing.T) {
	l := newLambdaRig(t)
	q := l.handler.lambda.events
	end, called := make(chan struct{}), make(chan string)
	q.functions = stubFunctions{wait: func(ctx context.Context, call runtime.Call) error {
		if call.Function == "slow" {
			select {
			case <-end:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		called <- call.Function
		return nil
	}}
	for range 2 * maxCalls {
		l.must(q.add(l.ctx, runtime.Call{Function: "slow"}))
	}
	for _, function := range []string{"f", "g", "f"} {
		l.must(q.add(l.ctx, runtime.Call{Function: function}))
		if got := <-called; got != function {
			t.Errorf("called is %s", got)
		}
	}
	close(end)
	settled(t, ok(l.store.Stream(AsyncStream))(t), 2*maxCalls+3)
}

// TestOpenCalls holds the form of a checkpoint's state, and what is none against it.
func TestOpenCalls(t *testing.T) {
	read := record.MakeSequence(2, 100)
	open := map[uint64]string{read: "f", read - 7: "f", read - 50: "g"}
	behind := map[string]uint64{"f": read - 3, "h": record.MakeSequence(2, 0)}
	state := string(formatOpen(read, open, behind))
	if want := `{"f":{"open":[0,7],"behind":3},"g":{"open":[50]},"h":{"behind":100}}`; state != want {
		t.Errorf("state %s, want %s", state, want)
	}
	gotOpen, gotBehind, err := parseOpen(read, []byte(state))
	if err != nil || !maps.Equal(gotOpen, open) || !maps.Equal(gotBehind, behind) {
		t.Errorf("%v, %v: %v", gotOpen, gotBehind, err)
	}
	if formatOpen(read, nil, nil) != nil {
		t.Error("nothing has a state")
	}
	for _, bad := range []string{"x", `{"f":{"open":[101]}}`, `{"f":{"behind":101}}`, `{"f":{"open":[-1]}}`, `[]`} {
		if _, _, err := parseOpen(read, []byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	l := (&backlog{open: open, behind: behind}).left()
	if len(l) != 3 || !slices.Equal(l["f"].open, []uint64{read - 7, read}) || !l["f"].behind || l["g"].behind || !l["h"].behind {
		t.Errorf("left are %v", l)
	}
	if savePace(0) != 0 || savePace(20_000) != time.Second {
		t.Error("another pace")
	}
}

// FuzzOpenCalls reads back what it has written of anything that it takes.
func FuzzOpenCalls(f *testing.F) {
	f.Add(uint64(100), []byte(`{"f":{"open":[0,7],"behind":3}}`))
	f.Add(uint64(0), []byte(`{"":{}}`))
	f.Fuzz(func(t *testing.T, read uint64, state []byte) {
		open, behind, err := parseOpen(read, state)
		if err != nil {
			return
		}
		again, behindAgain, err := parseOpen(read, formatOpen(read, open, behind))
		if err != nil || !maps.Equal(again, open) || !maps.Equal(behindAgain, behind) {
			t.Errorf("%v, %v became %v, %v: %v", open, behind, again, behindAgain, err)
		}
	})
}

// TestCallThatIsGone ends what a checkpoint names and the stream has no more, and takes up the rest.
func TestCallThatIsGone(t *testing.T) {
	l := newLambdaRig(t)
	q := l.handler.lambda.events
	q.stop()
	st := ok(q.stream(l.ctx))(t)
	called := make(chan string, 1)
	ok(st.Put(l.ctx, []record.Record{{Key: []byte("f"), Data: []byte(`{"id":"i-1"}` + "\n")}}, nil))(t)
	first := record.MakeSequence(record.Epoch(ok(ok(st.Reader(0, shards.Start{}))(t).Next(l.ctx))(t).First().Sequence), 1)
	ok(st.SaveCheckpoint(l.ctx, shards.Checkpoint{Consumer: asyncConsumer, Shard: 0, Sequence: first, State: []byte(`{"f":{"open":[0,1]}}`)}))(t)
	again := newEvents(Options{Streams: l.store, Settings: l.handler.settings, Logger: slog.New(slog.DiscardHandler), Functions: stubFunctions{invoke: func(call runtime.Call, _ *runtime.Reply) error {
		called <- call.ID
		return nil
	}}}, l.handler.functionARN)
	defer again.stop()
	if id := <-called; id != "i-1" {
		t.Errorf("called is %s", id)
	}
	settled(t, st, 1)
}
