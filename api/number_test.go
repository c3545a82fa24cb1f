package api

import (
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/sequence"
)

// The number of a record in a Lambda event or an on-failure document says where a mapping goes on, and where a read begins.
func TestLongSequenceNumbers(t *testing.T) {
	t.Parallel()
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 2)
	h.stream(t, "other", 1)
	h.deploy(t, "echo", FunctionConfig{})
	if _, _, err := h.PutMapping(ctx, "m", MappingConfig{Stream: "s", Function: "echo", Disabled: true}); err != nil {
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
