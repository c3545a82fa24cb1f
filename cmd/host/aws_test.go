package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/api/aws"
	"github.com/shardmill/shardmill/internal/field"
	"github.com/shardmill/shardmill/shards"
)

func TestBySurface(t *testing.T) {
	say := func(word string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Surface", word) })
	}
	surfaces := bySurface(say("native"), say("aws"))
	for _, tt := range []struct{ method, path, target, want string }{
		{"POST", "/", "Kinesis_20131202.ListStreams", "aws"},
		{"POST", "/anything", "Kinesis_20131202.ListStreams", "aws"},
		{"POST", "/", "", "aws"},
		{"OPTIONS", "/", "", "aws"},
		{"GET", "/2015-03-31/event-source-mappings/", "", "aws"},
		{"PUT", "/2017-10-31/functions/f/concurrency", "", "aws"},
		{"GET", "/2015-03-31", "", "native"},
		{"GET", "/", "", "native"},
		{"HEAD", "/", "", "native"},
		{"POST", "/v1/streams/s/records", "", "native"},
	} {
		r := httptest.NewRequest(tt.method, tt.path, nil)
		if tt.target != "" {
			r.Header.Set("X-Amz-Target", tt.target)
		}
		w := httptest.NewRecorder()
		surfaces.ServeHTTP(w, r)
		if got := w.Header().Get("Surface"); got != tt.want {
			t.Errorf("%s %s with the target %q goes to %s, want %s", tt.method, tt.path, tt.target, got, tt.want)
		}
	}
}

func TestAWSSettings(t *testing.T) {
	good := awsConfig{region: "eu-west-1", account: "123456789012", limits: "aws"}
	for _, tt := range []struct {
		change func(*awsConfig)
		names  string // what the error has to name; "" is no error
	}{
		{func(*awsConfig) {}, ""},
		{func(c *awsConfig) { c.region = "Europe" }, "--region"},
		{func(c *awsConfig) { c.region = "" }, "--region"},
		{func(c *awsConfig) { c.account = "12345678901" }, "--account"},
		{func(c *awsConfig) { c.limits = "some" }, "--shard-limits"},
	} {
		config := good
		tt.change(&config)
		err := config.check(sources{})
		if (err == nil) != (tt.names == "") || err != nil && !strings.Contains(err.Error(), tt.names) {
			t.Errorf("%+v: %v, want an error that names %q", config, err, tt.names)
		}
	}
}

// TestAWSOnTheListener calls both surfaces of one host.
func TestAWSOnTheListener(t *testing.T) {
	h := testHost(t)
	r, err := http.NewRequest(http.MethodPost, h.url(), strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "Kinesis_20131202.ListStreams")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("x-amzn-RequestId") == "" {
		t.Errorf("ListStreams is answered %d with %v", res.StatusCode, res.Header)
	}
	for _, path := range []string{"/v1/streams", "/2015-03-31/functions/", "/2015-03-31/event-source-mappings"} {
		if res, err = http.Get(h.url() + path); err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("GET %s is answered %d", path, res.StatusCode)
		}
	}
}

// TestOutcomes delivers documents of asynchronous invocations to a stream and a folder, and tells what lasts from what may pass.
func TestOutcomes(t *testing.T) {
	folder := t.TempDir()
	h := testHost(t, func(c *hostConfig) { c.failures.folders = []string{folder} })
	for name, size := range map[string]int{"large": 1 << 20, "small": 4 << 10} {
		if _, _, err := h.streams.Create(t.Context(), shards.Config{Name: name, Shards: 1, MaxRecordBytes: size}); err != nil {
			t.Fatal(err)
		}
	}
	to := outcomes{h.destinations}
	doc := aws.Document{ID: "i-1", Key: "aws/lambda/async/f/d-i-1", Whole: []byte(strings.Repeat("w", 5<<10)), Brief: []byte("brief")}
	for uri, want := range map[string]string{"stream:large": string(doc.Whole), "stream:small": "brief", "file://" + folder: string(doc.Whole)} {
		if err := errors.Join(to.Check(t.Context(), uri), to.Deliver(t.Context(), uri, doc)); err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutPrefix(uri, "stream:"); ok {
			st, err := h.streams.Stream(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := st.Reader(0, shards.Start{})
			if err != nil {
				t.Fatal(err)
			}
			run, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if rec := run.First(); string(rec.Key) != "i-1" || string(rec.Data) != want {
				t.Errorf("%s has %d bytes of %s", uri, len(rec.Data), rec.Key)
			}
		} else if got, err := os.ReadFile(filepath.Join(folder, doc.Key)); err != nil || string(got) != want {
			t.Errorf("%s has %d bytes, %v", uri, len(got), err)
		}
	}
	if err := to.Check(t.Context(), "stream:none"); !errors.Is(err, field.ErrInvalid) {
		t.Errorf("a stream that is not there: %v", err)
	}
	if err := to.Deliver(t.Context(), "stream:none", doc); !errors.Is(err, aws.ErrMisconfigured) {
		t.Errorf("delivered to a stream that is not there: %v", err)
	}
}
