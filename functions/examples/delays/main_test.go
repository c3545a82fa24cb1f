package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

var update = flag.Bool("update", false, "write the golden file")

const flights = "testdata/flights.ndjson.gz"

// The first 300 flights, in batches of 100, give exactly these records.
func TestDelaysOfRealFlights(t *testing.T) {
	var got bytes.Buffer
	for batch := range slices.Chunk(sdktest.Lines(t, flights, "origin")[:300], 100) {
		res := sdktest.Batch(t, delays, batch...)
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		for _, r := range res.Emitted["delays"] {
			fmt.Fprintf(&got, "%s %s\n", r.Key, r.Data)
		}
	}
	const golden = "testdata/delays.golden"
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", got.Bytes(), want)
	}
}

// However the flights are cut into batches, the sums of what is emitted are those of the file.
func TestTotalsDoNotDependOnTheBatch(t *testing.T) {
	records := sdktest.Lines(t, flights, "origin")
	want := map[string]total{}
	for _, r := range records {
		var f struct {
			Origin string
			Delay  int
		}
		if err := json.Unmarshal(r.Data, &f); err != nil {
			t.Fatal(err)
		}
		w := want[f.Origin]
		want[f.Origin] = total{f.Origin, w.Flights + 1, w.DelayMinutes + f.Delay}
	}
	for _, size := range []int{7, 1000, len(records)} {
		got := map[string]total{}
		for batch := range slices.Chunk(records, size) {
			for _, r := range sdktest.Batch(t, delays, batch...).Emitted["delays"] {
				var e total
				if err := json.Unmarshal(r.Data, &e); err != nil {
					t.Fatal(err)
				}
				g := got[string(r.Key)]
				got[string(r.Key)] = total{e.Origin, g.Flights + e.Flights, g.DelayMinutes + e.DelayMinutes}
			}
		}
		if len(got) != 220 || len(want) != 220 {
			t.Errorf("batches of %d: %d airports, the file has %d", size, len(got), len(want))
		}
		for origin, w := range want {
			if got[origin] != w {
				t.Errorf("batches of %d: %+v, want %+v", size, got[origin], w)
			}
		}
	}
}

func TestWhatIsNoFlightIsRejected(t *testing.T) {
	res := sdktest.Batch(t, delays,
		sdk.Record{Data: []byte(`{"origin":"DFW","delay":-3}`)},
		sdk.Record{Data: []byte(`{"origin":"DFW","delay":`)},
		sdk.Record{Data: []byte(`{"delay":3}`)},
		sdk.Record{},
		sdk.Record{Data: []byte(`{"origin":"DFW","delay":10}`)},
	)
	for i, want := range []abi.Result{abi.ResultOK, abi.ResultRejected, abi.ResultRejected, abi.ResultRejected, abi.ResultOK} {
		if res.Outcomes[i].Result != want {
			t.Errorf("record %d: %v, want %v", i, res.Outcomes[i], want)
		}
	}
	if out := res.Emitted["delays"]; len(out) != 1 || string(out[0].Data) != `{"origin":"DFW","flights":2,"delayMinutes":7}` {
		t.Errorf("emitted %v", out)
	}
}
