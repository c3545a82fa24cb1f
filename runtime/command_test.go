package runtime

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk/record"
)

// TestCommand runs a program that knows nothing of the ABI: stdin is the body, stdout the answer, stderr the log.
func TestCommand(t *testing.T) {
	w := open(t)
	f := w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}, Timeout: 5 * time.Second, MemoryBytes: 32 << 20})
	if f.Kinds != Kinds(KindInvoke.Mask()) || f.State != StateActive {
		t.Errorf("kinds %b, %s", f.Kinds, f.State)
	}
	for body, want := range map[string]string{"echo hello": "hello", "echo ": "", "": "", "args": "c", "log to the log": "", "exit 0": ""} {
		if got := w.mustAsk(t, "c", body); got != want {
			t.Errorf("%q answers %q, want %q", body, got, want)
		}
	}
	for range 3 { // nothing of one call is there in the next
		if got := w.mustAsk(t, "c", "calls"); got != "1" {
			t.Errorf("it has been called %s times", got)
		}
	}
	if lines := w.lines(t, "c"); len(lines) != 2 || !strings.Contains(lines[0].Message, "to the log") && !strings.Contains(lines[1].Message, "to the log") {
		t.Errorf("its log is %+v", lines)
	}
	if n := w.instances("c"); n != 0 {
		t.Errorf("%d instances are left", n)
	}
	var reply Reply
	err := w.Invoke(t.Context(), Call{Function: "c", Kind: KindBatch, Records: []record.Run{records(t, "k", "a")}}, &reply)
	if !errors.Is(err, ErrUnsupported) {
		t.Errorf("a batch: %v", err)
	}

	// Its kind is known after a restart too.
	w = reopen(t, w.stores)
	if got := w.mustAsk(t, "c", "echo again"); got != "again" {
		t.Errorf("after a restart it answers %q", got)
	}
}

func TestCommandFails(t *testing.T) {
	w := open(t)
	w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}, Timeout: time.Minute, MemoryBytes: 32 << 20})
	for body, want := range map[string]struct {
		kind    ErrorKind
		message string
	}{
		"exit 3":      {FailExit, "exited with code 3: going"},
		"panic words": {FailExit, "panic: words"},
		"allocate":    {FailMemory, "limit of 32 MiB"},
		"write 65":    {FailMalformed, "68157440 bytes to stdout, more than 67108864"},
	} {
		_, err := w.ask(t.Context(), "c", body)
		if f := failure(t, err, want.kind); !strings.Contains(f.Message, want.message) || f.Function != "c" || f.Version != 1 || f.Invocation == "" {
			t.Errorf("%q failed with %+v", body, f)
		}
		if got := w.mustAsk(t, "c", "echo fine"); got != "fine" {
			t.Errorf("the call after %q answers %q", body, got)
		}
	}
	w.deploy(t, "brief", guests["command"], Config{Secrets: []string{"token"}, Timeout: 100 * time.Millisecond})
	_, err := w.ask(t.Context(), "brief", "spin")
	if f := failure(t, err, FailTimeout); !strings.Contains(f.Message, "timeout of 100ms") {
		t.Errorf("it failed with %+v", f)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.ask(ctx, "c", "spin"); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if n := w.instances("c"); n != 0 {
		t.Errorf("%d instances are left", n)
	}
}

// Calls of a program are bounded like those of any function.
func TestCommandsRunBesideEachOther(t *testing.T) {
	w := open(t)
	w.deploy(t, "c", guests["command"], Config{Secrets: []string{"token"}, Timeout: 20 * time.Second, Concurrency: 2})
	var callers sync.WaitGroup
	for range 6 {
		callers.Go(func() {
			for range 5 {
				if got, err := w.ask(t.Context(), "c", "calls"); err != nil || got != "1" {
					t.Errorf("%q, %v", got, err)
				}
				if n := w.instances("c"); n > 2 {
					t.Errorf("%d instances", n)
				}
			}
		})
	}
	callers.Wait()
}
