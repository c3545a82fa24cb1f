package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/internal/aggregate/aggregatetest"
)

// putAggregate stores one aggregate of user records with the data given, whose keys are "k" and it.
func putAggregate(t *testing.T, h *host, stream string, data ...string) {
	t.Helper()
	var users []aggregatetest.User
	for _, d := range data {
		users = append(users, aggregatetest.User{Key: "k" + d, Data: d})
	}
	if _, err := h.Put(t.Context(), stream, []PutRecord{{PartitionKey: "a", Data: aggregatetest.Encode(users...)}}); err != nil {
		t.Fatal(err)
	}
}

// Aggregates are answered as they are stored or, when that is asked for, as the user records in them.
func TestReadDeaggregated(t *testing.T) {
	h, ctx := boot(t), t.Context()
	h.stream(t, "s", 1)
	for _, d := range []string{"0", "4"} {
		putAggregate(t, h, "s", map[string][]string{"0": {"0"}, "4": {"1", "2", "3"}}[d]...)
		if _, err := h.Put(ctx, "s", []PutRecord{{PartitionKey: "plain", Data: []byte("plain" + d)}}); err != nil {
			t.Fatal(err)
		}
	}
	if stored := h.all(t, "s", ReadOptions{}); len(stored) != 4 || !bytes.HasPrefix(stored[0].Data, []byte("\xf3\x89\x9a\xc2")) || stored[0].SubSequence != nil {
		t.Errorf("as they are stored: %+v", stored)
	}
	shown := func(records []Record) (lines []string) {
		for _, r := range records {
			line := fmt.Sprintf("%d %s %s", r.Sequence&0xf, r.PartitionKey, r.Bytes())
			if r.SubSequence != nil {
				line += fmt.Sprintf(" %d", *r.SubSequence)
			}
			lines = append(lines, line)
		}
		return lines
	}
	want := []string{"1 k0 0 0", "2 plain plain0", "3 k1 1 0", "3 k2 2 1", "3 k3 3 2", "4 plain plain4"}
	if got := shown(h.all(t, "s", ReadOptions{Deaggregate: true})); !slices.Equal(got, want) {
		t.Errorf("user records %q, want %q", got, want)
	}
	for limit := range len(want) {
		for _, follow := range []bool{false, true} {
			got := shown(h.all(t, "s", ReadOptions{Deaggregate: true, Limit: limit + 1, Follow: follow}))
			if !slices.Equal(got, want[:limit+1]) {
				t.Errorf("the first %d with follow %v: %q", limit+1, follow, got)
			}
		}
	}
}

// A browser that comes back with the id it has seen last misses no user record.
func TestEventsDeaggregated(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	putAggregate(t, h, "s", "1", "2", "3")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.url+"/v1/streams/s/records?deaggregate=true", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "text/event-stream")
	resp, err := h.Client.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	events := strings.Split(strings.TrimSpace(string(body)), "\n\n")
	if len(events) != 3 {
		t.Fatalf("events %q", events)
	}
	for i, e := range events {
		if hasID := strings.HasPrefix(e, "id: shardId-000000000000:"); hasID != (i == 2) || !strings.Contains(e, fmt.Sprintf(`"subSequenceNumber":%d,`, i)) {
			t.Errorf("event %d is %q", i, e)
		}
	}
}

// The settings of a mapping that are on when they are left out are told as they are in force.
func TestMappingDefaultsAreTold(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	h.deploy(t, "echo", FunctionConfig{})
	for _, set := range []*bool{nil, new(false), new(true)} {
		m, _, err := h.PutMapping(t.Context(), "m", MappingConfig{Stream: "s", Function: "echo", Deaggregate: set, FailureTrace: set})
		if want := set == nil || *set; err != nil || m.Deaggregate == nil || *m.Deaggregate != want || m.FailureTrace == nil || *m.FailureTrace != want {
			t.Errorf("set to %v: %v, %v, %v", set, m.Deaggregate, m.FailureTrace, err)
		}
	}
}
