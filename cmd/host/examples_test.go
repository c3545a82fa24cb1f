package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

// delayLanguages are the folders of the one example that is written in every language.
var delayLanguages = []string{"delays", "delays-c", "delays-rust", "delays-assemblyscript"}

func example(name string) string { return filepath.Join("..", "..", "functions", "examples", name) }

// The example gives the same records in every language: those of the golden file.
func TestDelaysInEveryLanguage(t *testing.T) {
	flights := sdktest.Lines(t, filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "origin")[:300]
	want := readString(t, filepath.Join(example("delays"), "testdata", "delays.golden"))
	notFlights := []record.Record{
		{Data: []byte(`{"origin":"DFW","delay":-3}`)},
		{Data: []byte(`{"origin":"DFW","delay":`)},
		{Data: []byte(`{"delay":3}`)},
		{},
		{Data: []byte(` {"distance":[1,{"a":null}],"delay":10,"origin":"DFW","date":"\"x\\"} `)},
		{Data: []byte(`{"origin":"DFW","delay":1.5}`)},
		{Data: []byte(`{"origin":"DFW","delay":1}}`)},
		{Data: []byte(`{"origin":"DFW","delay":"1"}`)},
		{Data: []byte(`{"origin":7}`)},
		{Data: []byte(`["origin"]`)},
		{Data: []byte("{\"origin\":\"A\nB\"}")},
		{Data: []byte(strings.Repeat("[", 100_000))},
	}
	for _, name := range delayLanguages {
		t.Run(name, func(t *testing.T) {
			g := deployGuest(t, built(t, example(name)), "delays")
			var got strings.Builder
			for batch := range slices.Chunk(flights, 100) {
				s := g.call(t, batchCall(t, batch...))
				if s.Failed != "" || len(s.Outcomes) != 0 {
					t.Fatalf("%+v", s)
				}
				for _, r := range s.Emitted["delays"] {
					fmt.Fprintln(&got, strings.Replace(r, "  ", " ", 1)) // without the explicit hash, which is empty
				}
			}
			if got.String() != want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), want)
			}
			s := g.call(t, batchCall(t, notFlights...))
			var rejected []string
			for _, i := range []int{1, 2, 3, 5, 6, 7, 8, 9, 10, 11} {
				rejected = append(rejected, fmt.Sprint(i, " rejected not a flight"))
			}
			if !slices.Equal(s.Outcomes, rejected) {
				t.Errorf("outcomes %q", s.Outcomes)
			}
			if out := s.Emitted["delays"]; !slices.Equal(out, []string{`DFW  {"origin":"DFW","flights":2,"delayMinutes":7}`}) {
				t.Errorf("emitted %q", out)
			}
		})
	}
}

func batchCall(t testing.TB, records ...record.Record) runtime.Call {
	t.Helper()
	var w record.Builder
	for _, r := range records {
		if err := w.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	return runtime.Call{Kind: runtime.KindBatch, Records: []record.Run{w.Run()}}
}
