package main

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api"
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

// A mapping whose function may emit to the stream that it reads says so, by the version that serves.
func TestLoopWarning(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	c := cli{env: endpoint(h)}
	for _, name := range []string{"in", "out"} {
		if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	deploy := func(emit ...string) {
		t.Helper()
		if _, err := h.functions.Deploy(t.Context(), "f", echoModule, runtime.Config{Emit: emit}); err != nil {
			t.Fatal(err)
		}
	}
	const warning = "the function may emit to \"in\", the stream that it reads"
	says := func(want bool, args ...string) {
		t.Helper()
		if r := c.run(t.Context(), args...); r.status != exitOK || strings.Contains(r.stdout, "Warning:") != want || strings.Contains(r.stdout, warning) != want {
			t.Errorf("%v: status %d, %s %s; a warning: %t", args, r.status, r.stdout, r.stderr, want)
		}
	}
	deploy("out")
	says(false, "mapping", "create", "m", "--stream", "in", "--function", "f")
	deploy("out", "in")
	says(true, "mapping", "describe", "m")
	says(true, "mapping", "create", "n", "--stream", "in", "--function", "f")
	says(false, "mapping", "update", "n", "--qualifier", "1")                               // which emits to out only
	says(true, "mapping", "create", "o", "--stream", "in", "--function", "f", "--disabled") // before it is resumed
	r := c.run(t.Context(), "mapping", "update", "o", "--filter", `{"partitonKey":["a"]}`)
	match(t, "a mapping with a misspelled filter", r.stdout, `Warning: +`+warning+`.*; filter pattern 1 asks for "partitonKey", which no record has`)
	r = c.run(t.Context(), "mapping", "describe", "m", "--output", "json")
	var m api.Mapping
	if err := json.Unmarshal([]byte(r.stdout), &m); err != nil || !strings.HasPrefix(m.Warning, warning) || m.State != "enabled" {
		t.Errorf("%s: %v", r.stdout, err)
	}
}

// Dev tells once of a function that emits to the stream that it reads. This one ends by itself.
func TestDevTellsOfALoop(t *testing.T) {
	t.Parallel()
	dir, feed := t.TempDir(), filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, filepath.Join(dir, "index.ts"), `export default { batch(records, ctx) {
	for (const r of records) {
		const { n } = r.json();
		ctx.emit(n > 0 ? "events" : "done", { key: r.key, data: JSON.stringify({ k: "a", n: n - 1 }) });
	}
} };
`)
	writeFile(t, feed, `{"k":"a","n":2}`)
	r := cli{}.run(t.Context(), "dev", dir, "--stream", "events", "--feed", feed, "--key", "k", "--name", "f", "--emit", "events,done", "--listen", freePort, "--once")
	if r.status != exitOK || strings.Count(r.stderr, "f may emit to events, the stream that it reads: it is handed what it emits there") != 1 || !strings.Contains(r.stdout, "done") {
		t.Errorf("%+v", r)
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
