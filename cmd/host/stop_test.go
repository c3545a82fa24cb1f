package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/triggers"
)

// until waits for a condition that nothing tells of.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-t.Context().Done():
			t.Fatalf("waiting until %s: %v", what, t.Context().Err())
		}
	}
}

// beginRequest sends the head of a request that makes a stream and returns when the host waits for the body, which end sends;
// it returns the status of the answer.
func beginRequest(t *testing.T, addr, stream string) (end func() int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "PUT /v1/streams/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n", stream, addr)
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the host answered %q, %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return func() int {
		t.Helper()
		fmt.Fprint(conn, "{}")
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}
}

// slow takes as much time over a record as the record says, without ever waiting.
const slow = `package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	sdk.OnBatch(func(_ context.Context, b *sdk.Batch) error {
		for _, r := range b.All() {
			fmt.Println("begun", string(r.Data))
			take, err := time.ParseDuration(string(r.Data))
			if err != nil {
				return err
			}
			for start := time.Now(); time.Since(start) < take; {
			}
			b.Emit("done", "k", r.Data)
		}
		return nil
	})
}

func main() {}
`

// Requests and batches end beside each other, no batch begins after the stop, and none that has ended is delivered again. What
// outlasts the drain time is cut off then, and named.
func TestHostDrains(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := bootHost(t, hostConfig{dataDir: dir, drain: time.Minute})
	play(t, h, map[string]string{"DIR": sdkFunction(t, "slow", slow)}, []step{
		{line: "stream create in", stdout: "in"},
		{line: "stream create done", stdout: "done"},
		{line: "function deploy slow DIR --emit done --timeout 15m", stdout: "slow"},
		{line: "stream put in --partition-key k --data 700ms", stdout: "Sequence"},
		{line: "stream put in --partition-key k --data 1ms", stdout: "Sequence"},
		{line: "mapping create m --stream in --function slow --batch-size 1", stdout: "enabled"},
	})
	logs := cli{env: endpoint(h)}.start(t, "function", "logs", "slow", "--follow")
	logs.out.await(t, "begun 700ms", logs.ended)
	endRequest := beginRequest(t, h.addr(), "late")
	stopped := make(chan error, 1)
	go func() { stopped <- h.close() }()
	<-logs.ended // the stopping host ended it
	until(t, "the mapping has stopped", func() bool {
		m, err := h.mappings.Get("m")
		return err == nil && m.Shards[0].State == triggers.ShardStopped
	})
	// The request is still there, so it is not what the mapping waited for.
	if m, err := h.mappings.Get("m"); err != nil || m.Shards[0].Counts.OK != 1 || m.Shards[0].Counts.Delivered != 1 {
		t.Errorf("%+v, %v, want the batch under way to have ended and no other to have begun", m.Shards, err)
	}
	if status := endRequest(); status != http.StatusCreated {
		t.Errorf("the request under way was answered with %d", status)
	}
	if err := <-stopped; err != nil {
		t.Errorf("an orderly stop: %v", err)
	}

	h = bootHost(t, hostConfig{dataDir: dir, drain: 300 * time.Millisecond})
	play(t, h, nil, []step{
		{line: "stream tail done --from oldest --limit 2", stdout: "  700ms\n.*  1ms\n$"},
		{line: "stream put in --partition-key k --data 10m", stdout: "Sequence"},
	})
	logs = cli{env: endpoint(h)}.start(t, "function", "logs", "slow", "--follow")
	logs.out.await(t, "begun 10m", logs.ended)
	beginRequest(t, h.addr(), "never")
	began := time.Now()
	err := h.close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if !errors.Is(err, triggers.ErrDrain) || !errors.Is(err, errCutOff) ||
		!strings.Contains(err.Error(), "mapping m, shardId-000000000000: the invocation for the records ") ||
		!strings.Contains(err.Error(), "cut off PUT /v1/streams/never of 127.0.0.1:") {
		t.Errorf("the stop says %v", err)
	}
}

func TestServeSaysWhatItCutOff(t *testing.T) {
	t.Parallel()
	for _, drain := range []string{"0s", "50ms"} {
		serve := cli{}.start(t, "serve", "--data-dir", t.TempDir(), "--listen", freePort, "--admin-listen", freePort, "--drain", drain)
		m := readyLine.FindStringSubmatch(serve.errs.await(t, "host is ready", serve.ended))
		beginRequest(t, strings.TrimPrefix(m[1], "http://"), "s")
		if status := serve.end(); status != exitFailure || !strings.Contains(serve.errs.String(), "shardmill: the drain time was over: cut off PUT /v1/streams/s of ") {
			t.Errorf("status %d: %s", status, serve.errs)
		}
		// With nothing under way no time at all is enough.
		serve = cli{}.start(t, "serve", "--data-dir", t.TempDir(), "--listen", freePort, "--admin-listen", freePort, "--drain", drain)
		serve.errs.await(t, "host is ready", serve.ended)
		if status := serve.end(); status != exitOK {
			t.Errorf("status %d: %s", status, serve.errs)
		}
	}
}

func TestRequestsUnderWay(t *testing.T) {
	release, served := make(chan struct{}), make(chan struct{})
	under := newRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	under.await(time.Hour) // nothing to wait for
	for i := range 12 {
		go func() {
			under.ServeHTTP(nil, httptest.NewRequest("GET", fmt.Sprintf("/a%%0ab/%d", i), nil))
			served <- struct{}{}
		}()
	}
	until(t, "all are under way", func() bool {
		under.mu.Lock()
		defer under.mu.Unlock()
		return len(under.under) == 12
	})
	names := under.names()
	if len(names) != 11 || names[10] != "2 requests more" || !strings.HasPrefix(names[0], "GET /a%0ab/") {
		t.Errorf("%q", names)
	}
	under.await(time.Millisecond)
	close(release)
	under.await(time.Hour)
	for range 12 {
		<-served
	}
	if names := under.names(); len(names) != 0 {
		t.Errorf("%q", names)
	}
}
