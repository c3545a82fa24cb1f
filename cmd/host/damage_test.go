package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Damage on disk is found and named; the verbs show it, and move past it when they are told to.
func TestDamageVerbs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := bootHost(t, hostConfig{dataDir: dir})
	play(t, h, nil, []step{
		{line: "stream create s", stdout: "s"},
		{line: "stream put s --partition-key k --data before", stdout: "Sequence"},
		{line: "stream put s --partition-key k --data needle", stdout: "Sequence"},
		{line: "stream put s --partition-key k --data after", stdout: "Sequence"},
	})
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(dir, "streams"), "needle")

	h = bootHost(t, hostConfig{dataDir: dir})
	play(t, h, nil, []step{
		{line: "stream tail s --from oldest --follow=false", status: exitFailure, stdout: `k  before\n$`, stderr: `shardId-000000000000.*damaged`},
		{line: "stream damage list s", stdout: `^SHARD +FIRST +LAST +FILE +OFFSET +REASON\nshardId-000000000000 +17592186044418 +17592186044418 .*\n$`},
		{line: "stream damage list s --output json", stdout: `^{"stream":"s","shard":"shardId-000000000000","first":"17592186044418","last":"17592186044418","file":"[^"]+","offset":[0-9]+,"reason":"[^"]+"}\n$`},
		{line: "stream put s --partition-key k --data more", stdout: "Sequence number: +17592186044420\n"},
		{line: "stream damage accept s shardId-000000000007", status: exitFailure, stderr: `shard`},
		{line: "stream damage accept s shardId-000000000000", stdout: `17592186044418 +17592186044418`},
		{line: "stream damage list s", stdout: `^no damage\n$`},
		{line: "stream tail s --from oldest --follow=false", stdout: `k  before\n.*k  after\n.*k  more\n$`},
	})
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

// Definitions of which both copies are damaged keep a host from starting: it says what is lost and what can be done, and does that
// when it is told to.
func TestDamagedDefinitions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := bootHost(t, hostConfig{dataDir: dir})
	play(t, h, nil, []step{{line: "stream create lost", stdout: "lost"}})
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	flip(t, dir, "lost\"")
	blocks, err := filepath.Glob(filepath.Join(dir, "nats", "jetstream", "*", "streams", "KV_catalog", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal(blocks, err)
	}
	for _, name := range blocks {
		writeFile(t, name, "not a block")
	}
	serve := []string{"serve", "--data-dir", dir, "--listen", freePort, "--admin-listen", freePort}
	r := cli{}.run(t.Context(), serve...)
	if r.status != exitFailure || !strings.Contains(r.stderr, `streams/"lost"`) || !strings.Contains(r.stderr, "start once with --accept-catalog-damage") {
		t.Errorf("status %d, and it says %s", r.status, r.stderr)
	}
	h = bootHost(t, hostConfig{dataDir: dir, acceptDamage: true})
	play(t, h, nil, []step{{line: "stream create new", stdout: "new"}})
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	h = bootHost(t, hostConfig{dataDir: dir}) // once was enough
	play(t, h, nil, []step{{line: "stream list", stdout: "new"}})
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of the first place below root where a file holds text.
func flip(t *testing.T, root, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // a folder
		}
		if at := bytes.Index(b, []byte(text)); at >= 0 {
			b[at] ^= 1
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no file below %s holds %q", root, text)
}
