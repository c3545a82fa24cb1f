package api

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/shardmill/shardmill/internal/sequence"
)

// Clients that change different settings at once lose nothing of each other; one that says what it has read does not overwrite what came since.
func TestMappingUpdatesThatMeet(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	h.deploy(t, "echo", FunctionConfig{})
	first, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for _, change := range []func(*MappingConfig){
		func(m *MappingConfig) { m.BatchSize = 7 }, func(m *MappingConfig) { m.MaxAttempts = 8 }, func(m *MappingConfig) { m.Disabled = new(true) }, func(m *MappingConfig) { m.Bisect = true },
	} {
		all.Go(func() {
			if _, err := h.UpdateMapping(ctx, "m", func(m *MappingConfig) error { change(m); return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m, err := h.Mapping(ctx, "m")
	if err != nil || m.BatchSize != 7 || m.MaxAttempts != 8 || !*m.Disabled || !m.Bisect {
		t.Errorf("%+v, %v", m.MappingConfig, err)
	}
	if _, err := h.UpdateMapping(ctx, "m", func(m *MappingConfig) error { m.BatchSize = -1; return nil }); err == nil || asProblem(t, err).Field != "batchSize" {
		t.Errorf("%v", err)
	}
	refuse := errors.New("no")
	if _, err := h.UpdateMapping(ctx, "m", func(*MappingConfig) error { return refuse }); !errors.Is(err, refuse) {
		t.Errorf("%v", err)
	}
	if _, err := h.UpdateMapping(ctx, "none", func(*MappingConfig) error { return nil }); err == nil || asProblem(t, err).Kind() != KindMappingNotFound {
		t.Errorf("%v", err)
	}

	at := func(m Mapping) string { return strconv.Quote(m.Modified.Format(time.RFC3339Nano)) }
	for _, c := range []struct {
		name, match string
		status      int
		field       string
	}{{"m", at(first), 409, ""}, {"none", at(m), 409, ""}, {"m", `"yesterday"`, 400, "If-Match"}, {"m", at(m), 200, ""}, {"m", at(m), 409, ""}} {
		req, err := http.NewRequestWithContext(ctx, "PUT", h.url+"/v1/mappings/"+c.name, strings.NewReader(`{"stream":"s","function":"echo"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", typeJSON)
		req.Header.Set("If-Match", c.match)
		resp, err := h.Client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var p Problem
		err = json.UnmarshalRead(resp.Body, &p)
		resp.Body.Close()
		if resp.StatusCode != c.status || c.status != 200 && (err != nil || p.Field != c.field) {
			t.Errorf("%+v: %d %+v", c, resp.StatusCode, p)
		}
	}
}

// A mapping that is put again stays paused or at work, unless the request says which.
func TestPutMappingLeavesItPaused(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	h.deploy(t, "echo", FunctionConfig{})
	for n, step := range []struct {
		disabled *bool
		match    bool // the request says what it has read
		want     bool
	}{{nil, false, false}, {nil, false, false}, {new(true), false, true}, {nil, false, true}, {nil, true, true}, {new(false), true, false}, {nil, true, false}, {new(true), true, true}, {new(false), false, false}} {
		config := MappingConfig{Stream: "s", Function: "echo", BatchSize: 10 + n, Disabled: step.disabled}
		var m Mapping
		var err error
		if step.match {
			m, err = h.UpdateMapping(ctx, "m", func(next *MappingConfig) error { *next = config; return nil })
		} else {
			m, _, err = h.PutMapping(ctx, "m", config)
		}
		if err != nil || m.Disabled == nil || *m.Disabled != step.want || m.BatchSize != 10+n || (m.State == "disabled") != step.want {
			t.Errorf("step %d: %s, %+v, %v", n, m.State, m.MappingConfig, err)
		}
	}
}

// The number of a record in a Lambda event or an on-failure document says where a mapping goes on, and where a read begins.
func TestLongSequenceNumbers(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	h.stream(t, "other", 1)
	h.deploy(t, "echo", FunctionConfig{})
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo", Disabled: new(true)}); err != nil {
		t.Fatal(err)
	}
	put, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: "a", Data: []byte("0")}, {PartitionKey: "a", Data: []byte("1")}, {PartitionKey: "a", Data: []byte("2")}})
	if err != nil {
		t.Fatal(err)
	}
	long := func(stream string, shard uint32, n Sequence) string {
		st, err := h.store.Stream(stream)
		if err != nil {
			t.Fatal(err)
		}
		return string(sequence.Of(st.ID()).Append(nil, shard, uint64(n)))
	}
	index := uint32(0)
	if put.Results[1].Shard == "shardId-000000000001" {
		index = 1
	}
	shard, second := put.Results[1].Shard, put.Results[1].Sequence
	number, another := long("s", index, second), "shardId-00000000000"+string('1'-byte(index))

	for _, to := range []SeekMapping{{Sequence: RecordNumber(number)}, {Sequence: RecordNumber(number), Shard: shard}, {Sequence: RecordNumber(second.String()), Shard: shard}} {
		if _, err := h.SeekMapping(ctx, "m", SeekMapping{Position: "oldest"}); err != nil {
			t.Fatal(err)
		}
		m, err := h.SeekMapping(ctx, "m", to)
		if err != nil {
			t.Fatalf("%+v: %v", to, err)
		}
		for _, s := range m.Shards {
			if s.Shard == shard && s.Checkpoint != second-1 {
				t.Errorf("%+v: the checkpoint is %d, want %d", to, s.Checkpoint, second-1)
			}
		}
	}
	if got := h.all(t, "s", ReadOptions{Shard: shard, From: number}); len(got) != 2 || got[0].Sequence != second {
		t.Errorf("from %s: %+v", number, got)
	}

	for _, c := range []struct{ method, path, body, field, limit string }{
		{"POST", "/v1/mappings/m/seek", `{"sequence":"` + number + `","shard":"` + another + `"}`, "shard", shard},
		{"POST", "/v1/mappings/m/seek", `{"sequence":"` + number + `","position":"oldest"}`, "sequence", "left out"},
		{"POST", "/v1/mappings/m/seek", `{"sequence":"` + strings.Repeat("1", 56) + `"}`, "sequence", "of the stream"},
		{"POST", "/v1/mappings/m/seek", `{"sequence":"` + strings.Repeat("1", 57) + `"}`, "sequence", "56 digits"},
		{"POST", "/v1/mappings/m/seek", `{"sequence":"17"}`, "shard", "the sequence number is of"},
		{"GET", "/v1/streams/s/records?from=" + number, "", "from", "one shard"},
		{"GET", "/v1/streams/s/records?shard=" + another + "&from=" + number, "", "from", "of the shard"},
		{"GET", "/v1/streams/other/records?from=" + strings.Repeat("1", 56) + "&shard=shardId-000000000000", "", "from", "of the shard"},
	} {
		kind := ""
		if c.body != "" {
			kind = typeJSON
		}
		status, body := h.send(t, c.method, c.path, kind, c.body)
		if status != 400 || !strings.Contains(body, `"field":"`+c.field+`"`) || !strings.Contains(body, c.limit) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.body, status, body)
		}
	}
}
