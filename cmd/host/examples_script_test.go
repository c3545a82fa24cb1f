package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/sdk/sdktest"
)

func quakes(t *testing.T) []record.Record {
	t.Helper()
	return sdktest.Lines(t, filepath.Join(example("routing"), "testdata", "earthquakes.ndjson.gz"), "net")
}

// Each event goes on as it is to the streams that want it.
func TestRoutingExample(t *testing.T) {
	all := quakes(t)
	id := func(data string) string {
		var q struct{ ID string }
		if err := json.Unmarshal([]byte(data), &q); err != nil {
			t.Fatal(err)
		}
		return q.ID
	}
	streams := []string{"alaska", "deep", "mining", "strong", "tsunami"}
	g := deployGuest(t, built(t, example("routing")), streams...)
	var got strings.Builder
	for batch := range slices.Chunk(all, 100) {
		call := batchCall(t, batch...)
		call.Function = "guest"
		var reply runtime.Reply
		if err := g.runtime.Invoke(t.Context(), call, &reply); err != nil {
			t.Fatal(err)
		}
		emitted := g.heard.take()
		for _, stream := range streams {
			for _, r := range emitted[stream] {
				i := slices.IndexFunc(batch, func(b record.Record) bool { return r == string(b.Key)+"  "+string(b.Data) })
				if i < 0 {
					t.Fatalf("%s: no such event: %s", stream, r)
				}
				fmt.Fprintln(&got, stream, id(string(batch[i].Data)))
			}
		}
		fmt.Fprintln(&got, "dropped", len(reply.Outcomes))
	}
	golden(t, filepath.Join(example("routing"), "testdata", "routing.golden"), got.String())

	s := g.call(t, batchCall(t, record.Record{Data: []byte("{")}, record.Record{Data: []byte("null")}, record.Record{Data: []byte(`{"type":"x","mag":1}`)}))
	for i, o := range s.Outcomes {
		if o != fmt.Sprint(i, " rejected not a seismic event") {
			t.Errorf("outcomes %q", s.Outcomes)
		}
	}
	if len(s.Outcomes) != 3 || s.Failed != "" {
		t.Errorf("%+v", s)
	}
}

// The messages are those of the golden file, and the same in both ways of calling.
func TestSlackExample(t *testing.T) {
	rt, _ := guestRuntime(t)
	code := built(t, example("slack"))
	if _, err := rt.DeployProven(t.Context(), "slack", code, runtime.Config{Emit: []string{"slack"}}, runtime.Proof{Language: runtime.JavaScript}); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	var reply runtime.Reply
	for _, q := range quakes(t) {
		var quake struct{ Mag float64 }
		if err := json.Unmarshal(q.Data, &quake); err != nil {
			t.Fatal(err)
		}
		if quake.Mag < 5.5 {
			continue
		}
		if err := rt.Invoke(t.Context(), runtime.Call{Function: "slack", Kind: runtime.KindInvoke, Body: q.Data}, &reply); err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		if err := json.Indent(&text, reply.Body, "", "  "); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&got, &text)
	}
	golden(t, filepath.Join(example("slack"), "testdata", "slack.golden"), got.String())

	g := deployGuest(t, code, "slack")
	var messages int
	for batch := range slices.Chunk(quakes(t), 100) {
		s := g.call(t, batchCall(t, batch...))
		if s.Failed != "" {
			t.Fatal(s.Failed)
		}
		messages += len(s.Emitted["slack"])
	}
	if messages != 3 {
		t.Errorf("%d messages for 3 batches", messages)
	}
	if s := g.call(t, batchCall(t, record.Record{Data: []byte("{")})); s.Failed != "" || !slices.Equal(s.Outcomes, []string{"0 rejected not an earthquake"}) {
		t.Errorf("%+v", s)
	}
	if s := g.call(t, runtime.Call{Kind: runtime.KindInvoke, Body: []byte(`{"mag":1}`)}); !strings.Contains(s.Failed, "must be an earthquake") {
		t.Errorf("%+v", s)
	}
}

// Batches of 100 flights through the one example that is written in every language: reading JSON, adding up, writing JSON.
func BenchmarkDelays(b *testing.B) {
	flights := sdktest.Lines(b, filepath.Join(example("delays"), "testdata", "flights.ndjson.gz"), "origin")[:100]
	for _, name := range delayLanguages {
		b.Run(name, func(b *testing.B) {
			g := deployGuest(b, built(b, example(name)), "delays")
			call := batchCall(b, flights...)
			call.Function = "guest"
			var reply runtime.Reply
			for b.Loop() {
				if err := g.runtime.Invoke(b.Context(), call, &reply); err != nil {
					b.Fatal(err)
				}
				g.heard.take()
			}
			b.ReportMetric(float64(b.N*len(flights))/b.Elapsed().Seconds(), "records/s")
		})
	}
}
