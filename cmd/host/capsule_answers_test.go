package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// enricher is the module of a function that asks a server about each record with a secret, counts in state, and emits the answer. What it does
// besides with the record r is in C too. URL is the server's.
func enricher(t *testing.T, url, action string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "shardmill.h"), readString(t, filepath.Join("..", "..", "sdk", "c", "shardmill.h")))
	writeFile(t, filepath.Join(dir, "function.c"), strings.NewReplacer("ACTION", strings.ReplaceAll(action, "URL", url), "URL", url).Replace(`
#include <stdio.h>
#include <string.h>
#define SHARDMILL_IMPLEMENTATION
#include "shardmill.h"

__attribute__((noinline)) static void parse(shardmill_bytes data) { if (data.len == 6) __builtin_trap(); }

static shardmill_bytes join(const char *url, const char *token) {
	static char text[256];
	return (shardmill_bytes){text, (size_t)snprintf(text, sizeof text, "%s%s", url, token)};
}

static int handle(shardmill_call *call) {
	shardmill_record r;
	while (shardmill_next(call, &r)) {
		shardmill_bytes value;
		char token[64] = "", before[64] = "";
		if (shardmill_secret(SHARDMILL_TEXT("token"), &value) != SHARDMILL_OK) return shardmill_fail(call, shardmill_reason());
		memcpy(token, value.ptr, value.len);
		shardmill_entry entry = {0};
		if (shardmill_state_get(SHARDMILL_TEXT("calls"), r.key, &entry) == SHARDMILL_OK) memcpy(before, entry.value.ptr, entry.value.len);
		strcat(before, "+");
		if (shardmill_state_put(SHARDMILL_TEXT("calls"), r.key, (shardmill_bytes){before, strlen(before)}, entry.revision, NULL) != SHARDMILL_OK)
			return shardmill_fail(call, shardmill_reason());
		shardmill_request request = {.method = SHARDMILL_TEXT("POST"), .url = join("URL/who?t=", token), .body = r.data};
		shardmill_response answer;
		if (shardmill_fetch(&request, &answer) != SHARDMILL_OK) return shardmill_fail(call, shardmill_reason());
		shardmill_emit(call, SHARDMILL_TEXT("out"), r.key, answer.body);
		ACTION
	}
	return 0;
}

SHARDMILL_FUNCTION(.batch = handle)
`))
	file := filepath.Join(dir, "enrich.wasm")
	writeFile(t, file, string(built(t, dir)))
	return file
}

// A call that uses a secret, state and a server fails: its record is at the on-failure destination with the stack, and its capsule is replayed to
// the same without any of them; with other code, what that asks for besides is told.
func TestReplayOfWhatTheHostAnswered(t *testing.T) {
	t.Parallel()
	const token = "s3cr3t-of-the-api"
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "it is ", r.URL.Query().Get("t"))
	}))
	t.Cleanup(server.Close)
	bad := enricher(t, server.URL, `parse(r.data);`)
	good := enricher(t, server.URL, `
		request = (shardmill_request){.url = join("URL/audit?t=", token)};
		if (shardmill_fetch(&request, &answer) != SHARDMILL_OK) shardmill_reject(call, r.index, shardmill_reason());`)
	value := filepath.Join(t.TempDir(), "token")
	writeFile(t, value, token)
	h := testHost(t, func(c *hostConfig) {
		c.functionHosts = []string{strings.TrimPrefix(server.URL, "http://")}
		c.retryBase, c.retryMax = time.Millisecond, time.Millisecond
	})
	files := map[string]string{"BAD": bad, "GOOD": good, "VALUE": value, "SERVER": server.URL, "FILE": filepath.Join(t.TempDir(), "c.capsule")}
	play(t, h, files, []step{
		{line: "secret set token --file VALUE", stdout: `.`},
		{line: "stream create in", stdout: `.`},
		{line: "stream create out", stdout: `.`},
		{line: "stream create failed", stdout: `.`},
		{line: "function deploy f BAD --emit out --secret token --state calls --http 'GET,POST SERVER'", stdout: `Version: +1\n`},
		{line: "stream put in --partition-key k --data poison", stdout: `.`},
		{line: "mapping create m --stream in --function f --keep-failed --isolate --max-attempts 1 --on-failure stream:failed", stdout: `Capsules: +failed\n`},
	})
	if t.Failed() {
		t.FailNow()
	}
	settled(t, h, "m")
	checkTrace(t, h)

	client := clientOf(t, h)
	until(t, "the failed call is kept", func() bool {
		list, err := client.Capsules(t.Context(), "m")
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			files["CAPSULE"] = list[0].ID
		}
		return len(list) > 0
	})
	times := asked.Load()
	server.Close()
	play(t, h, files, []step{
		{line: "secret delete token", stdout: `.`},
		{line: "capsule get CAPSULE -o FILE", stdout: `^wrote`},
		{line: "replay FILE --function BAD", status: exitUsage, stderr: `the invocation had secret "token", whose value is in no capsule; give it with --secret token=FILE`},
		{line: "replay CAPSULE --secret token=VALUE", stdout: `outcome +trap +trap\n.*message +unreachable +unreachable\n.*Both came to the same.\n\n`},
		{line: "replay FILE --secret token=VALUE --function BAD --output json", stdout: `"same":true,"diverged":false,"old":`},
		{
			line: "replay FILE --secret token=VALUE --function GOOD", status: exitFailure, stderr: `then and now differ`,
			stdout: `record +- +0 rejected .*\n.*output 1 +- +out k it is s3cr3t-of-the-api\n\nThey differ\.\n\nThe module asked the host for what the capsule has no answer to, and was told that it is not available:\n  http_fetch GET http://127.0.0.1:[0-9]+/audit\?t=\[secret\]\n$`,
		},
		{line: "state list", stdout: `SIZE\n$`},
	})
	file := readString(t, files["FILE"])
	for _, text := range []string{token, base64.StdEncoding.EncodeToString([]byte(token))} {
		if strings.Contains(file, text) {
			t.Errorf("the capsule has %s in it", text)
		}
	}
	if n := asked.Load(); times != 1 || n != 1 {
		t.Errorf("the server was asked %d times, and %d after the replays", times, n)
	}
}

// checkTrace looks at the document of the record that the function traps with.
func checkTrace(t *testing.T, h *host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for r, err := range clientOf(t, h).Records(ctx, "failed", api.ReadOptions{Follow: true, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			KinesisBatchInfo struct{ BatchSize int }
			Failure          struct{ Kind, Message, Stack string }
		}
		if err := json.NewDecoder(bytes.NewReader(r.Bytes())).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		f := doc.Failure
		if doc.KinesisBatchInfo.BatchSize != 1 || f.Kind != "trap" || f.Message != "unreachable" || !strings.Contains(f.Stack, "parse(") || !strings.Contains(f.Stack, "handle(") {
			t.Errorf("%+v", doc)
		}
	}
}
