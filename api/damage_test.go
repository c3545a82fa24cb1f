package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damage flips a byte of a record in the files of a host that is closed.
func damage(t *testing.T, dir, text string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if at := bytes.Index(b, []byte(text)); at >= 0 {
			found++
			b[at] ^= 1
			return os.WriteFile(path, b, 0o600)
		}
		return nil
	})
	if err != nil || found != 1 {
		t.Fatalf("%q is in %d files, %v", text, found, err)
	}
}

// TestDamage damages a record of one shard: the others are read, the damaged
// one is named in each way that the surface has, and read on when the damage has
// been accepted.
func TestDamage(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	low, high := "0", "340282366920938463463374607431768211455"
	for i := range 10 {
		text := fmt.Sprintf("record <%d>", i)
		if _, err := h.Put(ctx, "s", []PutRecord{
			{PartitionKey: "low", Text: &text, ExplicitHashKey: low},
			{PartitionKey: "high", Text: new("high " + text), ExplicitHashKey: high},
		}); err != nil {
			t.Fatal(err)
		}
	}
	h.close()
	damage(t, filepath.Join(h.dir, "streams"), "high record <4>")
	h = bootWith(t, h.dir, Limits{})

	counts := map[string]int{}
	var problems []*Problem
	for r, err := range h.Records(ctx, "s", ReadOptions{}) {
		if err == nil {
			counts[r.PartitionKey]++
			continue
		}
		if r.Shard != "shardId-000000000001" {
			t.Errorf("shard %s: %v", r.Shard, err)
		}
		problems = append(problems, asProblem(t, err))
	}
	if counts["low"] != 10 || counts["high"] != 4 || len(problems) != 1 {
		t.Fatalf("read %v, %d problems", counts, len(problems))
	}
	d := problems[0].Damage
	if problems[0].Kind() != KindDamaged || d == nil || d.Stream != "s" || d.Shard != "shardId-000000000001" || d.First == 0 || d.File == "" || d.Reason == "" {
		t.Errorf("%+v %+v", problems[0], d)
	}

	status, body := h.send(t, http.MethodGet, fmt.Sprintf("/v1/streams/s/records?shard=1&from=%d", d.First), "", "")
	if status != 500 || !strings.Contains(body, `"type":"urn:shardmill:problem:damaged"`) {
		t.Errorf("the damaged record alone: %d %s", status, body)
	}
	list, err := h.Damage(ctx, "s")
	if err != nil || len(list) != 1 || list[0] != *d {
		t.Errorf("listed %+v, %v; read %+v", list, err, d)
	}
	lost, err := h.AcceptDamage(ctx, "s", d.Shard)
	if err != nil || len(lost) != 1 || lost[0] != *d {
		t.Errorf("lost %+v, %v", lost, err)
	}
	if n := len(h.all(t, "s", ReadOptions{Shard: "1"})); n != 9 {
		t.Errorf("%d records of the shard are read when the damage is accepted, want 9", n)
	}
}

// TestFollowDeleted deletes a stream that is followed: the follow says so once
// and ends, in both forms.
func TestFollowDeleted(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	if _, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: "k", Text: new("text")}}); err != nil {
		t.Fatal(err)
	}
	events, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url+"/v1/streams/s/records?follow=true&from=newest", nil)
	if err != nil {
		t.Fatal(err)
	}
	events.Header.Set("Accept", typeEvents)
	resp, err := http.DefaultClient.Do(events)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	told := 0
	for r, err := range h.Records(ctx, "s", ReadOptions{Follow: true}) {
		if err == nil {
			if err := h.DeleteStream(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if p := asProblem(t, err); p.Kind() != KindStreamNotFound || r.Shard != "" || !strings.HasPrefix(p.Detail, `The stream "s" has been deleted. `) {
			t.Errorf("shard %q: %+v", r.Shard, p)
		}
		told++
	}
	if told != 1 {
		t.Errorf("it was told %d times that the stream is gone, want once", told)
	}
	said, err := io.ReadAll(resp.Body)
	if err != nil || !strings.HasPrefix(string(said), "event: problem\ndata: {") || strings.Count(string(said), "event:") != 1 {
		t.Errorf("the server-sent events end with %q, %v; want one problem", said, err)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestRestart reads over a restart: the same records, the same sequence numbers,
// and the stream's shape.
func TestRestart(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 4)
	h.deploy(t, "echo", FunctionConfig{})
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo", StartingPosition: "newest"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.PutLines(ctx, "s", strings.NewReader(strings.Repeat("{\"a\":\"b\"}\n", 100)), LineOptions{}); err != nil {
		t.Fatal(err)
	}
	before := h.all(t, "s", ReadOptions{})
	h.close()
	if _, err := h.Version(ctx); err == nil || errors.As(err, new(*Problem)) {
		t.Errorf("the closed host: %v", err)
	}
	h = bootWith(t, h.dir, Limits{})
	after := h.all(t, "s", ReadOptions{})
	if len(before) != 100 || len(after) != 100 {
		t.Fatalf("%d records before, %d after", len(before), len(after))
	}
	for i := range before {
		if before[i].Shard != after[i].Shard || before[i].Sequence != after[i].Sequence || before[i].PartitionKey != after[i].PartitionKey {
			t.Fatalf("record %d was %+v, is %+v", i, before[i], after[i])
		}
	}
	if m, err := h.Mapping(ctx, "m"); err != nil || m.StartingPosition != "newest" || len(m.Shards) != 4 {
		t.Errorf("%+v, %v", m, err)
	}
	if got, err := h.Invoke(ctx, "echo", "1", []byte("back")); err != nil || string(got.Body) != "back" {
		t.Errorf("%+v, %v", got, err)
	}
}
