package api

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-json-experiment/json"
)

// badInput is one request that has to be refused.
type badInput struct {
	name         string
	method, path string
	kind, body   string
	status       int
	problem      Kind
	field        string
	limit        string // is part of the problem's limit
}

// jsonBody is the body of a put of one record.
func jsonBody(member string) string { return `{"records":[{` + member + `}]}` }

var badInputs = []badInput{
	// The list.
	{"not wasm", "PUT", "/v1/functions/f", typeModule, "not wasm", 400, KindInvalidModule, "code", ""},
	{"wasm without the exports", "PUT", "/v1/functions/f", typeModule, "\x00asm\x01\x00\x00\x00", 400, KindInvalidModule, "code", "export"},
	{"wasm that imports what does not exist", "PUT", "/v1/functions/f", typeModule, importer, 400, KindInvalidModule, "code", "import"},
	{"a stream name with odd characters", "PUT", "/v1/streams/a%20b%2Fc", typeJSON, `{}`, 400, KindInvalidField, "name", "a-z"},
	{"an unknown stream", "POST", "/v1/streams/none/records", typeJSON, jsonBody(`"partitionKey":"k","text":""`), 404, KindStreamNotFound, "name", "exists"},
	{"an unknown stream's NDJSON", "POST", "/v1/streams/none/records", typeLines, "1\n", 404, KindStreamNotFound, "name", "exists"},
	{"an unknown stream of a mapping", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"none","function":"echo"}`, 400, KindInvalidField, "stream", "exists"},
	{"an unknown function of a mapping", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"none"}`, 400, KindInvalidField, "function", "exists"},
	{"an unknown function", "POST", "/v1/functions/none/invoke", "", "", 404, KindFunctionNotFound, "name", "exists"},
	{"an unknown mapping", "GET", "/v1/mappings/none", "", "", 404, KindMappingNotFound, "name", "exists"},
	{"an unknown shard", "GET", "/v1/streams/s/records?shard=shardId-000000000007", "", "", 404, KindShardNotFound, "shard", "shard"},
	{"malformed JSON", "PUT", "/v1/streams/t", typeJSON, `{"shards":`, 400, KindMalformedJSON, "shards", ""},
	{"a key of 257 characters", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"` + strings.Repeat("ä", 257) + `","text":""`), 400, KindInvalidField, "partitionKey", "256"},
	{"data over the limit", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"` + strings.Repeat("x", 1<<20+1) + `"`), 400, KindInvalidField, "data", "1048576"},
	{"an unknown field", "PUT", "/v1/streams/t", typeJSON, `{"shard":4}`, 400, KindUnknownField, "shard", ""},
	{"a negative batch size", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","batchSize":-1}`, 400, KindInvalidField, "batchSize", "10000"},

	// Streams.
	{"0 < shards", "PUT", "/v1/streams/t", typeJSON, `{"shards":-1}`, 400, KindInvalidField, "shards", "1000"},
	{"1001 shards", "PUT", "/v1/streams/t", typeJSON, `{"shards":1001}`, 400, KindInvalidField, "shards", "1000"},
	{"shards as text", "PUT", "/v1/streams/t", typeJSON, `{"shards":"4"}`, 400, KindInvalidField, "shards", "whole number"},
	{"half a shard", "PUT", "/v1/streams/t", typeJSON, `{"shards":1.5}`, 400, KindInvalidField, "shards", "whole number"},
	{"a retention without unit", "PUT", "/v1/streams/t", typeJSON, `{"retention":"24"}`, 400, KindInvalidField, "retention", "unit"},
	{"a retention as number", "PUT", "/v1/streams/t", typeJSON, `{"retention":24}`, 400, KindInvalidField, "retention", "unit"},
	{"a short retention", "PUT", "/v1/streams/t", typeJSON, `{"retention":"59m"}`, 400, KindInvalidField, "retention", "1h"},
	{"a long retention", "PUT", "/v1/streams/t", typeJSON, `{"retention":"366d"}`, 400, KindInvalidField, "retention", "365"},
	{"no shards", "PUT", "/v1/streams/t", typeJSON, `{"shards":0}`, 400, KindInvalidField, "shards", "1 to 1000"},
	{"shards of null", "PUT", "/v1/streams/t", typeJSON, `{"shards":null}`, 400, KindInvalidField, "shards", "1 to 1000"},
	{"no retention", "PUT", "/v1/streams/t", typeJSON, `{"retention":"0s"}`, 400, KindInvalidField, "retention", "1h to 365d"},
	{"records of no bytes", "PUT", "/v1/streams/t", typeJSON, `{"maxRecordBytes":0}`, 400, KindInvalidField, "maxRecordBytes", "1024 to 10485760 bytes"},
	{"a body of null", "PUT", "/v1/streams/t", typeJSON, ` null`, 400, KindInvalidField, "body", "object"},
	{"a body in Latin-1", "PUT", "/v1/streams/t", typeJSON + "; charset=latin1", `{}`, 415, KindMediaType, "Content-Type", "utf-8"},
	{"a large record limit", "PUT", "/v1/streams/t", typeJSON, `{"maxRecordBytes":"11MiB"}`, 400, KindInvalidField, "maxRecordBytes", "10485760"},
	{"an odd size", "PUT", "/v1/streams/t", typeJSON, `{"maxRecordBytes":"1.5MiB"}`, 400, KindInvalidField, "maxRecordBytes", "128MiB"},
	{"an array as body", "PUT", "/v1/streams/t", typeJSON, `[]`, 400, KindInvalidField, "body", "object"},
	{"a member twice", "PUT", "/v1/streams/t", typeJSON, `{"shards":1,"shards":2}`, 400, KindMalformedJSON, "shards", ""},
	{"an array that breaks off", "PUT", "/v1/streams/t", typeJSON, `[[`, 400, KindMalformedJSON, "[0]", ""},
	{"shards that break off", "PUT", "/v1/streams/t", typeJSON, `{"shards":["4",`, 400, KindMalformedJSON, "shards", ""},
	{"two bodies", "PUT", "/v1/streams/t", typeJSON, `{}{}`, 400, KindMalformedJSON, "", ""},
	{"a body of another type", "PUT", "/v1/streams/t", "text/plain", `{}`, 415, KindMediaType, "Content-Type", typeJSON},
	{"a body over 1 MiB", "PUT", "/v1/streams/t", typeJSON, `{"x":"` + strings.Repeat("x", 1<<20) + `"}`, 413, KindBodyTooLarge, "body", "1048576"},
	{"an unknown parameter", "PUT", "/v1/streams/t?shards=4", typeJSON, `{}`, 400, KindUnknownParameter, "shards", ""},
	{"another shape", "PUT", "/v1/streams/s", typeJSON, `{"shards":3}`, 409, KindConflict, "", ""},
	{"a retention of nothing", "PATCH", "/v1/streams/s", typeJSON, `{"retention":"0s"}`, 400, KindInvalidField, "retention", "1h"},
	{"records of nothing", "PATCH", "/v1/streams/s", typeJSON, `{"maxRecordBytes":0}`, 400, KindInvalidField, "maxRecordBytes", "1024"},
	{"a change of the shards", "PATCH", "/v1/streams/s", typeJSON, `{"shards":3}`, 400, KindUnknownField, "shards", ""},
	{"a change of no stream", "PATCH", "/v1/streams/none", typeJSON, `{"retention":"2h"}`, 404, KindStreamNotFound, "name", "exists"},

	// Records.
	{"no record", "POST", "/v1/streams/s/records", typeJSON, `{"records":[]}`, 400, KindInvalidField, "records", "10000"},
	{"no records", "POST", "/v1/streams/s/records", typeJSON, `{}`, 400, KindInvalidField, "records", "10000"},
	{"too many records", "POST", "/v1/streams/s/records", typeJSON, `{"records":[` + strings.Repeat(`{},`, 10_000) + `{}]}`, 400, KindInvalidField, "records", "10000"},
	{"an unknown field of a record", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"","key":1`), 400, KindUnknownField, "records[0].key", ""},
	{"no data", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k"`), 400, KindInvalidField, "data", "exactly one"},
	{"text and json", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"","json":1`), 400, KindInvalidField, "data", "exactly one"},
	{"data that is not base64", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","data":"!"`), 400, KindInvalidField, "data", "base64"},
	{"no key", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"text":""`), 400, KindInvalidField, "partitionKey", "1 to 256"},
	{"a hash key that is no number", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"","explicitHashKey":"x"`), 400, KindInvalidField, "explicitHashKey", "340282366920938463463374607431768211455"},
	{"a hash key of 2^128", "POST", "/v1/streams/s/records", typeJSON, jsonBody(`"partitionKey":"k","text":"","explicitHashKey":"340282366920938463463374607431768211456"`), 400, KindInvalidField, "explicitHashKey", "340282366920938463463374607431768211455"},
	{"records of another type", "POST", "/v1/streams/s/records", "text/csv", "a,b", 415, KindMediaType, "Content-Type", typeLines},
	{"records of no type", "POST", "/v1/streams/s/records", "", "1", 415, KindMediaType, "Content-Type", typeLines},
	{"a pointer that is none", "POST", "/v1/streams/s/records?key=origin", typeLines, "1\n", 400, KindInvalidField, "key", "slash"},
	{"a pointer with JSON", "POST", "/v1/streams/s/records?key=/a", typeJSON, jsonBody(`"partitionKey":"k","text":""`), 400, KindInvalidField, "key", typeLines},
	{"one line that is not JSON", "POST", "/v1/streams/s/records", typeLines, "{", 400, KindMalformedLine, "line", ""},
	{"one line without key", "POST", "/v1/streams/s/records?key=/a", typeLines, "{}", 400, KindMissingKey, "key", "pointer"},
	{"a batch that is none", "POST", "/v1/streams/s/records", typeBatch, "batch", 400, KindMalformedBatch, "body", "record batch"},

	// Reads.
	{"an odd shard", "GET", "/v1/streams/s/records?shard=x", "", "", 400, KindInvalidField, "shard", "shardId-"},
	{"an odd start", "GET", "/v1/streams/s/records?from=yesterday", "", "", 400, KindInvalidField, "from", "oldest"},
	{"a sequence number of no shard", "GET", "/v1/streams/s/records?from=17", "", "", 400, KindInvalidField, "from", "shard"},
	{"a sequence number beyond the shard", "GET", "/v1/streams/s/records?shard=0&from=99999999999999999", "", "", 400, KindInvalidField, "from", "shard"},
	{"a time to come", "GET", "/v1/streams/s/records?from=2999-01-01T00:00:00Z", "", "", 400, KindInvalidField, "from", "future"},
	{"a negative limit", "GET", "/v1/streams/s/records?limit=-1", "", "", 400, KindInvalidField, "limit", "0"},
	{"a limit as text", "GET", "/v1/streams/s/records?limit=all", "", "", 400, KindInvalidField, "limit", "whole number"},
	{"follow as text", "GET", "/v1/streams/s/records?follow=maybe", "", "", 400, KindInvalidField, "follow", "true"},
	{"a parameter twice", "GET", "/v1/streams/s/records?limit=1&limit=2", "", "", 400, KindInvalidField, "limit", "once"},
	{"a misspelt parameter", "GET", "/v1/streams/s/records?form=oldest", "", "", 400, KindUnknownParameter, "form", "from"},
	{"a malformed query", "GET", "/v1/streams/s/records?from=%zz", "", "", 400, KindUnknownParameter, "query", ""},

	// Functions and mappings.
	{"a long timeout", "PUT", "/v1/functions/f?timeout=16m", typeModule, "x", 400, KindInvalidField, "timeout", "15m"},
	{"a share as text", "PUT", "/v1/functions/echo/aliases/q", typeJSON, `{"version":1,"canary":2,"share":"x"}`, 400, KindInvalidField, "share", "a number"},
	{"no concurrency", "PUT", "/v1/functions/f?concurrency=0", typeModule, "x", 400, KindInvalidField, "concurrency", "1 to 1000"},
	{"a change of null", "PATCH", "/v1/streams/s", typeJSON, `null`, 400, KindInvalidField, "body", "an object"},
	{"a retention of null", "PATCH", "/v1/streams/s", typeJSON, `{"retention":null}`, 400, KindInvalidField, "retention", "unit"},
	{"an empty starting position", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","startingPosition":""}`, 400, KindInvalidField, "startingPosition", "oldest, newest or timestamp"},
	{"a starting time of null", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","startingTime":null}`, 400, KindInvalidField, "startingTime", "RFC 3339"},
	{"records of null", "POST", "/v1/streams/s/records", typeJSON, `null`, 400, KindInvalidField, "body", "an object"},
	{"lines of another charset", "POST", "/v1/streams/s/records", typeLines + "; charset=utf-16", "1\n", 415, KindMediaType, "Content-Type", "utf-8"},
	{"no timeout", "PUT", "/v1/functions/f?timeout=0s", typeModule, "x", 400, KindInvalidField, "timeout", "1ms to 15m"},
	{"no memory", "PUT", "/v1/functions/f?memory=0", typeModule, "x", 400, KindInvalidField, "memory", "1MiB"},
	{"a timeout without unit", "PUT", "/v1/functions/f?timeout=3", typeModule, "x", 400, KindInvalidField, "timeout", "unit"},
	{"little memory", "PUT", "/v1/functions/f?memory=1KiB", typeModule, "x", 400, KindInvalidField, "memory", "4096"},
	{"little idle memory", "PUT", "/v1/functions/f?idleMemory=1KiB", typeModule, "x", 400, KindInvalidField, "idleMemory", "1024GiB"},
	{"an odd memory", "PUT", "/v1/functions/f?memory=much", typeModule, "x", 400, KindInvalidField, "memory", "128MiB"},
	{"a negative concurrency", "PUT", "/v1/functions/f?concurrency=-1", typeModule, "x", 400, KindInvalidField, "concurrency", "1000"},
	{"an odd stream to emit to", "PUT", "/v1/functions/f?emit=a%20b", typeModule, "x", 400, KindInvalidField, "emit", "letters"},
	{"an odd function name", "PUT", "/v1/functions/a%20b", typeModule, "x", 400, KindInvalidField, "name", "letters"},
	{"an invocation of 6 MiB and more", "POST", "/v1/functions/echo/invoke", "", strings.Repeat("x", 6<<20+1), 413, KindBodyTooLarge, "body", "6291456"},
	{"a negative version", "POST", "/v1/functions/echo/invoke?version=-1", "", "", 400, KindInvalidField, "version", "0"},
	{"logs from an odd time", "GET", "/v1/functions/echo/logs?from=now", "", "", 400, KindInvalidField, "from", "RFC 3339"},
	{"a mapping of nothing", "PUT", "/v1/mappings/m", typeJSON, ``, 400, KindInvalidField, "stream", "stream"},
	{"no batch", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","batchSize":0}`, 400, KindInvalidField, "batchSize", "10000"},
	{"a large batch", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","batchSize":10001}`, 400, KindInvalidField, "batchSize", "10000"},
	{"a long batch window", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","batchWindow":"6m"}`, 400, KindInvalidField, "batchWindow", "5m"},
	{"an odd starting position", "PUT", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"echo","startingPosition":"middle"}`, 400, KindInvalidField, "startingPosition", "oldest"},
	{"an odd mapping name", "PUT", "/v1/mappings/a%20b", typeJSON, `{"stream":"s","function":"echo"}`, 400, KindInvalidField, "name", "a-z"},

	// The surface.
	{"no such path", "GET", "/v1/nothing", "", "", 404, KindNoRoute, "", ""},
	{"no such method", "POST", "/v1/streams/s", typeJSON, `{}`, 405, KindMethod, "method", "GET, PUT, PATCH, DELETE"},
	{"damage of no shard", "POST", "/v1/streams/s/damage/accept", typeJSON, `{}`, 400, KindInvalidField, "shard", "shard"},
}

// importer is a module that has every export that is needed and imports env.f.
var importer = func() string {
	section := func(id byte, content string) string { return string([]byte{id, byte(len(content))}) + content }
	export := func(name string, kind, index byte) string {
		return string([]byte{byte(len(name))}) + name + string([]byte{kind, index})
	}
	return "\x00asm\x01\x00\x00\x00" +
		section(1, "\x04"+"\x60\x00\x00"+"\x60\x00\x01\x7f"+"\x60\x01\x7f\x01\x7f"+"\x60\x03\x7f\x7f\x7f\x01\x7e") + // types
		section(2, "\x01\x03env\x01f\x00\x00") +
		section(3, "\x04\x01\x02\x03\x00") + // functions 1 to 4, by type
		section(5, "\x01\x00\x01") + // one page of memory
		section(7, "\x05"+export("memory", 2, 0)+export("shardmill_abi_v1", 0, 1)+export("shardmill_input", 0, 2)+
			export("shardmill_handle", 0, 3)+export("_initialize", 0, 4)) +
		section(10, "\x04"+"\x04\x00\x41\x01\x0b"+"\x04\x00\x41\x00\x0b"+"\x04\x00\x42\x00\x0b"+"\x02\x00\x0b")
}()

// TestBadInput sends every request of the table: each is a 4xx problem that
// names the field and the limit, and nothing is changed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.stream(t, "s", 2)
	h.deploy(t, "echo", FunctionConfig{})
	before := h.state(t)
	for _, c := range badInputs {
		status, body := h.send(t, c.method, c.path, c.kind, c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			t.Errorf("%s: %d %q is no problem: %v", c.name, status, body, err)
			continue
		}
		if status != c.status || p.Status != c.status || p.Kind() != c.problem || p.Field != c.field || !strings.Contains(p.Limit, c.limit) {
			t.Errorf("%s: %d %+v", c.name, status, p)
		}
		if p.Detail == "" || p.Title == "" || !strings.HasSuffix(p.Detail, ".") {
			t.Errorf("%s: the detail is %q", c.name, p.Detail)
		}
		if strings.Contains(p.Limit, "must") || strings.HasPrefix(p.Value, `"`) || strings.Contains(p.Detail, "0m0s") || strings.Contains(body, "exitCode") {
			t.Errorf("%s: %s", c.name, body)
		}
		if p.Kind() == KindInvalidField && !strings.HasSuffix(p.Detail, "; it must be "+p.Limit+".") {
			t.Errorf("%s: the wording is %q", c.name, p.Detail)
		}
		if after := h.state(t); after != before {
			t.Fatalf("%s has changed something:\n%s\nbefore:\n%s", c.name, after, before)
		}
	}
}

// state is everything that bad input must not change.
func (h *host) state(t testing.TB) string {
	var b strings.Builder
	for _, path := range []string{"/v1/streams", "/v1/streams/s", "/v1/functions", "/v1/functions/echo", "/v1/mappings", "/v1/streams/s/records"} {
		_, body := h.send(t, "GET", path, "", "")
		fmt.Fprintf(&b, "%s %s\n", path, body)
	}
	return b.String()
}

// endless gives n bytes and counts those that were asked for.
type endless struct {
	left  int64
	given atomic.Int64 // read while the transport may still send
}

func (e *endless) Read(p []byte) (int, error) {
	n := min(int64(len(p)), e.left)
	e.left -= n
	e.given.Add(n)
	if e.left == 0 {
		return int(n), io.EOF
	}
	return int(n), nil
}

// TestLargeUploads sends a module of 500 MB, with and without saying how long
// it is: it is refused, and most of it is never sent.
func TestLargeUploads(t *testing.T) {
	t.Parallel()
	h := boot(t)
	for _, known := range []bool{true, false} {
		body := &endless{left: 500e6}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, h.url+"/v1/functions/f", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", typeModule)
		req.Header.Set("Expect", "100-continue")
		if known {
			req.ContentLength = 500e6
		}
		resp, err := h.Client.http.Do(req)
		if err != nil {
			t.Fatalf("known %v: %v", known, err)
		}
		p := asProblem(t, readProblem(resp))
		resp.Body.Close()
		if p.Kind() != KindBodyTooLarge || p.Status != 413 || p.Limit != "67108864 bytes" {
			t.Errorf("known %v: %+v", known, p)
		}
		if known && body.given.Load() > 0 {
			t.Errorf("%d bytes were sent before the refusal", body.given.Load())
		}
		if body.given.Load() > 100e6 {
			t.Errorf("%d bytes were sent", body.given.Load())
		}
	}
	if list, err := h.Functions(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("functions are %v, %v", list, err)
	}
}

// TestRefusedHeaders checks the refusals that depend on headers.
func TestRefusedHeaders(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	for name, c := range map[string]struct {
		header, value string
		status        int
		field         string
	}{
		"gzip":               {"Content-Encoding", "gzip", 415, "Content-Encoding"},
		"a page of another":  {"Sec-Fetch-Site", "cross-site", 403, ""},
		"an unserved answer": {"Accept", "text/csv", 406, "Accept"},
	} {
		method, body := http.MethodPost, "1\n"
		if c.header == "Accept" {
			method, body = http.MethodGet, ""
		}
		req, _ := http.NewRequestWithContext(t.Context(), method, h.url+"/v1/streams/s/records", bytes.NewReader([]byte(body)))
		req.Header.Set("Content-Type", typeLines)
		req.Header.Set(c.header, c.value)
		resp, err := h.Client.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		p := asProblem(t, readProblem(resp))
		resp.Body.Close()
		if p.Status != c.status || p.Field != c.field {
			t.Errorf("%s: %+v", name, p)
		}
	}
	if n := len(h.all(t, "s", ReadOptions{})); n != 0 {
		t.Errorf("%d records are stored", n)
	}
}

// TestProblemsShowWhatWasGiven holds the one wording of a refused value: field is
// value; it must be limit, with the value as it was sent.
func TestProblemsShowWhatWasGiven(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.stream(t, "s", 1)
	for _, c := range []struct{ method, path, body, value, detail string }{
		{"PUT", "/v1/streams/t", `{"shards":"4"}`, `4`, `shards is "4"; it must be a whole number.`},
		{"PUT", "/v1/streams/t", `{"shards":[4]}`, `[4]`, `shards is [4]; it must be a whole number.`},
		{"PUT", "/v1/streams/t", `{"shards":0}`, `0`, `shards is 0; it must be 1 to 1000.`},
		{"PUT", "/v1/streams/t", `{"shards":1001}`, `1001`, `shards is 1001; it must be 1 to 1000.`},
		{"PUT", "/v1/streams/t", `{"retention":24}`, `24`, `retention is 24; it must be a duration with its unit, such as 500ms, 3s, 24h or 7d.`},
		{"PUT", "/v1/streams/t", `{"retention":"366d"}`, `366d`, `retention is 366d; it must be 1h to 365d.`},
		{"PUT", "/v1/streams/t", `[]`, `[]`, `body is []; it must be an object.`},
		{"PUT", "/v1/streams/a%22b", `{}`, `a"b`, `name is "a\"b"; it must be 1 to 128 of a-z A-Z 0-9 _ . - (and not "." or "..").`},
		{"PUT", "/v1/mappings/a%22b", `{"stream":"s","function":"f"}`, `a"b`, `name is "a\"b"; it must be 1 to 128 of a-z A-Z 0-9 _ . - (and not "." or "..").`},
		{"POST", "/v1/streams/s/records", `{"records":{"a":1}}`, `{"a":1}`, `records is {"a":1}; it must be an array.`},
		{"POST", "/v1/streams/s/records", `{"records":[]}`, ``, `records is empty; it must be an array of 1 to 10000 records (more can be put as application/x-ndjson).`},
		{"POST", "/v1/streams/s/records", `{"records":[{"partitionKey":5,"text":""}]}`, `5`, `partitionKey is 5; it must be a string.`},
		{"POST", "/v1/streams/s/records", jsonBody(`"partitionKey":"k","data":"!"`), `!`, `data is "!"; it must be a string in base64 with padding (RFC 4648 section 4).`},
		{"PUT", "/v1/mappings/m", `{"stream":"s","function":"f","batchWindow":"6m"}`, `6m`, `batchWindow is 6m; it must be 0s to 5m.`},
		{"PUT", "/v1/mappings/m", `{"stream":"s","function":"none"}`, `none`, `function is "none"; it must be the name of a function that exists.`},
	} {
		_, body := h.send(t, c.method, c.path, typeJSON, c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Detail != c.detail || p.Value != c.value {
			t.Errorf("%s %s: %s\nwant the value %s and the detail %s", c.path, c.body, body, c.value, c.detail)
		}
	}
}

// TestBadRecordsAreRefusedAlone puts good records beside every kind of bad one:
// the good ones are put, and each bad one is told with field and limit.
func TestBadRecordsAreRefusedAlone(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.stream(t, "s", 1)
	bad := []struct{ record, field, limit string }{
		{`{"partitionKey":"","text":"x"}`, "partitionKey", "1 to 256 characters"},
		{`{"partitionKey":"` + strings.Repeat("k", 257) + `","text":"x"}`, "partitionKey", "1 to 256 characters"},
		{`{"partitionKey":"k","text":"` + strings.Repeat("x", 1<<20+1) + `"}`, "data", "at most 1048576 bytes"},
		{`{"partitionKey":"k","data":"A"}`, "data", base64Form},
		{`{"partitionKey":"k","data":"AAAA\n"}`, "data", base64Form},
		{`{"partitionKey":"k","data":7}`, "data", base64Form},
		{`{"partitionKey":"k","data":null}`, "data", base64Form},
		{`{"partitionKey":"k","text":null}`, "text", "a string"},
		{`{"partitionKey":[],"text":"x"}`, "partitionKey", "a string"},
		{`{"partitionKey":"k","text":"x","explicitHashKey":5}`, "explicitHashKey", "a string"},
		{`{"partitionKey":"k","data":"AA==","json":1}`, "data", "exactly one of data, text and json"},
		{`{"partitionKey":"k"}`, "data", "exactly one of data, text and json"},
		{`{"partitionKey":"k","text":"x","explicitHashKey":"-1"}`, "explicitHashKey", "a decimal number from 0 to 340282366920938463463374607431768211455"},
	}
	var records []string
	for _, b := range bad {
		records = append(records, `{"partitionKey":"k","text":"good"}`, b.record)
	}
	status, body := h.send(t, "POST", "/v1/streams/s/records", typeJSON, `{"records":[`+strings.Join(records, ",")+`]}`)
	var a PutAnswer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || a.Put != int64(len(bad)) || a.Failed != int64(len(bad)) || len(a.Results) != 2*len(bad) {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	for i, b := range bad {
		if good := a.Results[2*i]; good.Shard == "" || good.Sequence == 0 || good.Error != "" {
			t.Errorf("the good record before %.60s: %+v", b.record, good)
		}
		if r := a.Results[2*i+1]; r.Error != KindInvalidField || r.Field != b.field || r.Limit != b.limit || !strings.Contains(r.Message, b.limit) || r.Shard != "" {
			t.Errorf("%.60s: %+v", b.record, r)
		}
	}
	if got := h.all(t, "s", ReadOptions{}); len(got) != len(bad) {
		t.Errorf("%d records are stored, want %d", len(got), len(bad))
	}
}
