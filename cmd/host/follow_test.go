package main

import (
	"bytes"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/shardmill/shardmill/api"
)

// TestTailOfDeletedStream deletes a stream that is tailed: the tail ends by itself and says why.
func TestTailOfDeletedStream(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	client := clientAt(t, h.url())
	for _, args := range [][]string{{}, {"--output", "json"}, {"--shard", "0"}} {
		if _, _, err := client.CreateStream(t.Context(), "s", api.StreamConfig{Shards: 2}); err != nil {
			t.Fatal(err)
		}
		for _, hash := range []string{"0", "340282366920938463463374607431768211455"} {
			if _, err := client.Put(t.Context(), "s", []api.PutRecord{{PartitionKey: "k", Text: new("hello"), ExplicitHashKey: hash}}); err != nil {
				t.Fatal(err)
			}
		}
		tail := cli{env: endpoint(h)}.start(t, append([]string{"stream", "tail", "s", "--from", "oldest"}, args...)...)
		tail.out.await(t, "hello", tail.ended)
		if err := client.DeleteStream(t.Context(), "s"); err != nil {
			t.Fatal(err)
		}
		<-tail.ended
		if said := tail.errs.String(); tail.status != exitFailure || !strings.HasPrefix(said, `shardmill: The stream "s" has been deleted; "shardmill stream list" shows`) {
			t.Errorf("%q: status %d, and it says %q", args, tail.status, said)
		}
	}
}

// TestTailOverBrokenConnection cuts the connection of a tail: the user is told what happened.
func TestTailOverBrokenConnection(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	client := clientAt(t, h.url())
	if _, _, err := client.CreateStream(t.Context(), "s", api.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "s", []api.PutRecord{{PartitionKey: "k", Text: new("hello")}}); err != nil {
		t.Fatal(err)
	}
	proxy, cut := cuttingProxy(t, h.addr())
	tail := cli{env: map[string]string{"SHARDMILL_ENDPOINT": "http://" + proxy}}.start(t, "stream", "tail", "s", "--from", "oldest")
	tail.out.await(t, "hello", tail.ended)
	cut()
	<-tail.ended
	if said := tail.errs.String(); tail.status != exitFailure || !strings.HasPrefix(said, "shardmill: the connection to the host broke off") {
		t.Errorf("status %d, and it says %q", tail.status, said)
	}
}

// TestPutOverBrokenConnection cuts the connection of a put: the user is told that what is on disk is not known.
func TestPutOverBrokenConnection(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	client := clientAt(t, h.url())
	if _, _, err := client.CreateStream(t.Context(), "s", api.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	proxy, cut := cuttingProxy(t, h.addr())
	in, lines := io.Pipe()
	var out, errs bytes.Buffer
	c := cli{env: map[string]string{"SHARDMILL_ENDPOINT": "http://" + proxy}}.console(&out, &errs)
	c.in = in
	status := make(chan int, 1)
	go func() {
		status <- run(t.Context(), []string{"stream", "put", "s", "--key", "k"}, c)
		in.CloseWithError(io.ErrClosedPipe)
	}()
	if _, err := io.WriteString(lines, `{"k":"a"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	for _, err := range client.Records(t.Context(), "s", api.ReadOptions{Follow: true, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	cut()
	var writer sync.WaitGroup
	writer.Go(func() {
		for { // the client finds out by what it cannot send
			if _, err := io.WriteString(lines, `{"k":"a"}`+"\n"); err != nil {
				return
			}
		}
	})
	if got := <-status; got != exitFailure || !strings.Contains(errs.String(), "how many of the records are on disk is not known") {
		t.Errorf("status %d, and it says %q", got, errs.String())
	}
	writer.Wait()
}

// cuttingProxy passes connections on until cut is called, which breaks them.
func cuttingProxy(t *testing.T, to string) (address string, cut func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	var mu sync.Mutex
	conns := []io.Closer{listener}
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	}
	t.Cleanup(func() { cut(); group.Wait() })
	group.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			host, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				return
			}
			mu.Lock()
			conns = append(conns, from, host)
			mu.Unlock()
			group.Go(func() { io.Copy(host, from) })
			group.Go(func() { io.Copy(from, host) })
		}
	})
	return listener.Addr().String(), cut
}
