package main

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

func TestHostListeners(t *testing.T) {
	h := testHost(t)
	for path, want := range map[string]string{"/livez": "", "/readyz": "", "/metrics": "go_goroutines", "/debug/pprof/": "goroutine"} {
		r, err := http.Get("http://" + h.adminAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s answers %d: %.200s", path, r.StatusCode, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	// AWS clients for Node speak HTTP/2 with prior knowledge to http:// endpoints.
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols}
	defer transport.CloseIdleConnections()
	r, err := (&http.Client{Transport: transport}).Get("http://" + h.addr() + "/v1/version")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.ProtoMajor != 2 || r.StatusCode != http.StatusOK {
		t.Errorf("%s %s", r.Proto, r.Status)
	}
}

func TestHostIsReadyOnlyWhileItServes(t *testing.T) {
	h := bootHost(t, hostConfig{dataDir: t.TempDir()})
	if err := h.notReady(); err != nil {
		t.Errorf("started: %v", err)
	}
	if h.namedByMapping("f", 1) {
		t.Error("a version is named by no mapping")
	}
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	if err := h.notReady(); !errors.Is(err, errStopping) {
		t.Errorf("stopped: %v", err)
	}
	if !h.namedByMapping("f", 1) {
		t.Error("no version may go while it is not known which ones mappings name")
	}
}

func TestHostThatCannotStartLeavesNothing(t *testing.T) {
	other := testHost(t)
	dir := filepath.Join(t.TempDir(), "data")
	taken := func(door doorConfig) hostConfig {
		return hostConfig{dataDir: dir, listen: freePort, adminListen: freePort, doors: door}
	}
	for _, config := range []hostConfig{
		{dataDir: dir, listen: other.addr(), adminListen: freePort},
		{dataDir: dir, listen: freePort, adminListen: other.adminAddr()},
		taken(doorConfig{nats: other.addr()}),
		taken(doorConfig{mqtt: other.addr()}),
	} {
		config.logger = other.config.logger
		if _, err := startHost(t.Context(), config); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Fatalf("got %v", err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("the data directory was made: %v", err)
		}
	}
	h := bootHost(t, hostConfig{dataDir: dir})
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestEmitter(t *testing.T) {
	t.Parallel()
	h := testHost(t)
	var b record.Builder
	if err := b.Append(record.Record{Key: []byte("k"), Data: []byte("d")}); err != nil {
		t.Fatal(err)
	}
	em := runtime.Emission{Function: "f", Stream: "out", Records: b.Run()}
	err := emitter{h.streams}.Emit(t.Context(), em)
	if !errors.Is(err, shards.ErrNotFound) || !strings.Contains(err.Error(), `function f emits to stream "out", which does not exist: create it`) {
		t.Errorf("no stream: %v", err)
	}
	if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: "out"}); err != nil {
		t.Fatal(err)
	}
	if err := (emitter{h.streams}).Emit(t.Context(), em); err != nil {
		t.Fatal(err)
	}
	var long record.Builder
	if err := long.Append(record.Record{Key: []byte(strings.Repeat("k", 257)), Data: []byte("d")}); err != nil {
		t.Fatal(err)
	}
	err = emitter{h.streams}.Emit(t.Context(), runtime.Emission{Function: "f", Stream: "out", Records: long.Run()})
	if !errors.Is(err, runtime.ErrRefused) || !strings.Contains(err.Error(), "257 characters") {
		t.Errorf("a key of 257 characters: %v", err)
	}
	d, err := h.streams.Describe(t.Context(), "out")
	if err != nil {
		t.Fatal(err)
	}
	if s := d.Shards[0]; s.Next-s.Oldest != 1 {
		t.Errorf("the stream holds %d records", s.Next-s.Oldest)
	}
}

// TestForeignHostNamesAreRefused plays a web page whose own name points at this machine: it gets nowhere, on either listener.
func TestForeignHostNamesAreRefused(t *testing.T) {
	h := bootHost(t, hostConfig{dataDir: t.TempDir(), allowHosts: []string{"mill.example"}})
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Errorf("stop host: %v", err)
		}
	})
	for _, test := range []struct {
		url, host string
		want      int
	}{
		{h.url() + "/v1/streams", "evil.example", http.StatusMisdirectedRequest},
		{"http://" + h.adminAddr() + "/metrics", "evil.example", http.StatusMisdirectedRequest},
		{h.url() + "/v1/streams", "mill.example:80", http.StatusOK},
		{"http://" + h.adminAddr() + "/metrics", "localhost", http.StatusOK},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, test.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = test.host
		transport := new(http.Transport)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != test.want {
			t.Errorf("GET %s for %s is answered %d, want %d", test.url, test.host, resp.StatusCode, test.want)
		}
	}
}
