package api

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// TestPutJSONRefusesBodies has one thing wrong with the body beside a good record:
// nothing is put.
func TestPutJSONRefusesBodies(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 2)
	const good = `{"partitionKey":"k","text":""}`
	for _, body := range []string{
		`{"records":[` + good + `,`, `{"records":[` + good + `,{"partitionKey":"k","text":"","key":1}]}`,
		`{"records":[` + good + `],"more":1}`, `{"records":[` + good + `,7]}`, `{"records":[` + good + strings.Repeat(","+good, 10_000) + `]}`,
	} {
		if status, answer := h.send(t, "POST", "/v1/streams/s/records", typeJSON, body); status != 400 {
			t.Errorf("%.80s: %d %s", body, status, answer)
		}
	}
	if n := len(h.all(t, "s", ReadOptions{})); n != 0 {
		t.Errorf("%d records are stored", n)
	}
}

// TestFailuresNameFieldAndLimit does so for lines, which have no results.
func TestFailuresNameFieldAndLimit(t *testing.T) {
	h := boot(t)
	h.stream(t, "s", 1)
	answer, err := h.PutLines(t.Context(), "s", strings.NewReader("{\"k\":\"\"}\n{\"k\":1}\n"), LineOptions{Key: "/k"})
	if err != nil || len(answer.Failures) != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	if f := answer.Failures[0]; f.Field != "partitionKey" || f.Limit != "1 to 256 characters" {
		t.Errorf("%+v", f)
	}
}

// TestPutMembers holds what is decoded to what is described.
func TestPutMembers(t *testing.T) {
	names := func(t reflect.Type) (list []string) {
		for f := range t.Fields() {
			list = append(list, jsonName(f))
		}
		return list
	}
	for _, pair := range [][2]reflect.Type{
		{reflect.TypeFor[putBody](), reflect.TypeFor[PutRecords]()}, {reflect.TypeFor[putMembers](), reflect.TypeFor[PutRecord]()},
	} {
		if got, want := names(pair[0]), names(pair[1]); !slices.Equal(got, want) {
			t.Errorf("%v has %q, %v %q", pair[0], got, pair[1], want)
		}
	}
}

// TestGivenLimits holds the limits of values that may be left out to those of
// the engines.
func TestGivenLimits(t *testing.T) {
	t.Parallel()
	h := boot(t)
	h.stream(t, "s", 1)
	some := map[string]string{}
	for _, of := range []reflect.Type{reflect.TypeFor[StreamConfig](), reflect.TypeFor[FunctionConfig](), reflect.TypeFor[MappingConfig]()} {
		for f := range of.Fields() {
			if limit := f.Tag.Get("some"); limit != "" {
				some[jsonName(f)] = limit
			}
		}
	}
	for _, c := range []struct{ field, path, kind, body string }{
		{"shards", "/v1/streams/t", typeJSON, `{"shards":-1}`},
		{"retention", "/v1/streams/t", typeJSON, `{"retention":"1s"}`},
		{"maxRecordBytes", "/v1/streams/t", typeJSON, `{"maxRecordBytes":1}`},
		{"timeout", "/v1/functions/f?timeout=-1s", typeModule, "x"},
		{"memory", "/v1/functions/f?memory=1", typeModule, "x"},
		{"fuel", "/v1/functions/f?fuel=1", typeModule, "x"},
		{"concurrency", "/v1/functions/f?concurrency=-1", typeModule, "x"},
		{"idleMemory", "/v1/functions/f?idleMemory=1", typeModule, "x"},
		{"isolation", "/v1/functions/f?isolation=process", typeModule, "x"},
		{"batchSize", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"f","batchSize":-1}`},
		{"parallelization", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"f","parallelization":-1}`},
		{"startingPosition", "/v1/mappings/m", typeJSON, `{"stream":"s","function":"f","startingPosition":"x"}`},
	} {
		_, body := h.send(t, "PUT", c.path, c.kind, c.body)
		var p Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || p.Field != c.field || p.Limit != some[c.field] {
			t.Errorf("%s: the engine says %q, the tag %q", c.field, p.Limit, some[c.field])
		}
		delete(some, c.field)
	}
	if len(some) != 0 {
		t.Errorf("not tried: %v", some)
	}
}
