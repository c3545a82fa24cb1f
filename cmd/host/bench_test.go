package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api"
)

// figures reads what bench has printed with --output json and checks the form of each line.
func figures(t *testing.T, out string) map[string]figure {
	t.Helper()
	all := map[string]figure{}
	for line := range strings.Lines(out) {
		var keys map[string]any
		if err := json.Unmarshal([]byte(line), &keys); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		for _, key := range []string{"name", "value", "unit", "baseline", "ratio", "goal", "met"} {
			if _, ok := keys[key]; !ok {
				t.Errorf("%s has no %q", line, key)
			}
		}
		var f figure
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		if f.Value <= 0 && !strings.HasSuffix(f.Name, ".allocs") {
			t.Errorf("%s: nothing was measured", line)
		}
		all[f.Name] = f
	}
	return all
}

func TestBenchFigures(t *testing.T) {
	dir := t.TempDir()
	r := cli{}.run(t.Context(), "bench", "--quick", "--only", "latency,invoke,once", "--output", "json", "--dir", dir, "--source", "../..")
	if r.status != exitOK {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	got := figures(t, r.stdout)
	for _, name := range []string{"latency.put_to_output.p50", "latency.put_to_output.p99", "invoke.batch100", "invoke.batch1000", "invoke.batch100.allocs"} {
		if f, ok := got[name]; !ok || f.Goal == "" || f.Met == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for _, name := range []string{"invoke.overhead", "invoke.overhead.metering"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"once.batch100", "once.batch500"} {
		if f, ok := got[name]; !ok || f.Ratio == nil || *f.Ratio <= 0 {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if left := strings.TrimSpace(strings.Join(listDir(t, dir), " ")); left != "" {
		t.Errorf("left behind: %s", left)
	}
}

func TestBenchRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"bench", "--only", "speed"}, {"bench", "host", "--for", "0s"}, {"bench", "host", "--putters", "0"}, {"bench", "extra"},
	} {
		if r := (cli{}).run(t.Context(), args...); r.status != exitUsage {
			t.Errorf("%v: status %d, %s", args, r.status, r.stderr)
		}
	}
}

// A running host is measured over its API, and nothing of that stays.
func TestBenchHost(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	r := cli{env: endpoint(h)}.run(t.Context(), "bench", "host", "--for", "200ms", "--putters", "4", "--output", "json")
	if r.status != exitOK {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	got := figures(t, r.stdout)
	for _, name := range []string{"host.put", "host.put.p50", "host.put.p99", "host.put_to_output.p50", "host.put_to_output.p99"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing in %s", name, r.stdout)
		}
	}
	client := clientOf(t, h)
	streams, err := client.Streams(t.Context())
	functions, err2 := client.Functions(t.Context())
	mappings, err3 := client.Mappings(t.Context())
	if err != nil || err2 != nil || err3 != nil || len(streams)+len(functions)+len(mappings) != 0 {
		t.Errorf("left behind: %v, %v, %v (%v, %v, %v)", streams, functions, mappings, err, err2, err3)
	}
}

func TestFigureGoals(t *testing.T) {
	for _, c := range []struct {
		f    figure
		goal string
		met  bool
	}{
		{measured("a", 5, "s").atMost(5), "value <= 5", true},
		{measured("a", 5.1, "s").atMost(5), "value <= 5", false},
		{measured("a", 400, "x").against(100).atLeast(4), "ratio >= 4", true},
		{measured("a", 399, "x").against(100).atLeast(4), "ratio >= 4", false},
		{measured("a", 149, "x").against(100).atMost(1.5), "ratio <= 1.5", true},
	} {
		if c.f.Goal != c.goal || *c.f.Met != c.met {
			t.Errorf("%+v: goal %q, met %v", c.f, c.f.Goal, *c.f.Met)
		}
	}
}

// The function that bench deploys is the one its source says.
func TestEchoModule(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	client := clientOf(t, h)
	for _, stream := range []string{"in", "copy"} {
		if _, _, err := client.CreateStream(t.Context(), stream, api.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := client.Deploy(t.Context(), "copy", strings.NewReader(string(echoModule)), api.FunctionConfig{Emit: []string{"copy"}}); err != nil {
		t.Fatal(err)
	}
	var want []string
	var records []api.PutRecord
	for i := range 50 {
		text := strings.Repeat("long ", i*200) + "text"
		want = append(want, text)
		records = append(records, api.PutRecord{PartitionKey: "k", Text: &text})
	}
	if _, err := client.Put(t.Context(), "in", records); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.PutMapping(t.Context(), "copy", api.MappingConfig{Stream: "in", Function: "copy", BatchSize: 7}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r, err := range client.Records(t.Context(), "copy", api.ReadOptions{Follow: true, Limit: len(want)}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(r.Bytes()))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d records came through, want %d as they were", len(got), len(want))
	}
}

func listDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
