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

// A call that uses a secret, state and a server fails: its record is at the on-failure destination with the stack, and its capsule is replayed to
// the same without any of them; with other code, what that asks for besides is told.
func TestReplayOfWhatTheHostAnswered(t *testing.T) {
	t.Parallel()
	source := func(action string) string {
		return sdkFunction(t, "enrich", `package main

import (
	"context"
	"fmt"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(ctx context.Context, b *sdk.Batch) error {
		token, err := sdk.Secret(ctx, "token")
		if err != nil {
			return err
		}
		calls := sdk.State(ctx, "calls")
		for i, r := range b.All() {
			before, _ := calls.Get(string(r.Key))
			if err := calls.Put(string(r.Key), append(before.Value, '+')); err != nil {
				return err
			}
			answer, err := sdk.Fetch(ctx, &sdk.Request{Method: "POST", URL: "URL/who?t=" + string(token), Body: r.Data})
			if err != nil {
				return err
			}
			if string(answer.Body) != "it is " + string(token) {
				return fmt.Errorf("it answers %s", answer.Body)
			}
			`+action+`
			b.Emit("out", string(r.Key), append(before.Value, answer.Body...))
		}
		return nil
	})
}

//go:noinline
func parse(data []byte) byte { return data[100] }

func main() {}
`)
	}
	const token = "s3cr3t-of-the-api"
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "it is ", r.URL.Query().Get("t"))
	}))
	t.Cleanup(server.Close)
	bad := source(`b.Reject(i, fmt.Sprint(parse(r.Data)))`)
	good := source(`if _, err := sdk.Fetch(ctx, &sdk.Request{Method: "GET", URL: "URL/audit?t=" + string(token)}); err != nil {
				b.Reject(i, err.Error())
			}`)
	for _, dir := range []string{bad, good} {
		file := filepath.Join(dir, "main.go")
		writeFile(t, file, strings.ReplaceAll(readString(t, file), "URL/", server.URL+"/"))
	}
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
		{line: "replay CAPSULE --secret token=VALUE", stdout: `outcome +error +error\n.*message +.*index out of range.*Both came to the same.\n\n`},
		{line: "replay FILE --secret token=VALUE --function BAD --output json", stdout: `"same":true,"diverged":false,"old":`},
		{
			line: "replay FILE --secret token=VALUE --function GOOD", status: exitFailure, stderr: `then and now differ`,
			stdout: `record +- +0 rejected .*\n.*output 1 +- +out k it is s3cr3t-of-the-api\n\nThey differ\..*\n\nThe module asked the host for what the capsule has no answer to, and was told that it is not available:\n  http_fetch GET http://127.0.0.1:[0-9]+/audit\?t=\[secret\]\n$`,
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

// checkTrace looks at the document of the record that the function panics with.
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
		if doc.KinesisBatchInfo.BatchSize != 1 || f.Kind != "error" || !strings.Contains(f.Message, "index out of range") || !strings.Contains(f.Stack, "main.parse") {
			t.Errorf("%+v", doc)
		}
	}
}
