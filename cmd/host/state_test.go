package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/state"
)

// A function that keeps state runs on a mapping, with the feed put twice; its tables are listed, outlive the host, and go with the mapping.
func TestStateVerbs(t *testing.T) {
	t.Parallel()
	dir := example("unique")
	feed := dir + "/testdata/earthquakes.ndjson.gz"
	data := t.TempDir()
	h := testHost(t, func(c *hostConfig) { c.dataDir = data })
	play(t, h, map[string]string{"DIR": dir, "FEED": feed}, []step{
		{line: "state list", stdout: `^TABLE +FUNCTION +MAPPING +SHARD +KEYS +SIZE\n$`},
		{line: "stream create earthquakes", stdout: `.`},
		{line: "stream create feed --shards 2", stdout: `.`},
		{line: "function deploy unique DIR", stdout: `State tables: +seen\n`},
		{line: "function deploy unique DIR --state shared:seen", stdout: `\n  \+ it may use the shared state table "seen"\n  - it may no longer keep a state table "seen" of its own\n`},
		{line: "function deploy unique DIR --state seen,shared:seen", status: exitFailure, stderr: `state is "seen"; it must be private or shared, not both`},
		{line: "function rollback unique 1", stdout: `State tables: +seen\n`},
		{line: "mapping create m --stream feed --function unique", stdout: `enabled`},
		{line: "stream put feed FEED --key net", stdout: `^300 records put`},
		{line: "stream put feed FEED --key net", stdout: `^300 records put`},
	})
	awaitSettled(t, h, "m", 600)
	r := cli{env: endpoint(h)}.run(t.Context(), "stream", "tail", "earthquakes", "--from", "oldest", "--follow=false")
	if n := strings.Count(r.stdout, "\n"); n != 300 {
		t.Errorf("%d earthquakes came out of 300 that were put twice", n)
	}
	play(t, h, nil, []step{
		{line: "state list", stdout: `\nseen +unique +m +0 +[0-9]+ +[0-9.]+ KiB\nseen +unique +m +1 `},
		{line: "state list --output json", stdout: `^{"name":"seen","function":"unique","mapping":"m","shard":0,"keys":[0-9]+,"bytes":[0-9]+}\n`},
		{line: "__complete state delete ''", stdout: `^seen\n:4\n$`, stderr: `.`},
		{line: "state delete seen", status: exitFailure, stderr: `no shared state table "seen" that holds anything; "shardmill state list" shows`},
		{line: "state delete none --function unique", status: exitFailure, stderr: `"unique" has no state table "none"`},
	})
	keys := 0
	for _, table := range h.state.Tables() {
		keys += int(table.Keys)
	}
	if keys != 302 { // and in each shard the newest day
		t.Errorf("the tables have %d keys", keys)
	}
	play(t, h, nil, []step{
		{line: "mapping delete m", stdout: `deleted`},
		{line: "state list", stdout: `SIZE\n$`},
		{line: "serve --state-limit 1KiB", status: exitUsage, stderr: `--state-limit is 1KiB; it must be 1MiB or more`},
	})
	if n := len(h.state.Tables()); n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

// A table is loaded, read, changed, copied and emptied from outside, and functions see it.
func TestStateEntryVerbs(t *testing.T) {
	t.Parallel()
	h := testHost(t, func(c *hostConfig) { c.stateTable = 1 << 20 })
	airports := filepath.Join(t.TempDir(), "airports")
	writeFile(t, airports, `{"iata":"LAX","city":"Los Angeles"}`+"\n"+`{"iata":"LHR","city":"London"}`+"\n"+`{"iata":"DFW","city":"Dallas"}`+"\n")
	large := filepath.Join(t.TempDir(), "large")
	writeFile(t, large, strings.Repeat("x", 1<<20+1))
	broken := filepath.Join(t.TempDir(), "broken")
	writeFile(t, broken, `{"iata":"JFK"}`+"\n"+`{}`+"\n")
	copied := filepath.Join(t.TempDir(), "copy")
	endless := filepath.Join(t.TempDir(), "endless")
	writeFile(t, endless, strings.Repeat(`{"iata":"JFK"}`+"\n", 900)+`{"iata":"a","x":"`+strings.Repeat("x", 1<<19)+`"}`+"\n"+`{"iata":"b","x":"`+strings.Repeat("x", 1<<19)+`"}`+"\n")
	files := map[string]string{"ENDLESS": endless, "AIRPORTS": airports, "LARGE": large, "BROKEN": broken, "COPY": copied}
	play(t, h, files, []step{
		{line: "state load airports --file AIRPORTS --key iata", stdout: `^3 entries loaded\n$`},
		{line: "state load airports --file BROKEN --key iata", status: exitFailure, stderr: `Line 2: The line has no value at /iata; .* The first 0 entries are stored. Loading all again is safe`},
		{line: "state load airports", status: exitUsage, stderr: `--file is needed`},
		{line: "state list", stdout: `\nairports +\(shared\) +- +- +3 `},
		{line: "state list airports --prefix L", stdout: `^LAX  {"iata":"LAX","city":"Los Angeles"}\nLHR  {"iata":"LHR","city":"London"}\n$`},
		{line: "state list airports --limit 1", stdout: `^DFW  [^\n]+\n$`},
		{line: "state list --prefix L", status: exitUsage, stderr: `go with TABLE`},
		{line: "state get airports LAX", stdout: `^{"iata":"LAX","city":"Los Angeles"}$`},
		{line: "state get airports LAX --output json", stdout: `^{"data":"[^"]+","key":"LAX","revision":1}\n$`},
		{line: "state get airports JFK", status: exitFailure, stderr: `State table airports has no key "JFK"; "shardmill state list TABLE" shows`},
		{line: "state put airports JFK nyc", stdout: `^Revision: +2\nSize: +3 B\n$`},
		{line: "state put airports JFK nyc --expected 0", status: exitFailure, stderr: `changed`},
		{line: "state put airports JFK --file LARGE --expected 2", status: exitFailure, stderr: `larger than 1MiB`},
		{line: "state put airports JFK x --expected -1", status: exitUsage, stderr: `--expected is -1`},
		{line: "state put airports JFK x --file LARGE", status: exitUsage, stderr: `VALUE or --file, not both`},
		{line: "state put airports JFK NYC --expected 2 --output json", stdout: `^{"revision":3,"bytes":3}\n$`},
		{line: "state delete airports LHR", stdout: `^entry LHR deleted\n$`},
		{line: "state delete airports LHR", status: exitFailure, stderr: `no key "LHR"`},
		{line: "state delete airports --shard 1", status: exitUsage, stderr: `go with KEY`},
		{line: "state put airports k v --function none", status: exitFailure, stderr: `function`},
	})
	r := cli{env: endpoint(h)}.run(t.Context(), "state", "list", "airports", "--output", "json")
	if r.status != 0 {
		t.Fatal(r.stderr)
	}
	writeFile(t, copied, r.stdout)
	play(t, h, files, []step{
		{line: "state load copy --file COPY", stdout: `^3 entries loaded\n$`},
		{line: "state list copy", stdout: `^DFW  [^\n]+\nJFK  NYC\nLAX  [^\n]+\n$`},
		{line: "state load airports --file ENDLESS --key iata", status: exitFailure, stderr: `table airports would have [0-9]+ bytes; it may have 1048576. The first [0-9]+ entries are stored; delete entries .* larger --state-table-limit`},
		{line: "state delete airports", stdout: `deleted`},
		{line: "state list airports", stdout: `^$`},
	})
}

// awaitSettled waits until a mapping has settled so many records, in all its shards.
func awaitSettled(t *testing.T, h *host, mapping string, n uint64) {
	t.Helper()
	client, err := api.NewClient(h.url(), api.ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		m, err := client.Mapping(t.Context(), mapping)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", m, err)
		}
		if m.Counts.Settled >= n {
			tick.Stop()
			return
		}
	}
}

// What functions keep is there again after a start.
func TestStateOutlivesTheHost(t *testing.T) {
	t.Parallel()
	config := hostConfig{dataDir: t.TempDir()}
	h := bootHost(t, config)
	b := h.state.Begin()
	if _, err := b.Put(state.Table{Name: "cities", Shared: true}, "k", []byte("v"), state.Any); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	h = bootHost(t, config)
	defer h.close()
	r := cli{env: endpoint(h)}.run(t.Context(), "state", "list")
	if !regexp.MustCompile(`\ncities +\(shared\) +- +- +1 +18 B\n$`).MatchString(r.stdout) {
		t.Errorf("%q", r.stdout)
	}
}
