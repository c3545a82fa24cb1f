package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/sdk"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

var update = flag.Bool("update", false, "write the golden file")

// The feed is polled three times, and overlaps: each earthquake comes out once.
func TestEarthquakesComeOnce(t *testing.T) {
	quakes := sdktest.Lines(t, "testdata/earthquakes.ndjson.gz", "net")
	polls := slices.Concat(quakes[:150], quakes[50:250], quakes)
	state := sdktest.Tables{"seen": nil}
	var got bytes.Buffer
	dropped := 0
	for batch := range slices.Chunk(polls, 70) {
		res := sdktest.Call{Tables: state}.Batch(t, unique, batch...)
		if res.Err != nil {
			t.Fatal(res.Err)
		}
		for _, o := range res.Outcomes {
			if o.Result == abi.ResultDropped {
				dropped++
			}
		}
		for _, r := range res.Emitted["earthquakes"] {
			var quake struct{ ID, Title string }
			if err := json.Unmarshal(r.Data, &quake); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s %s %s\n", r.Key, quake.ID, quake.Title)
		}
	}
	if dropped != len(polls)-len(quakes) {
		t.Errorf("%d of %d are dropped", dropped, len(polls))
	}
	const golden = "testdata/unique.golden"
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

func quake(id string, day int) sdk.Record {
	at := time.Date(2018, 2, day, 12, 0, 0, 0, time.UTC).UnixMilli()
	return sdk.Record{Key: []byte("ci"), Data: fmt.Appendf(nil, `{"id":%q,"time":%d}`, id, at)}
}

func TestOldDaysAreForgotten(t *testing.T) {
	state := sdktest.Tables{"seen": nil}
	c := sdktest.Call{Tables: state}
	for day := range 20 {
		if res := c.Batch(t, unique, quake(fmt.Sprint("q", day), day+1), quake(fmt.Sprint("q", day), day+1)); res.Err != nil || len(res.Emitted["earthquakes"]) != 1 {
			t.Fatalf("%+v", res)
		}
	}
	keys := slices.Sorted(maps.Keys(state["seen"]))
	if len(keys) != keep+2 || keys[0] != "2018-02-13/q12" || state["seen"]["newest"] != "2018-02-20" {
		t.Errorf("remembered is %q", keys)
	}
}

func TestOtherRecordsAreRejected(t *testing.T) {
	var records []sdk.Record
	for _, data := range []string{``, `[]`, `{"id":"a"}`, `{"time":1}`, `{"id":1,"time":1}`} {
		records = append(records, sdk.Record{Data: []byte(data)})
	}
	res := sdktest.Call{Tables: sdktest.Tables{"seen": nil}}.Batch(t, unique, records...)
	for i, o := range res.Outcomes {
		if o.String() != "rejected: not an earthquake" {
			t.Errorf("%s: %s", records[i].Data, o)
		}
	}
	if res.Err != nil || len(res.Emitted) != 0 {
		t.Errorf("%+v", res)
	}
}

func TestTableThatIsNotGranted(t *testing.T) {
	if res := sdktest.Batch(t, unique, quake("a", 1)); res.Err == nil || !strings.Contains(res.Err.Message, "not granted") {
		t.Errorf("%+v", res.Err)
	}
}
