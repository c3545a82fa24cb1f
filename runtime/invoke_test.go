package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

func TestInvokeAnswers(t *testing.T) {
	w := open(t)
	f := w.deploy(t, "probe", guests["probe"], Config{})
	if f.Version != 1 || f.State != StateActive || !f.Kinds.Has(KindBatch) || f.Kinds.Has(KindWindowClose) {
		t.Errorf("deployed %+v", f)
	}
	if got := w.mustAsk(t, "probe", "echo hello"); got != "hello" {
		t.Errorf("answer %q", got)
	}
	var reply Reply
	call := Call{Function: "probe", Kind: KindInvoke, Body: []byte("call"), ID: "my-id"}
	if err := w.Invoke(t.Context(), call, &reply); err != nil {
		t.Fatal(err)
	}
	if got := string(reply.Body); got != "probe 1 my-id" || reply.Invocation != "my-id" || reply.Version != 1 {
		t.Errorf("the function saw %q, the reply says %s of version %d", got, reply.Invocation, reply.Version)
	}
	if reply.Duration <= 0 || reply.MemoryPeak <= 0 {
		t.Errorf("duration %v, memory %d", reply.Duration, reply.MemoryPeak)
	}
}

func TestFailuresAreToldApart(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: 2 * time.Second, MemoryBytes: 24 << 20, Concurrency: 1})
	for _, c := range []struct {
		body          string
		kind          ErrorKind
		message       string // a part of it
		stack         string // a part of it
		exit          int
		keepsInstance bool
	}{
		{body: "error out of paper", kind: FailError, message: "out of paper", keepsInstance: true},
		{body: "panic oh no", kind: FailError, message: "oh no", stack: "main.deeper"},
		{body: "fatal in the background", kind: FailTrap, message: "unreachable: panic: in the background", stack: "main.invoke"},
		{body: "exit 7", kind: FailExit, message: "exited with code 7", stack: "main.invoke", exit: 7},
		{body: "exit 0", kind: FailExit, message: "exited with code 0", stack: "main.invoke"},
		{body: "allocate", kind: FailMemory, message: "limit of 24 MiB", stack: "main.invoke"},
		{body: "spin", kind: FailTimeout, message: "timeout of 2s", stack: "main.spin"},
		{body: "sleep 60000", kind: FailTimeout, message: "timeout of 2s"},
		{body: "reply 70000000", kind: FailMemory, message: "limit of 24 MiB"},
	} {
		t.Run(c.body, func(t *testing.T) {
			before := w.mustAsk(t, "probe", "calls")
			_, err := w.ask(t.Context(), "probe", c.body)
			f := failure(t, err, c.kind)
			if !strings.Contains(f.Message, c.message) || !strings.Contains(f.Stack, c.stack) || f.ExitCode != c.exit {
				t.Errorf("exit code %d, message %q, stack\n%s", f.ExitCode, f.Message, f.Stack)
			}
			if f.Function != "probe" || f.Version != 1 || f.Invocation == "" {
				t.Errorf("it names %s %d %s", f.Function, f.Version, f.Invocation)
			}
			after := w.mustAsk(t, "probe", "calls")
			if kept := after != "1"; kept != c.keepsInstance {
				t.Errorf("calls in the instance: %s before, %s after", before, after)
			}
			if n := w.instances("probe"); n != 1 {
				t.Errorf("%d instances", n)
			}
		})
	}
}

func TestDeepRecursionIsAFailure(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: time.Minute, MemoryBytes: 64 << 20})
	_, err := w.ask(t.Context(), "probe", "recurse")
	var f *FunctionError
	if !errors.As(err, &f) || f.Kind != FailMemory && f.Kind != FailTrap && f.Kind != FailExit {
		t.Fatalf("recursion without end: %v", err)
	}
	w.mustAsk(t, "probe", "echo still here")
}

func TestBatchOutcomesAndOutputs(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"b", "a"}})
	var reply Reply
	call := Call{Function: "probe", Kind: KindBatch, Source: Source{Mapping: "m", Stream: "s", Shard: 3}, Records: []record.Run{
		records(t, "a", "ok", "drop not wanted", "emit 1"), {}, records(t, "b", "emit 2", "retry later", "reject bad"),
	}}
	if err := w.Invoke(t.Context(), call, &reply); err != nil {
		t.Fatal(err)
	}
	want := []Outcome{{1, ResultDropped, "not wanted"}, {4, ResultRetry, "later"}, {5, ResultRejected, "bad"}}
	if !slices.Equal(reply.Outcomes, want) {
		t.Errorf("outcomes %v, want %v", reply.Outcomes, want)
	}
	if want := []string{"a/a/emit 1", "b/b/emit 2"}; !slices.Equal(w.emitted.records, want) || reply.Emitted != 2 {
		t.Errorf("emitted %d: %q, want %q", reply.Emitted, w.emitted.records, want)
	}
	call.Records = []record.Run{records(t, "a", "ok")}
	if err := w.Invoke(t.Context(), call, &reply); err != nil || len(reply.Outcomes) != 0 || reply.Emitted != 0 {
		t.Errorf("the reply is not fresh: %v, %v, %d", err, reply.Outcomes, reply.Emitted)
	}
}

func TestEmptyBatch(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	if err := w.Invoke(t.Context(), Call{Function: "probe", Kind: KindBatch}, new(Reply)); err != nil {
		t.Fatal(err)
	}
}

func TestEmitIsDeniedUnlessGranted(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"granted"}})
	call := Call{Function: "probe", Kind: KindBatch, Records: []record.Run{records(t, "granted", "emit 1"), records(t, "other", "emit 2")}}
	f := failure(t, w.Invoke(t.Context(), call, new(Reply)), FailDenied)
	if !strings.Contains(f.Message, `"other"`) {
		t.Errorf("message %q", f.Message)
	}
	_, err := w.ask(t.Context(), "probe", "emit-and-fail granted")
	failure(t, err, FailError)
	if len(w.emitted.records) != 0 {
		t.Errorf("emitted %q", w.emitted.records)
	}
	if _, err := w.ask(t.Context(), "probe", "emit granted data"); err != nil || len(w.emitted.records) != 1 {
		t.Errorf("%v, emitted %q", err, w.emitted.records)
	}
}

func TestEmitterFailureIsTheHosts(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"s"}})
	w.emitted.err = errors.New("disk full")
	_, err := w.ask(t.Context(), "probe", "emit s data")
	var f *FunctionError
	if !errors.Is(err, ErrEmit) || !errors.Is(err, w.emitted.err) || errors.As(err, &f) {
		t.Errorf("error %v", err)
	}
}

func TestRefusedOutputIsTheFunctions(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"s"}})
	w.emitted.err = fmt.Errorf("key of 257 characters: %w", ErrRefused)
	_, err := w.ask(t.Context(), "probe", "emit s data")
	if f := failure(t, err, FailRefused); !strings.Contains(f.Message, "257 characters") {
		t.Errorf("message %q", f.Message)
	}
	w.emitted.err = nil
	if _, err := w.ask(t.Context(), "probe", "emit s data"); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestHostErrors(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	w.deploy(t, "touch", guests["touch"], Config{})
	for name, c := range map[string]struct {
		call Call
		want error
	}{
		"no function": {Call{Function: "none", Kind: KindInvoke}, ErrNotFound},
		"no version":  {Call{Function: "probe", Version: 2, Kind: KindInvoke}, ErrNotFound},
		"other kind":  {Call{Function: "touch", Kind: KindInvoke}, ErrUnsupported},
		"no kind":     {Call{Function: "probe"}, ErrUnsupported},
	} {
		if err := w.Invoke(t.Context(), c.call, new(Reply)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestContextStopsTheGuest(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: time.Minute})
	for _, body := range []string{"spin", "sleep 60000"} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := w.ask(ctx, "probe", body)
		cancel()
		var f *FunctionError
		if !errors.Is(err, context.DeadlineExceeded) || errors.As(err, &f) || errors.Is(err, ErrThrottled) {
			t.Errorf("%s: %v", body, err)
		}
		if w.mustAsk(t, "probe", "calls") != "1" {
			t.Errorf("%s: the instance was used again", body)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.ask(canceled, "probe", "echo x"); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	w.mustAsk(t, "probe", "echo x")
}

func TestConcurrencyIsBounded(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: time.Minute, Concurrency: 1})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := w.ask(ctx, "probe", "sleep 60000")
		first <- err
	}()
	for w.instances("probe") == 0 {
		waitTurn(t)
	}
	short, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	_, err := w.ask(short, "probe", "echo x")
	if !errors.Is(err, ErrThrottled) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a free instance: %v", err)
	}
	second := make(chan error, 1)
	go func() {
		_, err := w.ask(t.Context(), "probe", "echo x")
		second <- err
	}()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the call that held it: %v", err)
	}
	if err := <-second; err != nil {
		t.Errorf("the call that waited: %v", err)
	}
	if n := w.instances("probe"); n != 1 {
		t.Errorf("%d instances", n)
	}
}

func TestMemoryHighWaterMark(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{MemoryBytes: 32 << 20, Concurrency: 1})
	w.mustAsk(t, "probe", "calls")
	w.mustAsk(t, "probe", "grow 2000000")
	if got := w.mustAsk(t, "probe", "calls"); got != "3" {
		t.Errorf("an instance with little memory was thrown away: calls %s", got)
	}
	w.mustAsk(t, "probe", "grow 22000000")
	if got := w.mustAsk(t, "probe", "calls"); got != "1" {
		t.Errorf("an instance with much memory was used again: calls %s", got)
	}
}

func TestLargeCalls(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	for _, size := range []int{0, 1, 100, 70_000, 1 << 20, 9 << 20} {
		body := strings.Repeat("x", size)
		if got := w.mustAsk(t, "probe", "echo "+body); got != body {
			t.Errorf("%d bytes came back as %d", size, len(got))
		}
	}
	_, err := w.ask(t.Context(), "probe", "echo "+strings.Repeat("x", 200<<20))
	failure(t, err, FailMemory)
	w.mustAsk(t, "probe", "echo x")
}

func TestClose(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Timeout: time.Minute})
	results := make(chan error, 2)
	// The one that sleeps first: while one spins, the collector has a hard time, with the race detector above all.
	for n, body := range []string{"sleep 60000", "spin"} {
		go func() {
			_, err := w.ask(context.Background(), "probe", body)
			results <- err
		}()
		for w.instances("probe") == n {
			waitTurn(t)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := <-results; !errors.Is(err, ErrClosed) {
			t.Errorf("a call that was under way: %v", err)
		}
	}
	if _, err := w.ask(t.Context(), "probe", "echo x"); !errors.Is(err, ErrClosed) {
		t.Errorf("a call afterwards: %v", err)
	}
	if _, err := w.Deploy(t.Context(), "probe", guests["probe"], Config{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a deploy afterwards: %v", err)
	}
}

// waitTurn lets others run.
func waitTurn(t testing.TB) {
	t.Helper()
	select {
	case <-time.After(time.Millisecond):
	case <-t.Context().Done():
		t.Fatal("the test ended")
	}
}

// A failure is in the function's log with its stack, whoever made the call.
func TestFailureIsLogged(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{})
	_, err := w.ask(t.Context(), "probe", "panic poison")
	f := failure(t, err, FailError)
	lines, err := w.Logs(t.Context(), "probe", time.Time{}, false)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for line := range lines {
		found = found || line.Invocation == f.Invocation && line.Level == "error" &&
			strings.Contains(line.Message, "poison") && strings.Contains(line.Message, "main.go:")
	}
	if !found {
		t.Errorf("the log does not tell of %v", f)
	}
}

// The time a call begins in its instance is the time: also when it has waited, and when nobody says since when.
func TestTimeSoonAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for _, wait := range []time.Duration{0, time.Microsecond, time.Minute} {
			pause(t, wait)
			if got := timeSoonAfter(began); !got.Equal(time.Now()) {
				t.Errorf("%v later it is %v", wait, got.Sub(began))
			}
		}
		if got := timeSoonAfter(time.Time{}); !got.Equal(time.Now()) {
			t.Errorf("after no time at all it is %v", got)
		}
	})
}
