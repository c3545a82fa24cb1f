package agent

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// endpoint answers as an AWS service does.
type endpoint struct {
	*httptest.Server
	request chan *http.Request
	body    chan string
}

func newEndpoint(t *testing.T, status int, answer string) *endpoint {
	t.Helper()
	e := &endpoint{request: make(chan *http.Request, 10), body: make(chan string, 10)}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.request <- r
		e.body <- string(body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(e.Close)
	return e
}

// serviceAt is the service of one kind with the settings of a configuration.
func serviceAt(t *testing.T, o Options, delivery bool) *service {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	o.HTTP = &http.Client{Transport: transport}
	if o.LookupEnv == nil {
		o.LookupEnv = func(string) (string, bool) { return "", false }
	}
	s, err := newService(&o, delivery)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPutRecords(t *testing.T) {
	e := newEndpoint(t, 200, `{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"shardId-000000000000"},{"ErrorCode":"InternalFailure","ErrorMessage":"sorry"}]}`)
	s := serviceAt(t, Options{Endpoint: e.URL}, false)
	f := &Flow{Stream: "s"}
	results, err := s.put(t.Context(), f, []entry{{[]byte("a\n"), "1.5"}, {[]byte{0xff}, "2"}})
	if err != nil || len(results) != 2 || results[0].ErrorCode != "" || results[1] != (result{"InternalFailure", "sorry"}) {
		t.Errorf("%+v, %v", results, err)
	}
	r := <-e.request
	if want := `{"StreamName":"s","Records":[{"Data":"YQo=","PartitionKey":"1.5"},{"Data":"/w==","PartitionKey":"2"}]}`; <-e.body != want {
		t.Errorf("the body is not %s", want)
	}
	if r.Method != "POST" || r.URL.Path != "/" || r.Header.Get("X-Amz-Target") != "Kinesis_20131202.PutRecords" ||
		r.Header.Get("Content-Type") != "application/x-amz-json-1.1" || r.Header.Get("Authorization") != "" || r.UserAgent() != "shardmill-agent" {
		t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
	}
}

func TestPutRecordBatch(t *testing.T) {
	e := newEndpoint(t, 200, `{"FailedPutCount":0,"Encrypted":false,"RequestResponses":[{"RecordId":"x"}]}`)
	s := serviceAt(t, Options{Config: Config{FirehoseEndpoint: e.URL, UserAgent: "ours"}, Endpoint: "http://127.0.0.1:1"}, true)
	results, err := s.put(t.Context(), &Flow{Stream: "d", Firehose: true}, []entry{{data: []byte("a\n")}})
	if err != nil || len(results) != 1 || results[0].ErrorCode != "" {
		t.Errorf("%+v, %v", results, err)
	}
	r := <-e.request
	if body := <-e.body; body != `{"DeliveryStreamName":"d","Records":[{"Data":"YQo="}]}` || r.Header.Get("X-Amz-Target") != "Firehose_20150804.PutRecordBatch" || r.UserAgent() != "ours" {
		t.Errorf("%s with %v", body, r.Header)
	}
}

// Requests are signed when there is a key, for the region of the configuration, the endpoint or the environment.
func TestSigned(t *testing.T) {
	env := map[string]string{"AWS_ACCESS_KEY_ID": "ENV", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "token", "AWS_REGION": "eu-west-1"}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, c := range []struct {
		o     Options
		want  string
		token string
	}{
		{Options{Config: Config{AccessKey: "AKID", SecretKey: "s", Region: "eu-central-1"}}, "Credential=AKID/DATE/eu-central-1/kinesis/aws4_request", ""},
		{Options{LookupEnv: lookup}, "Credential=ENV/DATE/eu-west-1/kinesis/aws4_request", "token"},
		{Options{Config: Config{AccessKey: "AKID", SecretKey: "s"}}, "Credential=AKID/DATE/us-east-1/kinesis/aws4_request", ""},
	} {
		e := newEndpoint(t, 200, `{"Records":[{}]}`)
		c.o.Endpoint = e.URL
		if _, err := serviceAt(t, c.o, false).put(t.Context(), &Flow{Stream: "s"}, []entry{{[]byte("a"), "k"}}); err != nil {
			t.Fatal(err)
		}
		r := <-e.request
		date := r.Header.Get("X-Amz-Date")
		want := strings.Replace(c.want, "DATE", date[:min(8, len(date))], 1)
		if got := r.Header.Get("Authorization"); !strings.Contains(got, want) || !strings.Contains(got, "x-amz-target") || r.Header.Get("X-Amz-Security-Token") != c.token {
			t.Errorf("signature %s, want %s", got, want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		config, endpoint string
		override         bool
		want, region     string
	}{
		{"", "http://127.0.0.1:4780", false, "http://127.0.0.1:4780/", "us-east-1"},
		{"kinesis.eu-central-1.amazonaws.com", "http://127.0.0.1:4780", false, "https://kinesis.eu-central-1.amazonaws.com/", "eu-central-1"},
		{"https://x/", "http://127.0.0.1:4780", true, "http://127.0.0.1:4780/", "us-east-1"},
		{"ftp://x/", "", false, "", ""},
		{"http://", "", false, "", ""},
	} {
		o := Options{Config: Config{KinesisEndpoint: c.config}, Endpoint: c.endpoint, Override: c.override, LookupEnv: os.LookupEnv}
		o.LookupEnv = func(string) (string, bool) { return "", false }
		s, err := newService(&o, false)
		if (err == nil) != (c.want != "") || err == nil && (s.url != c.want || s.region != c.region) {
			t.Errorf("%+v: %+v, %v", c, s, err)
		}
	}
}

// Whatever is not one result for each record counts as nothing known.
func TestAnswersThatAreNone(t *testing.T) {
	for _, c := range []struct {
		status       int
		answer, want string
	}{
		{400, `{"__type":"com.amazonaws.kinesis#ResourceNotFoundException","message":"Stream s not found"}`, "400 ResourceNotFoundException: Stream s not found"},
		{400, `{"__type":"ValidationException","Message":"no"}`, "400 ValidationException: no"},
		{503, `<html>`, "503 Service Unavailable:"},
		{200, `{}`, "0 records, 1 were sent"},
		{200, `{"Records":[{},{}]}`, "2 records, 1 were sent"},
		{200, `no`, "cannot be read"},
	} {
		e := newEndpoint(t, c.status, c.answer)
		results, err := serviceAt(t, Options{Endpoint: e.URL}, false).put(t.Context(), &Flow{Stream: "s"}, []entry{{[]byte("a"), "k"}})
		if err == nil || !strings.Contains(err.Error(), c.want) || results != nil {
			t.Errorf("%d %s: %v, %v", c.status, c.answer, results, err)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"FailedRecordCount":1,"Records":[{"SequenceNumber":"1","ShardId":"x"},{"ErrorCode":"InternalFailure"}]}`), 2)
	f.Add([]byte(`{"RequestResponses":[{"RecordId":"x"}]}`), 1)
	f.Fuzz(func(t *testing.T, body []byte, n int) {
		if results, err := parseAnswer(body, n); err == nil && len(results) != n {
			t.Fatalf("%d results for %d records", len(results), n)
		}
		if err := parseRefusal(400, body); err.Error() == "" {
			t.Fatal("a refusal without words")
		}
	})
}

func TestBackoff(t *testing.T) {
	f := &Flow{RetryFirst: 100 * time.Millisecond, RetryMost: time.Second}
	for failures, want := range map[int]time.Duration{1: 100 * time.Millisecond, 2: 200 * time.Millisecond, 4: 800 * time.Millisecond, 5: time.Second, 500: time.Second} {
		if got := backoff(f, failures, 0); got != want {
			t.Errorf("after %d failures %v, want %v", failures, got, want)
		}
	}
	if got := backoff(f, 1, 0.999); got < 50*time.Millisecond || got > 51*time.Millisecond {
		t.Errorf("the shortest wait is %v", got)
	}
}

// A whole agent against an endpoint: what it reads arrives, and a second one is kept off its positions.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.log"), []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := newEndpoint(t, 200, `{"FailedRecordCount":0,"Records":[{},{}]}`)
	config, err := json.Marshal(map[string]any{
		"checkpointFile": filepath.Join(dir, "positions"), "cloudwatch.emitMetrics": false, "kinesis.endpoint": e.URL,
		"flows": []any{map[string]any{"filePattern": filepath.Join(dir, "*.log"), "kinesisStream": "s", "initialPosition": "START_OF_FILE", "maxBufferSizeRecords": 2}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var o Options
	if o.Config, err = Parse(config); err != nil {
		t.Fatal(err)
	}
	o.Endpoint = "http://127.0.0.1:1"
	a, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if body := <-e.body; !strings.Contains(body, `"Data":"YQo="`) || !strings.Contains(body, `"Data":"Ygo="`) {
		t.Errorf("body %s", body)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("a second agent: %v", err)
	}
	if err := a.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(o.Config.CheckpointFile)
	if err != nil || !strings.Contains(string(data), `"offset":4`) {
		t.Errorf("positions %s, %v", data, err)
	}
	o.Config.KinesisEndpoint = "ftp://x"
	if _, err := Open(o); err == nil {
		t.Error("an endpoint that is none is accepted")
	}
}
