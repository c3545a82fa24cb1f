package main

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	delaysDir = "../../functions/examples/delays"
	flights   = delaysDir + "/testdata/flights.ndjson.gz"
)

// airport is what dev shows of one airport.
type airport struct {
	Origin           string   `json:"origin"`
	Flights          int64    `json:"flights"`
	DelayMinutes     int64    `json:"delayMinutes"`
	MeanDelayMinutes *float64 `json:"meanDelayMinutes"`
	Records          int64    `json:"records"`
}

// airports computes from the file directly what the function must come to.
func airports(t *testing.T) (map[string]airport, int64) {
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
	totals, n := make(map[string]airport), int64(0)
	for s := bufio.NewScanner(z); s.Scan(); n++ {
		var flight struct {
			Origin string
			Delay  int64
		}
		if err := json.Unmarshal(s.Bytes(), &flight); err != nil {
			t.Fatal(err)
		}
		a := totals[flight.Origin]
		a.Origin = flight.Origin
		a.Flights++
		a.DelayMinutes += flight.Delay
		totals[flight.Origin] = a
	}
	return totals, n
}

// Three sessions on one data directory, so that the function is compiled once: what dev computes is what the file says,
// each session shows its own records alone, and a feed that is refused changes nothing.
func TestDevOnce(t *testing.T) {
	t.Parallel()
	want, n := airports(t)
	data := t.TempDir()
	// The usual port is taken, by us or by a host that runs on this machine: dev takes a free one.
	if l, err := net.Listen("tcp", defaultListen); err == nil {
		defer l.Close()
	}
	dev := func(more ...string) result {
		return cli{}.run(t.Context(), append([]string{
			"dev", delaysDir, "--stream", "flights", "--feed", flights, "--once", "--data-dir", data,
		}, more...)...)
	}

	r := dev("--key", "origin", "--output", "json")
	if r.status != exitOK {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	checkAirports(t, r.stdout, want)
	if !regexp.MustCompile(fmt.Sprintf(`(?m)^%s records of flights in .* records/s, [0-9,]+ invocations, iterator age`, thousands(n))).MatchString(r.stderr) {
		t.Errorf("said:\n%s", r.stderr)
	}

	r = dev("--key", "airline")
	if r.status != exitFailure || !strings.Contains(r.stderr, "/airline") || r.stdout != "" {
		t.Errorf("no such key: %+v", r)
	}

	r = dev("--key", "/origin", "--batch-size", "1000")
	if r.status != exitOK {
		t.Fatalf("status %d: %s", r.status, r.stderr)
	}
	rows := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if len(rows) != len(want)+1 || !strings.HasPrefix(rows[0], "ORIGIN") {
		t.Fatalf("%d rows, want %d:\n%s", len(rows), len(want)+1, r.stdout)
	}
	busiest := slices.MaxFunc(slices.Collect(maps.Values(want)), func(a, b airport) int { return int(a.Flights - b.Flights) })
	if first := strings.Fields(rows[1]); first[0] != busiest.Origin || first[1] != thousands(busiest.Flights) {
		t.Errorf("first row is %v, want %+v", first, busiest)
	}
}

// checkAirports compares the JSON dev writes with what the file says.
func checkAirports(t *testing.T, out string, want map[string]airport) {
	t.Helper()
	seen := make(map[string]bool)
	for line := range strings.Lines(out) {
		var got airport
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[got.Origin] = true
		w := want[got.Origin]
		if got.Flights != w.Flights || got.DelayMinutes != w.DelayMinutes {
			t.Errorf("%s: %d flights, %d minutes; the file has %d and %d", got.Origin, got.Flights, got.DelayMinutes, w.Flights, w.DelayMinutes)
		}
		if mean := float64(w.DelayMinutes) / float64(w.Flights); got.MeanDelayMinutes == nil || *got.MeanDelayMinutes != mean {
			t.Errorf("%s: mean %v, want %v", got.Origin, got.MeanDelayMinutes, mean)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("%d airports, the file has %d", len(seen), len(want))
	}
}

func TestDevRefuses(t *testing.T) {
	t.Parallel()
	broken := goFunction(t, "package main\n\nfunc main() { return 1 }\n")
	strange := goFunction(t, reactor)
	writeFile(t, filepath.Join(strange, manifestFile), "emits: [delays]\n")
	tests := []struct {
		name   string
		args   []string
		status int
		says   string
	}{
		{"no folder", nil, exitUsage, "needs DIR"},
		{"no stream", []string{delaysDir}, exitUsage, "--stream"},
		{"no key", []string{delaysDir, "--stream", "s", "--feed", flights}, exitUsage, "--key"},
		{"key without feed", []string{delaysDir, "--stream", "s", "--key", "origin"}, exitUsage, "--feed"},
		{"once without feed", []string{delaysDir, "--stream", "s", "--once"}, exitUsage, "--once needs --feed"},
		{"does not build", []string{broken, "--stream", "s"}, exitFailure, "main.go:3"},
		{"unknown setting", []string{strange, "--stream", "s"}, exitFailure, `unknown field "emits"`},
		{"no such folder", []string{filepath.Join(broken, "none"), "--stream", "s"}, exitFailure, "none"},
		{"not a function", []string{goFunction(t, reactor), "--stream", "s", "--name", "f"}, exitFailure, "shardmill_abi_v1"},
		{"no such feed", []string{delaysDir, "--stream", "s", "--feed", "none.ndjson", "--key", "k"}, exitFailure, "none.ndjson"},
		{"bad stream", []string{delaysDir, "--stream", "a b"}, exitFailure, "a b"},
		{"no shards", []string{delaysDir, "--stream", "s", "--shards", "0"}, exitUsage, "--shards is 0; it must be 1"},
		{"empty batches", []string{delaysDir, "--stream", "s", "--batch-size", "0"}, exitUsage, "--batch-size is 0; it must be 1"},
		{"negative rows", []string{delaysDir, "--stream", "s", "--rows", "-1"}, exitUsage, "--rows is -1; it must be 0"},
		{"other machines", []string{delaysDir, "--stream", "s", "--listen", "0.0.0.0:0"}, exitUsage, "without authentication"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"dev"}, tt.args...)
			if !slices.Contains(args, "--listen") {
				args = append(args, "--listen", freePort)
			}
			r := cli{}.run(t.Context(), args...)
			if r.status != tt.status || !strings.Contains(r.stderr, tt.says) {
				t.Errorf("status %d, want %d with %q; said %s", r.status, tt.status, tt.says, r.stderr)
			}
		})
	}
}

// sdkFunction writes a function in a module of its own that uses this checkout's SDK.
func sdkFunction(t *testing.T, name, source string) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	// With the requirements of this module go finds all it needs without a network.
	_, requirements, _ := strings.Cut(readString(t, filepath.Join(root, "go.mod")), "\n")
	writeFile(t, filepath.Join(dir, "go.mod"), "module example.org/"+name+"\n"+requirements+
		"\nrequire github.com/shardmill/shardmill v0.0.0\n\nreplace github.com/shardmill/shardmill => "+root+"\n")
	writeFile(t, filepath.Join(dir, "go.sum"), readString(t, filepath.Join(root, "go.sum")))
	writeFile(t, filepath.Join(dir, "main.go"), source)
	return dir
}

// counter emits, per batch, how many records it got, as many times as FACTOR says.
const counter = `package main

import (
	"context"
	"fmt"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		fmt.Println("got a batch")
		b.Emit("counts", "all", fmt.Appendf(nil, ` + "`" + `{"n":%d}` + "`" + `, b.Len()*FACTOR))
		return nil
	})
}

func main() {}
`

// Each save shows what the new version makes of the same records; the stream is fed once.
func TestDevSwapsAndDrains(t *testing.T) {
	t.Parallel()
	dir := sdkFunction(t, "counter", strings.ReplaceAll(counter, "FACTOR", "1"))
	writeFile(t, filepath.Join(dir, manifestFile), "emit: [counts]\n")
	feed := filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, feed, strings.Repeat(`{"k":"a"}`+"\n", 7))
	// What the data directory holds of earlier sessions is not this one's.
	data := t.TempDir()
	h := bootHost(t, hostConfig{dataDir: data})
	play(t, h, map[string]string{"FEED": feed}, []step{
		{line: "stream create events --shards 4", stdout: "events"},
		{line: "stream put events FEED --key k", stdout: "7 records"},
	})
	if err := h.close(); err != nil {
		t.Fatal(err)
	}

	dev := cli{}.start(t, "dev", dir, "--stream", "events", "--feed", feed, "--key", "k", "--listen", freePort, "--data-dir", data)
	said := dev.errs.await(t, "Ctrl-C ends", dev.ended)
	first := dev.out.String()
	if first != "KEY   N\nall  14\n" { // the mapping is new: it begins at the oldest
		t.Errorf("got %q", first)
	}
	dev.errs.await(t, "counter v1 info: got a batch", dev.ended)
	api := regexp.MustCompile(`API is at (\S+),`).FindStringSubmatch(said)[1]

	// What does not build is said, and the function goes on.
	writeFile(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() { return 1 }\n")
	dev.errs.await(t, "version 1 goes on", dev.ended)
	writeFile(t, filepath.Join(dir, "main.go"), strings.ReplaceAll(counter, "FACTOR", "100"))
	dev.errs.await(t, "swapped in version 2 in ", dev.ended)
	dev.errs.await(t, "; it runs on the records of events again", dev.ended)
	dev.errs.await(t, "7 records of events again in ", dev.ended)
	if got, want := strings.TrimPrefix(dev.out.String(), first), "KEY    N\nall  700\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	env := map[string]string{"SHARDMILL_ENDPOINT": api}
	if put := (cli{env: env}).run(t.Context(), "stream", "put", "events", feed, "--key", "k"); put.status != exitOK {
		t.Fatalf("put: %+v", put)
	}
	dev.errs.await(t, "7 more records of events", dev.ended)
	if !strings.HasSuffix(dev.out.String(), "all  1,400\n") {
		t.Errorf("got %q, want 700 + 700", dev.out)
	}
	if status := dev.end(); status != exitOK || strings.Contains(dev.errs.String(), "shardmill: ") {
		t.Errorf("status %d: %s", status, dev.errs)
	}
}

// A function that handles no batches is said and can be mended; without --feed there is nothing to run again.
func TestDevSwapsInWhatCannotBeMapped(t *testing.T) {
	t.Parallel()
	const batches = `package main

import (
	"context"

	"github.com/shardmill/shardmill/sdk"
)

func init() { sdk.OnBatch(func(context.Context, *sdk.Batch) error { return nil }) }

func main() {}
`
	const windows = `package main

import (
	"context"

	"github.com/shardmill/shardmill/sdk"
)

func init() { sdk.OnWindow(func(context.Context, *sdk.WindowEnd) error { return nil }) }

func main() {}
`
	dir := sdkFunction(t, "quiet", batches)
	feed := filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, feed, `{"k":"a"}`)
	dev := cli{}.start(t, "dev", dir, "--stream", "events", "--feed", feed, "--key", "k", "--listen", freePort)
	dev.errs.await(t, "Ctrl-C ends", dev.ended)
	writeFile(t, filepath.Join(dir, "main.go"), windows)
	dev.errs.await(t, "version 2 cannot run: ", dev.ended)
	writeFile(t, filepath.Join(dir, "main.go"), strings.ReplaceAll(batches, "return nil", "println(2); return nil"))
	dev.errs.await(t, "1 records of events again in ", dev.ended)
	if status := dev.end(); status != exitOK {
		t.Errorf("status %d: %s", status, dev.errs)
	}

	dev = cli{}.start(t, "dev", dir, "--stream", "events", "--listen", freePort)
	dev.errs.await(t, "Ctrl-C ends", dev.ended)
	writeFile(t, filepath.Join(dir, "main.go"), batches)
	dev.errs.await(t, "; it runs on the records that come next", dev.ended)
	if status := dev.end(); status != exitOK {
		t.Errorf("status %d: %s", status, dev.errs)
	}
}

func TestDevOnceGivesUp(t *testing.T) {
	t.Parallel()
	dir := sdkFunction(t, "fails", `package main

import (
	"context"
	"errors"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(context.Context, *sdk.Batch) error { return errors.New("no such luck") })
}

func main() {}
`)
	feed := filepath.Join(t.TempDir(), "events.ndjson")
	writeFile(t, feed, `{"k":"a"}`)
	r := cli{}.run(t.Context(), "dev", dir, "--stream", "events", "--feed", feed, "--key", "k", "--listen", freePort, "--once")
	if r.status != exitFailure || !strings.Contains(r.stderr, "no such luck") || !strings.Contains(r.stderr, "given up after 5 attempts") {
		t.Errorf("%+v", r)
	}
}
