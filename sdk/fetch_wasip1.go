package sdk

import (
	"fmt"
	"math"
	"unsafe"

	"github.com/shardmill/shardmill/sdk/abi"
)

//go:wasmimport shardmill http_fetch
//go:noescape
func importHTTPFetch(request unsafe.Pointer, size uint32) int64

func (c *callContext) fetch(r *Request) (*Response, error) {
	timeout := min(max(r.Timeout.Milliseconds(), 0), math.MaxUint32)
	request, err := abi.AppendHTTPRequest(nil, &abi.HTTPRequest{Method: r.Method, URL: r.URL, Header: r.Header, Body: r.Body, Timeout: uint32(timeout)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	b, err := answered(importHTTPFetch(unsafe.Pointer(unsafe.SliceData(request)), uint32(len(request))))
	if err != nil {
		return nil, err
	}
	answer, err := abi.ParseHTTPResponse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return &Response{Status: answer.Status, Header: answer.Header, Body: answer.Body}, nil
}
