package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestEmitterPutsOnce(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	e := emitter{h.streams}
	run := func(key, data string) record.Run {
		var b record.Builder
		if err := b.Append(record.Record{Key: []byte(key), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
		return b.Run()
	}
	em := runtime.Emission{Function: "f", Stream: "out", Records: run("k", "d")}
	mark := runtime.Mark{Producer: "emitted/x/0", Ordinal: 1, Note: []byte("n")}
	for name, err := range map[string]error{"check": e.Check(em), "emit": e.EmitOnce(t.Context(), em, mark)} {
		if !errors.Is(err, shards.ErrNotFound) || !strings.Contains(err.Error(), `function f emits to stream "out", which does not exist: create it`) {
			t.Errorf("%s without a stream: %v", name, err)
		}
	}
	if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: "out", Shards: 2}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := e.EmitOnce(t.Context(), em, mark); err != nil {
			t.Fatal(err)
		}
	}
	if count := countRecords(t, clientOf(t, h), "out"); len(count) != 1 || count["d"] != 1 {
		t.Errorf("the stream has %v", count)
	}
	if err := e.Check(em); err != nil {
		t.Error(err)
	}
	em.Records = run(strings.Repeat("k", 257), "d")
	mark.Ordinal++
	for name, err := range map[string]error{"check": e.Check(em), "emit": e.EmitOnce(t.Context(), em, mark)} {
		if !errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), "257 characters") {
			t.Errorf("%s of a key of 257 characters: %v", name, err)
		}
	}
}

// The setting is given, shown, changed, and goes with lanes; the markers of a deleted mapping are gone.
func TestExactlyOnceFlag(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	run := func(want int, part string, args ...string) {
		t.Helper()
		if r := (cli{env: endpoint(h)}).run(t.Context(), args...); r.status != want || !strings.Contains(r.stdout+r.stderr, part) {
			t.Errorf("%v: status %d, %s %s; want %d and %q", args, r.status, r.stdout, r.stderr, want, part)
		}
	}
	for _, name := range []string{"in", "out"} {
		if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.functions.Deploy(t.Context(), "out", echoModule, runtime.Config{Emit: []string{"out"}}); err != nil {
		t.Fatal(err)
	}
	run(exitOK, "exactly once", "mapping", "create", "m", "--stream", "in", "--function", "out", "--exactly-once")
	run(exitOK, "Lanes:            2", "mapping", "update", "m", "--parallelization", "2")
	in, err := h.streams.Stream("in")
	if err != nil {
		t.Fatal(err)
	}
	put(t, in, "one", "two")
	client := clientOf(t, h)
	for !atTip(t.Context(), t, client, "in", "m") {
	}
	if count := countRecords(t, client, "out"); count["one"] != 1 || count["two"] != 1 {
		t.Errorf("the stream has %v", count)
	}
	if len(h.streams.Producers("emitted/")) != 1 {
		t.Error("there is no marker")
	}
	run(exitOK, "at least once", "mapping", "update", "m", "--exactly-once=false")
	run(exitOK, "", "mapping", "delete", "m")
	if len(h.streams.Producers("")) != 0 {
		t.Error("the marker of a deleted mapping is there")
	}
}

func put(t *testing.T, stream *shards.Stream, texts ...string) {
	t.Helper()
	var records []record.Record
	for _, text := range texts {
		records = append(records, record.Record{Key: []byte(text), Data: []byte(text)})
	}
	if _, err := stream.Put(t.Context(), records, nil); err != nil {
		t.Fatal(err)
	}
}
