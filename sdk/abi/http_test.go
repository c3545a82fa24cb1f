package abi

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestHTTPMessages(t *testing.T) {
	request := &HTTPRequest{Method: "POST", URL: "https://a.example/b", Header: []HTTPHeader{{"A", "1"}, {"B", ""}}, Body: []byte("body"), Timeout: 250}
	b, err := AppendHTTPRequest(nil, request)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseHTTPRequest(b); err != nil || !reflect.DeepEqual(got, request) {
		t.Errorf("%+v, %v", got, err)
	}
	response := &HTTPResponse{Status: 404, Header: []HTTPHeader{{"A", "1"}}, Body: []byte("none")}
	answer := AppendHTTPResponse(nil, response)
	if got, err := ParseHTTPResponse(answer); err != nil || !reflect.DeepEqual(got, response) {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range b {
		if _, err := ParseHTTPRequest(b[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("the first %d bytes of a request: %v", n, err)
		}
	}
	for n := range answer {
		if _, err := ParseHTTPResponse(answer[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("the first %d bytes of an answer: %v", n, err)
		}
	}
	for _, r := range []*HTTPRequest{
		{Method: strings.Repeat("M", 33)}, {URL: strings.Repeat("u", MaxURLBytes+1)}, {Body: make([]byte, MaxRequestBody+1)},
		{Header: make([]HTTPHeader, MaxHeaders+1)}, {Header: []HTTPHeader{{"A", strings.Repeat("v", MaxHeaderBytes)}}},
	} {
		if _, err := AppendHTTPRequest(nil, r); !errors.Is(err, ErrLimit) {
			t.Errorf("%.20s: %v", r.Method, err)
		}
	}
	many := AppendHTTPResponse(nil, &HTTPResponse{Header: make([]HTTPHeader, MaxHeaders+9)})
	if got, err := ParseHTTPResponse(many); err != nil || len(got.Header) != MaxHeaders {
		t.Errorf("%d fields, %v", len(got.Header), err)
	}
}

func TestHTTPIsTheLaw(t *testing.T) {
	b, err := os.ReadFile("../abi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, law, _ := strings.Cut(string(b), "### 6.2 HTTP")
	request, response, found := strings.Cut(law, "The answer:")
	if !found {
		t.Fatal("abi.md has no section 6.2")
	}
	encoded, err := AppendHTTPRequest(nil, &HTTPRequest{Method: "GET", URL: "http://a", Header: []HTTPHeader{{"A", "b"}}, Body: []byte("x"), Timeout: 7})
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, "6.2 request", request, encoded, map[string]field{
		"timeout": {number: 7}, "method length": {number: 3}, "header count": {number: 1}, "URL length": {number: 8}, "body length": {number: 1},
	})
	checkTable(t, "6.2 answer", response, AppendHTTPResponse(nil, &HTTPResponse{Status: 200, Body: []byte("xy")}), map[string]field{
		"status": {number: 200}, "header count": {}, "body length": {number: 2},
	})
	if MaxURLBytes != 8192 || MaxHeaders != 64 || MaxHeaderBytes != 16384 || MaxRequestBody != 6<<20 || MaxResponseBody != 6<<20 {
		t.Error("a limit has another value than abi.md says")
	}
}

func FuzzParseHTTPRequest(f *testing.F) {
	b, _ := AppendHTTPRequest(nil, &HTTPRequest{Method: "GET", URL: "http://a", Header: []HTTPHeader{{"A", "b"}}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseHTTPRequest(b)
		if err != nil {
			return
		}
		if again, err := AppendHTTPRequest(nil, r); err != nil || string(again) != string(b) {
			t.Errorf("encoded again: %x, %v", again, err)
		}
	})
}

func FuzzParseHTTPResponse(f *testing.F) {
	f.Add(AppendHTTPResponse(nil, &HTTPResponse{Status: 200, Header: []HTTPHeader{{"A", "b"}}, Body: []byte("x")}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = ParseHTTPResponse(b) })
}
