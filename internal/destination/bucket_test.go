package destination

import (
	"context"
	"crypto/md5"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// s3Server is an S3 server in memory that does not check signatures, with one bucket; before says whether a request is to go on to it.
func s3Server(t *testing.T, before func(w http.ResponseWriter, r *http.Request) bool) (*s3mem.Backend, S3) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	at := server(t, func(w http.ResponseWriter, r *http.Request) {
		if before == nil || before(w, r) {
			h.ServeHTTP(w, r)
		}
	})
	return backend, S3{Endpoint: at, AccessKey: "key", SecretKey: "secret", PathStyle: true}
}

func TestBucket(t *testing.T) {
	t.Parallel()
	var token atomic.Value
	backend, s := s3Server(t, func(_ http.ResponseWriter, r *http.Request) bool {
		token.Store(r.Header.Get("X-Amz-Security-Token"))
		return true
	})
	s.SessionToken = "session"
	d := open(t, Options{S3: s})
	doc := testDocument()
	for uri, key := range map[string]string{"s3://bucket": testKey, "s3://bucket/a/b": "a/b/" + testKey, "s3://bucket/year=2026/(x)!*'/": "year=2026/(x)!*'/" + testKey} {
		if err := d.Check(t.Context(), uri); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second takes the place of the first
			if err := d.Deliver(t.Context(), uri, doc); err != nil {
				t.Fatal(err)
			}
		}
		object, err := backend.GetObject("bucket", key, nil)
		if err != nil {
			t.Fatal(key, err)
		}
		body, err := io.ReadAll(object.Contents)
		if err != nil || string(body) != string(doc.Whole) || object.Metadata["Content-Type"] != "application/json" {
			t.Errorf("%q, %v, %v", body, object.Metadata, err)
		}
		if sum := md5.Sum(doc.Whole); string(object.Hash) != string(sum[:]) {
			t.Errorf("hash %x", object.Hash)
		}
	}
	if token.Load() != "session" {
		t.Errorf("session token %v", token.Load())
	}
	wantRefused(t, d, "s3://other", `onFailure is "s3://other": there is no bucket "other"`)
	wantFailure(t, d.Deliver(t.Context(), "s3://other", doc), true, "NoSuchBucket")
	wantRefused(t, open(t, Options{}), "s3://bucket", "this host has no credentials for S3")
	wantFailure(t, open(t, Options{}).Deliver(t.Context(), "s3://bucket", doc), true, "this host has no credentials for S3")
}

// A body that is at its end when Put begins is stored from its start.
func TestBucketReadsFromTheStart(t *testing.T) {
	t.Parallel()
	backend, s := s3Server(t, nil)
	store, err := newStore(s)
	if err != nil {
		t.Fatal(err)
	}
	defer store.close()
	body := strings.NewReader("all of it")
	_, _ = body.Seek(0, io.SeekEnd)
	if err := (Bucket{store, "bucket", ""}).Put(t.Context(), "k", "text/plain", body); err != nil {
		t.Fatal(err)
	}
	if object, err := backend.HeadObject("bucket", "k"); err != nil || object.Size != 9 || object.Metadata["Content-Type"] != "text/plain" {
		t.Errorf("%+v, %v", object, err)
	}
}

// With AWS the bucket is part of the host's name, and with a server of one's own where that is asked for.
func TestBucketStyle(t *testing.T) {
	t.Parallel()
	for want, s := range map[string]S3{
		"https://bucket.s3.eu-central-1.amazonaws.com/k": {Region: "eu-central-1"},
		"https://bucket.s3.us-east-1.amazonaws.com/k":    {},
		"https://s3.us-east-1.amazonaws.com/bucket/k":    {PathStyle: true},
		"http://bucket.storage.internal:9000/k":          {Endpoint: "http://storage.internal:9000"},
		"http://storage.internal:9000/bucket/k":          {Endpoint: "http://storage.internal:9000", PathStyle: true},
	} {
		s.AccessKey, s.SecretKey = "key", "secret"
		store, err := newStore(s)
		if err != nil {
			t.Fatal(err)
		}
		asked := ""
		store.client = s3.New(store.client.Options(), func(o *s3.Options) {
			o.HTTPClient = &http.Client{Transport: round(func(r *http.Request) { asked = r.URL.Scheme + "://" + r.URL.Host + r.URL.Path })}
		})
		err = (Bucket{store, "bucket", ""}).Put(t.Context(), "k", "text/plain", strings.NewReader("x"))
		if asked != want {
			t.Errorf("asked %s, want %s: %v", asked, want, err)
		}
	}
}

// round answers nothing.
type round func(r *http.Request)

func (f round) RoundTrip(r *http.Request) (*http.Response, error) {
	f(r)
	return nil, errors.New("not sent")
}

// What a server's refusals mean, when there is something to store and when a mapping is made.
func TestBucketRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status       int
		code         string
		lasts        bool
		check, tells string // what Check and Deliver say
	}{
		{403, "SignatureDoesNotMatch", true, "the host's credentials need s3:ListBucket and s3:PutObject", "SignatureDoesNotMatch"},
		{403, "AccessDenied", true, "the host's credentials need s3:ListBucket and s3:PutObject", "AccessDenied"},
		{301, "PermanentRedirect", true, "its region is eu-north-1, and the host asks in us-east-1", "PermanentRedirect"},
		{400, "RequestTimeout", false, "status 400", "RequestTimeout"},
		{503, "SlowDown", false, "503", "SlowDown"},
		{429, "TooManyRequests", false, "429", "TooManyRequests"},
		{500, "InternalError", false, "500", "InternalError"},
		{507, "InsufficientStorage", false, "507", "InsufficientStorage"},
		{409, "OperationAborted", false, "409", "OperationAborted"},
		{405, "MethodNotAllowed", true, "405", "MethodNotAllowed"},
	} {
		_, s := s3Server(t, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("X-Amz-Bucket-Region", "eu-north-1")
			w.WriteHeader(c.status)
			if r.Method != http.MethodHead {
				_, _ = io.WriteString(w, "<Error><Code>"+c.code+"</Code><Message>so</Message></Error>")
			}
			return false
		})
		d := open(t, Options{S3: s})
		wantRefused(t, d, "s3://bucket", c.check)
		wantFailure(t, d.Deliver(t.Context(), "s3://bucket", testDocument()), c.lasts, c.tells)
	}
}

// One try is one request; what fails on the way may work the next time, and then does.
func TestBucketFaults(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	var fault atomic.Value
	backend, s := s3Server(t, func(w http.ResponseWriter, r *http.Request) bool {
		asked.Add(1)
		switch fault.Load() {
		case "busy":
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusServiceUnavailable)
		case "cut":
			_, _ = io.CopyN(io.Discard, r.Body, 100_000)
			panic(http.ErrAbortHandler)
		case "slow":
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		default:
			return true
		}
		return false
	})
	d := open(t, Options{S3: s})
	doc := testDocument()
	doc.Whole = make([]byte, 4<<20)
	for f, says := range map[string]string{"busy": "503", "cut": ""} {
		asked.Store(0)
		fault.Store(f)
		wantFailure(t, d.Deliver(t.Context(), "s3://bucket", doc), false, says)
		if n := asked.Load(); n != 1 {
			t.Errorf("%s: %d requests", f, n)
		}
	}
	fault.Store("slow")
	slow := open(t, Options{S3: s, Timeout: 50 * time.Millisecond})
	if err := slow.Deliver(t.Context(), "s3://bucket", doc); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrMisconfigured) {
		t.Errorf("a server that does not answer: %v", err)
	}
	if _, err := backend.HeadObject("bucket", testKey); err == nil {
		t.Error("there is an object")
	}
	fault.Store("")
	if err := d.Deliver(t.Context(), "s3://bucket", doc); err != nil {
		t.Error(err)
	}
	if object, err := backend.HeadObject("bucket", testKey); err != nil || object.Size != 4<<20 {
		t.Errorf("%+v, %v", object, err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	s.Endpoint = gone.URL
	d = open(t, Options{S3: s})
	wantRefused(t, d, "s3://bucket", `onFailure is "s3://bucket": dial tcp`)
	wantFailure(t, d.Deliver(t.Context(), "s3://bucket", doc), false, "deliver to s3://bucket/: dial tcp 127.0.0.1:")
}
