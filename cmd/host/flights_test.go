package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// flightLines is the file of flights, in two halves of whole lines.
func flightLines(t *testing.T) (halves [2][]byte) {
	t.Helper()
	f, err := os.Open(flights)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(bufio.NewReader(z))
	if err != nil {
		t.Fatal(err)
	}
	middle := bytes.IndexByte(all[len(all)/2:], '\n') + len(all)/2 + 1
	return [2][]byte{all[:middle], all[middle:]}
}

// The flights go in over HTTP, in two parts with a restart of the host between them; what the function counts per airport equals
// what is counted from the file directly.
func TestFlightsEndToEnd(t *testing.T) {
	t.Parallel()
	module := filepath.Join(t.TempDir(), "delays.wasm")
	if err := buildFunction(t.Context(), delaysDir, module); err != nil {
		t.Fatal(err)
	}
	warm := testHost(t) // so that the module is compiled once
	deployFile(t, clientOf(t, warm), "compiled", module)
	keepCompiled(t, warm.dir.cache())
	want, n := airports(t)
	halves := flightLines(t)
	for _, shardCount := range []int{1, 4, 64} {
		t.Run(fmt.Sprintf("shards=%d", shardCount), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			h := bootHost(t, hostConfig{dataDir: dir})
			client := clientOf(t, h)
			for name, shards := range map[string]int{"flights": shardCount, "delays": 1} {
				if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: shards}); err != nil {
					t.Fatal(err)
				}
			}
			deployFile(t, client, "delays", module, "delays")
			if _, _, err := client.PutMapping(t.Context(), "delays", api.MappingConfig{Stream: "flights", Function: "delays"}); err != nil {
				t.Fatal(err)
			}
			put := func(client *api.Client, lines []byte) {
				t.Helper()
				answer, err := client.PutLines(t.Context(), "flights", bytes.NewReader(lines), api.LineOptions{Key: "/origin"})
				if err != nil || answer.Failed != 0 {
					t.Fatalf("put: %+v, %v", answer, err)
				}
			}
			put(client, halves[0])
			// The function is in the middle of the first half, or close to it, when the host stops.
			if err := h.close(); err != nil {
				t.Fatal(err)
			}
			h = bootHost(t, hostConfig{dataDir: dir})
			defer h.close()
			client = clientOf(t, h)
			put(client, halves[1])
			got := awaitFlights(t, client, n)
			if len(got) != len(want) {
				t.Errorf("%d airports, want %d", len(got), len(want))
			}
			for origin, w := range want {
				if g := got[origin]; g.Flights != w.Flights || g.DelayMinutes != w.DelayMinutes {
					t.Errorf("%s: %d flights and %d minutes, want %d and %d", origin, g.Flights, g.DelayMinutes, w.Flights, w.DelayMinutes)
				}
			}
		})
	}
}

func clientOf(t *testing.T, h *host) *api.Client {
	t.Helper()
	return clientAt(t, "http://"+h.addr())
}

func clientAt(t *testing.T, endpoint string) *api.Client {
	t.Helper()
	client, err := api.NewClient(endpoint, api.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func deployFile(t *testing.T, client *api.Client, name, module string, emit ...string) {
	t.Helper()
	f, err := os.Open(module)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, _, err := client.Deploy(t.Context(), name, f, api.FunctionConfig{Emit: emit}); err != nil {
		t.Fatal(err)
	}
}

// awaitFlights sums what the function has emitted until it accounts for n flights.
func awaitFlights(t *testing.T, client *api.Client, n int64) map[string]airport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	totals, seen := map[string]airport{}, int64(0)
	for r, err := range client.Records(ctx, "delays", api.ReadOptions{Follow: true}) {
		if err != nil {
			t.Fatalf("after %d of %d flights: %v", seen, n, err)
		}
		var a airport
		if err := json.Unmarshal(r.Bytes(), &a); err != nil || a.Origin != r.PartitionKey {
			t.Fatalf("record %s with key %s: %v", r.Bytes(), r.PartitionKey, err)
		}
		sum := totals[a.Origin]
		sum.Flights += a.Flights
		sum.DelayMinutes += a.DelayMinutes
		totals[a.Origin] = sum
		if seen += a.Flights; seen >= n {
			break
		}
	}
	return totals
}
