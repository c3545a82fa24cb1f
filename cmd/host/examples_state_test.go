package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/internal/state"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

// Flights get what the table has of their airports; the table is read anew for each batch.
func TestEnrichExample(t *testing.T) {
	code := built(t, example("enrich"))
	store, err := state.Open(state.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	rt, out := guestRuntime(t, func(o *runtime.Options) { o.Doors.State = store })
	config := runtime.Config{Emit: []string{"enriched"}, State: []string{"shared:airports"}, Timeout: time.Minute}
	if _, err := rt.Deploy(t.Context(), "guest", code, config); err != nil {
		t.Fatal(err)
	}
	g := guest{rt, out}
	put := func(lines string) {
		b := store.Begin()
		for line := range strings.Lines(lines) {
			var airport struct{ IATA string }
			if err := json.Unmarshal([]byte(line), &airport); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Put(state.Table{Name: "airports", Shared: true}, airport.IATA, []byte(strings.TrimSpace(line)), state.Any); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	flights := sdktest.Lines(t, filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "origin")[:100]
	if s := g.call(t, batchCall(t, flights[0])); !slices.Equal(s.Outcomes, []string{"0 rejected airport DTW is not in the table"}) {
		t.Errorf("without a table: %+v", s)
	}
	put(readString(t, filepath.Join(example("enrich"), "testdata", "airports.ndjson")))
	var got strings.Builder
	for batch := range slices.Chunk(flights, 50) {
		s := g.call(t, batchCall(t, batch...))
		if s.Failed != "" {
			t.Fatal(s.Failed)
		}
		for _, r := range s.Emitted["enriched"] {
			key, data, _ := strings.Cut(r, "  ")
			if !json.Valid([]byte(data)) {
				t.Errorf("%s is no JSON", data)
			}
			fmt.Fprintln(&got, key, data)
		}
		for _, o := range s.Outcomes {
			fmt.Fprintln(&got, o)
		}
	}
	golden(t, filepath.Join(example("enrich"), "testdata", "enriched.golden"), got.String())

	put(`{"iata":"DTW","city":"späte Stadt"}`)
	s := g.call(t, batchCall(t, record.Record{Data: []byte(` {"origin":"DTW","destination":"DTW"} `)}, record.Record{Data: []byte("{")}, record.Record{Data: []byte(`{"origin":"DTW"}`)}))
	want := `  {"origin":"DTW","destination":"DTW","from":{"iata":"DTW","city":"späte Stadt"},"to":{"iata":"DTW","city":"späte Stadt"}}`
	if !slices.Equal(s.Outcomes, []string{"1 rejected not a flight", "2 rejected not a flight"}) || strings.TrimSpace(s.Emitted["enriched"][0]) != strings.TrimSpace(want) {
		t.Errorf("%+v", s)
	}
}
