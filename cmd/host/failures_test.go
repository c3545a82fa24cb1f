package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/internal/destination"
	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/triggers"
)

// inbox is a place where documents arrive.
type inbox struct {
	mu   sync.Mutex
	docs map[string][]byte // by key or ID
	more chan struct{}     // has a token when docs has grown
}

func newInbox() *inbox { return &inbox{docs: map[string][]byte{}, more: make(chan struct{}, 1)} }

func (in *inbox) add(key string, doc []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.docs[key] = doc
	select {
	case in.more <- struct{}{}:
	default:
	}
}

// await returns the first document.
func (in *inbox) await(t *testing.T) (key string, doc []byte) {
	t.Helper()
	select {
	case <-in.more:
	case <-time.After(time.Minute):
		t.Fatal("no document came")
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for key, doc = range in.docs {
	}
	return key, doc
}

// onFailure is what Lambda's documentation shows.
type onFailure struct {
	RequestContext struct {
		RequestID, FunctionArn, Condition string
		ApproximateInvokeCount            int
	}
	ResponseContext *struct {
		StatusCode                     int
		ExecutedVersion, FunctionError string
	}
	Version          string
	Timestamp        time.Time
	KinesisBatchInfo struct {
		ShardID, StreamArn string
		BatchSize          int
	}
	Payload *string
}

var (
	documentKey  = regexp.MustCompile(`^aws/lambda/[0-9a-f-]{36}/shardId-000000000000/\d{4}/\d\d/\d\d/\d{4}-\d\d-\d\dT\d\d\.\d\d\.\d\d-[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	documentUUID = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
)

// checkDocument looks at a document of the one record that is put.
func checkDocument(t *testing.T, doc []byte) {
	t.Helper()
	var got onFailure
	if err := json.Unmarshal(doc, &got); err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	r, k := got.RequestContext, got.KinesisBatchInfo
	if bytes.Contains(doc, []byte(`"failure":`)) {
		t.Errorf("it is not Lambda's: %s", doc)
	}
	if r.Condition != "RetryAttemptsExhausted" || r.ApproximateInvokeCount != 2 || r.FunctionArn != "arn:aws:lambda:us-east-1:000000000000:function:fails" ||
		r.RequestID == "" || got.Version != "1.0" || time.Since(got.Timestamp) > time.Hour {
		t.Errorf("%s", doc)
	}
	if got.ResponseContext == nil || *got.ResponseContext != (struct {
		StatusCode                     int
		ExecutedVersion, FunctionError string
	}{200, "$LATEST", "Unhandled"}) {
		t.Errorf("%+v", got.ResponseContext)
	}
	if k.ShardID != "shardId-000000000000" || k.BatchSize != 1 || k.StreamArn != "arn:aws:kinesis:us-east-1:000000000000:stream/in" {
		t.Errorf("%s", doc)
	}
	var event struct {
		Records []struct {
			Kinesis struct {
				Data         []byte
				PartitionKey string
			}
		}
	}
	if got.Payload == nil {
		t.Fatalf("no payload: %s", doc)
	}
	if err := json.Unmarshal([]byte(*got.Payload), &event); err != nil || len(event.Records) != 1 ||
		string(event.Records[0].Kinesis.Data) != "poison" || event.Records[0].Kinesis.PartitionKey != "k" {
		t.Errorf("%v: %s", err, *got.Payload)
	}
}

// failing makes a stream and a function that fails with whatever it is given, and puts one record.
func failing(t *testing.T, h *host) {
	t.Helper()
	client := clientOf(t, h)
	for _, name := range []string{"in", "failed"} {
		if _, _, err := client.CreateStream(t.Context(), name, api.StreamConfig{Shards: 1}); err != nil {
			t.Fatal(err)
		}
	}
	// It emits to the stream of its name, which it may not.
	if _, _, err := client.Deploy(t.Context(), "fails", bytes.NewReader(echoModule), api.FunctionConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "in", []api.PutRecord{{PartitionKey: "k", Data: []byte("poison")}}); err != nil {
		t.Fatal(err)
	}
}

// mapFailing ties the function to the stream.
func mapFailing(t *testing.T, h *host, name, uri string) error {
	t.Helper()
	_, _, err := h.mappings.Put(t.Context(), triggers.Mapping{Name: name, Stream: "in", Function: "fails", MaxAttempts: 2, OnFailure: uri})
	return err
}

// settled waits until a mapping has passed the record.
func settled(t *testing.T, h *host, mapping string) {
	t.Helper()
	awaitShard(t, h, mapping, func(s triggers.ShardStatus) bool { return s.Checkpoint != 0 })
}

// awaitShard waits until the only shard of a mapping is as it should be.
func awaitShard(t *testing.T, h *host, mapping string, is func(triggers.ShardStatus) bool) triggers.ShardStatus {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		s, err := h.mappings.Get(mapping)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%+v, %v", s, err)
		}
		if len(s.Shards) == 1 && is(s.Shards[0]) {
			tick.Stop()
			return s.Shards[0]
		}
	}
}

// A record that its function fails with is found, as Lambda's document, at each kind of destination, once the mapping goes on.
func TestFailuresAreStored(t *testing.T) {
	places := map[string]func(t *testing.T, config *failureConfig) (uri string, found func(h *host) (key string, doc []byte)){
		"stream": streamPlace, "file": filePlace, "http": httpPlace, "s3": s3Place,
	}
	config := hostConfig{dataDir: t.TempDir(), retryBase: time.Millisecond, retryMax: time.Millisecond}
	uris, found := map[string]string{}, map[string]func(h *host) (string, []byte){}
	for scheme, place := range places {
		uris[scheme], found[scheme] = place(t, &config.failures)
	}
	h := bootHost(t, config)
	t.Cleanup(func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	})
	failing(t, h)
	for scheme, uri := range uris {
		if err := mapFailing(t, h, scheme, uri); err != nil {
			t.Fatal(err)
		}
	}
	for scheme := range places {
		settled(t, h, scheme)
		key, doc := found[scheme](h)
		checkDocument(t, doc)
		switch {
		case scheme == "stream" && key != "shardId-000000000000", scheme == "http" && !documentUUID.MatchString(key),
			(scheme == "s3" || scheme == "file") && !documentKey.MatchString(key):
			t.Errorf("%s: the document came as %s", scheme, key)
		}
	}
}

func streamPlace(t *testing.T, _ *failureConfig) (string, func(h *host) (string, []byte)) {
	return "stream:failed", func(h *host) (key string, doc []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for r, err := range clientOf(t, h).Records(ctx, "failed", api.ReadOptions{Follow: true, Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			key, doc = r.PartitionKey, r.Bytes()
		}
		return key, doc
	}
}

func filePlace(t *testing.T, config *failureConfig) (string, func(h *host) (string, []byte)) {
	dir := t.TempDir()
	config.folders = []string{dir}
	return "file://" + dir + "/orders", func(*host) (key string, doc []byte) {
		err := filepath.WalkDir(filepath.Join(dir, "orders"), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			key, _ = filepath.Rel(filepath.Join(dir, "orders"), name)
			doc, err = os.ReadFile(name)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return key, doc
	}
}

// httpPlace is a server that is busy at first: the mapping waits for it.
func httpPlace(t *testing.T, config *failureConfig) (string, func(h *host) (string, []byte)) {
	in := newInbox()
	var asked atomic.Int32
	var ids [2]string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		doc, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		n := asked.Add(1)
		if n <= 2 {
			ids[n-1] = r.Header.Get("Idempotency-Key")
		}
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		in.add(r.Header.Get("Idempotency-Key"), doc)
	}))
	t.Cleanup(s.Close)
	config.hosts = []string{strings.TrimPrefix(s.URL, "http://")}
	return s.URL + "/hook", func(*host) (string, []byte) {
		key, doc := in.await(t)
		if n := asked.Load(); n != 2 || ids[0] != key || ids[1] != key {
			t.Errorf("%d requests, of %q", n, ids)
		}
		return key, doc
	}
}

func s3Place(t *testing.T, config *failureConfig) (string, func(h *host) (string, []byte)) {
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(s.Close)
	config.s3 = destination.S3{Endpoint: s.URL, AccessKey: "key", SecretKey: "secret", PathStyle: true}
	return "s3://bucket/orders", func(*host) (string, []byte) {
		list, err := backend.ListBucket("bucket", nil, gofakes3.ListBucketPage{})
		if err != nil || len(list.Contents) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		object, err := backend.GetObject("bucket", list.Contents[0].Key, nil)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := io.ReadAll(object.Contents)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(list.Contents[0].Key, "orders/"), doc
	}
}

// A mapping whose destination is gone waits for it, also across a restart of the host, and says what it waits for.
func TestFailuresWait(t *testing.T) {
	config := hostConfig{dataDir: t.TempDir(), retryBase: time.Millisecond, retryMax: time.Millisecond}
	h := bootHost(t, config)
	failing(t, h)
	client := clientOf(t, h)
	if err := mapFailing(t, h, "m", "stream:failed"); err != nil {
		t.Fatal(err)
	}
	settled(t, h, "m")
	if err := client.DeleteStream(t.Context(), "failed"); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), "in", []api.PutRecord{{PartitionKey: "k", Data: []byte("poison")}}); err != nil {
		t.Fatal(err)
	}
	waiting := func(s triggers.ShardStatus) bool {
		return strings.Contains(s.LastError, "stream:failed, which needs to be mended")
	}
	before := awaitShard(t, h, "m", waiting)
	if err := h.close(); err != nil {
		t.Fatal(err)
	}
	h = bootHost(t, config)
	defer func() {
		if err := h.close(); err != nil {
			t.Error(err)
		}
	}()
	if s := awaitShard(t, h, "m", waiting); s.Checkpoint != before.Checkpoint {
		t.Errorf("the checkpoint went from %d to %d", before.Checkpoint, s.Checkpoint)
	}
	client = clientOf(t, h)
	if _, _, err := client.CreateStream(t.Context(), "failed", api.StreamConfig{Shards: 1}); err != nil {
		t.Fatal(err)
	}
	awaitShard(t, h, "m", func(s triggers.ShardStatus) bool { return s.Checkpoint > before.Checkpoint })
	_, found := streamPlace(t, nil)
	_, doc := found(h)
	checkDocument(t, doc)
}

// A mapping that is made natively tells how its function failed with the one record that it fails with.
func TestFailuresAreTraced(t *testing.T) {
	t.Parallel()
	h := testHost(t, func(c *hostConfig) { c.retryBase, c.retryMax = time.Millisecond, time.Millisecond })
	failing(t, h)
	play(t, h, nil, []step{
		{line: "mapping create m --stream in --function fails --isolate --max-attempts 2 --on-failure stream:failed --disabled", stdout: `store in stream:failed\n`},
		{line: "mapping update m --failure-trace=false", stdout: `store in stream:failed, without trace\n`},
		{line: "mapping update m --failure-trace", stdout: `store in stream:failed\n`},
		{line: "mapping resume m", stdout: `store in stream:failed\n`},
	})
	settled(t, h, "m")
	_, found := streamPlace(t, nil)
	_, doc := found(h)
	var got struct {
		RequestContext struct{ Condition string }
		Failure        *struct {
			Kind, Message string
			Version       int
		}
		Payload string
	}
	if err := json.Unmarshal(doc, &got); err != nil || got.Failure == nil || got.RequestContext.Condition != "RetryAttemptsExhausted" || got.Payload == "" {
		t.Fatalf("%v: %s", err, doc)
	}
	if f := got.Failure; f.Kind != "denied" || f.Version != 1 || !strings.HasPrefix(f.Message, `it emitted to stream "fails", which`) {
		t.Errorf("%+v", f)
	}
}

// What cannot work is refused before there is a mapping, and what can is found to.
func TestFailuresAreRefused(t *testing.T) {
	h := testHost(t)
	failing(t, h)
	play(t, h, nil, []step{
		{line: "mapping create m --stream in --function fails --on-failure file:///tmp", status: exitFailure, stderr: `^shardmill: onFailure is "file:///tmp": this host allows no folders \(--failure-dir\)`},
		{line: "mapping create m --stream in --function fails --on-failure s3://B", status: exitFailure, stderr: `^shardmill: onFailure is "s3://B"; it must be s3:// and a bucket's name`},
		{line: "mapping create v --stream in --function fails --on-failure stream:failed", stdout: `stream:failed`},
		{line: "mapping delete v", stdout: `v`},
	})
	for uri, says := range map[string]string{
		"stream:in":               "another stream than the one the mapping reads",
		"stream:none":             "the name of a stream that exists",
		"s3://bucket":             "no credentials for S3 (AWS_ACCESS_KEY_ID)",
		"file:///tmp":             "allows no folders (--failure-dir)",
		"http://127.0.0.1:1/":     "not listed by the operator (--failure-host)",
		"http://169.254.169.254/": "nothing is sent to",
		"mailto:me":               "it must be stream:NAME",
	} {
		if err := mapFailing(t, h, "m", uri); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", uri, err)
		}
	}
	if list := h.mappings.List(); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// A host that starts removes what one that was killed left beside the failures of its mappings.
func TestFailuresAreSweptAtStart(t *testing.T) {
	dir := t.TempDir()
	config := hostConfig{dataDir: t.TempDir(), failures: failureConfig{folders: []string{dir}}}
	h := bootHost(t, config)
	failing(t, h)
	err := mapFailing(t, h, "m", "file://"+dir+"/orders")
	settled(t, h, "m")
	if err := errors.Join(err, h.close()); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "orders", ".2026-11-22T00.04.05-6fa459ea-ee8a-3ca4-894e-db77e160355e.partial")
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(left, nil, 0o600), os.Chtimes(left, old, old)); err != nil {
		t.Fatal(err)
	}
	h = bootHost(t, config)
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if _, err := os.Stat(left); errors.Is(err, fs.ErrNotExist) {
			tick.Stop()
			break
		} else if err != nil || time.Now().After(deadline) {
			t.Fatalf("it is still there: %v", err)
		}
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
}

func TestFailureSettings(t *testing.T) {
	t.Parallel()
	none := map[string]string{}
	for name, c := range map[string]struct {
		config failureConfig
		env    map[string]string
		want   destination.S3
	}{
		"nothing": {failureConfig{style: "auto"}, none, destination.S3{}},
		"AWS": {
			failureConfig{style: "auto"}, map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c", "AWS_DEFAULT_REGION": "eu-west-1"},
			destination.S3{AccessKey: "a", SecretKey: "b", SessionToken: "c", Region: "eu-west-1"},
		},
		"AWS's variables": {
			failureConfig{style: "auto"}, map[string]string{"AWS_ENDPOINT_URL": "http://all", "AWS_ENDPOINT_URL_S3": "http://s3", "AWS_REGION": "r", "AWS_DEFAULT_REGION": "d"},
			destination.S3{Endpoint: "http://s3", Region: "r", PathStyle: true},
		},
		"settings go before": {
			failureConfig{style: "virtual", s3: destination.S3{Endpoint: "http://mine", Region: "m"}}, map[string]string{"AWS_ENDPOINT_URL_S3": "http://s3", "AWS_REGION": "r"},
			destination.S3{Endpoint: "http://mine", Region: "m"},
		},
		"path": {failureConfig{style: "path"}, none, destination.S3{PathStyle: true}},
	} {
		lookup := func(name string) (string, bool) { v, ok := c.env[name]; return v, ok }
		if err := c.config.check(sources{}, lookup); err != nil || c.config.s3 != c.want {
			t.Errorf("%s: %+v, %v", name, c.config.s3, err)
		}
	}
}

// The same failure has the same ID however often it is asked for; every part of it makes another one.
func TestDocumentID(t *testing.T) {
	t.Parallel()
	seen := []string{}
	var f triggers.Failure
	for _, change := range []func(){
		func() {}, func() { f.MappingID = "m" }, func() { f.Source.Stream = "s" }, func() { f.Source.Shard = 1 }, func() { f.Source.First = 1 },
		func() { f.Source.Last = 2 }, func() { f.Count = 3 }, func() { f.Reason = triggers.AgeExceeded }, func() { f.Time = time.Unix(1, 1) }, func() { f.Err = "e" },
	} {
		change()
		id := documentID(&f)
		if id != documentID(&f) || !documentUUID.MatchString(id) || slices.Contains(seen, id) {
			t.Errorf("%s after %q", id, seen)
		}
		seen = append(seen, id)
	}
}

// In a window the payload is the event that the function had, its state among it, so that a state that is given up is not lost.
func TestDocumentOfWindow(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 21, 19, 4, 0, 0, time.UTC)
	for state, want := range map[string]string{
		"": "{}", `{"n": "3"}`: `{"n": "3"}`, "\n{}": "\n{}", "{": `{"base64":"ew=="}`, "3": `{"base64":"Mw=="}`, "\xff": `{"base64":"/w=="}`,
	} {
		f := triggers.Failure{
			Reason: triggers.AttemptsExhausted, Function: "f", Time: at, State: []byte(state), Source: runtime.Source{Stream: "in"},
			Window: runtime.Window{Start: at, End: at.Add(time.Minute), EndedEarly: true},
		}
		var got onFailure
		if err := json.Unmarshal(failures{}.document(&f, "").Whole, &got); err != nil {
			t.Fatal(err)
		}
		event := `{"Records":[],"window":{"start":"2026-11-21T19:04:00Z","end":"2026-11-21T19:05:00Z"},"state":` + want +
			`,"shardId":"shardId-000000000000","eventSourceARN":"arn:aws:kinesis:us-east-1:000000000000:stream/in","isFinalInvokeForWindow":true,"isWindowTerminatedEarly":true}`
		if got.Payload == nil || *got.Payload != event {
			t.Errorf("state %q: payload %s,\nwant %s", state, *got.Payload, event)
		}
	}
}

// An age that is exceeded has no invocation to tell of.
func TestDocumentOfAge(t *testing.T) {
	t.Parallel()
	f := triggers.Failure{Reason: triggers.AgeExceeded, Function: "f", Qualifier: "7", Version: 7, Time: time.Unix(0, 0)}
	var got onFailure
	if err := json.Unmarshal(failures{region: "eu-west-1", account: "123456789012"}.document(&f, "").Brief, &got); err != nil {
		t.Fatal(err)
	}
	if got.ResponseContext != nil || got.Payload != nil || got.RequestContext.ApproximateInvokeCount != 1 ||
		got.RequestContext.FunctionArn != "arn:aws:lambda:eu-west-1:123456789012:function:f:7" {
		t.Errorf("%+v", got)
	}
}
