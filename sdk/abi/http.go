package abi

import "encoding/binary"

// Limits of HTTP requests of functions, in bytes unless the name says otherwise.
const (
	MaxURLBytes        = 8 << 10
	MaxHeaders         = 64 // fields
	MaxHeaderBytes     = 16 << 10
	MaxRequestBody     = 6 << 20
	MaxResponseBody    = 6 << 20
	maxMethodBytes     = 32
	requestHeaderSize  = 16
	responseHeaderSize = 8
)

// HTTPHeader is one header field.
type HTTPHeader struct{ Name, Value string }

// HTTPRequest is a request of a function.
type HTTPRequest struct {
	Method  string
	URL     string
	Header  []HTTPHeader
	Body    []byte
	Timeout uint32 // ms; 0: as long as the call may run
}

// HTTPResponse is the answer to one.
type HTTPResponse struct {
	Status int
	Header []HTTPHeader
	Body   []byte
}

// AppendHTTPRequest encodes a request. Errors: ErrLimit.
func AppendHTTPRequest(b []byte, r *HTTPRequest) ([]byte, error) {
	switch {
	case len(r.Method) > maxMethodBytes:
		return nil, overLimit("method", len(r.Method), maxMethodBytes)
	case len(r.URL) > MaxURLBytes:
		return nil, overLimit("URL", len(r.URL), MaxURLBytes)
	case len(r.Body) > MaxRequestBody:
		return nil, overLimit("body", len(r.Body), MaxRequestBody)
	}
	if err := checkHeader(r.Header); err != nil {
		return nil, err
	}
	b = binary.LittleEndian.AppendUint32(b, r.Timeout)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Method)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Header)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.URL)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Body)))
	b = append(append(b, r.Method...), r.URL...)
	return append(appendHeader(b, r.Header), r.Body...), nil
}

func checkHeader(header []HTTPHeader) error {
	size := 0
	for _, h := range header {
		size += len(h.Name) + len(h.Value)
	}
	if len(header) > MaxHeaders || size > MaxHeaderBytes {
		return overLimit("header", size, MaxHeaderBytes)
	}
	return nil
}

func appendHeader(b []byte, header []HTTPHeader) []byte {
	for _, h := range header {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Name)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(h.Value)))
		b = append(append(b, h.Name...), h.Value...)
	}
	return b
}

// cursor takes pieces off the front of bytes.
type cursor struct {
	rest []byte
	bad  bool
}

func (c *cursor) take(n uint64) []byte {
	if c.bad || n > uint64(len(c.rest)) {
		c.bad = true
		return nil
	}
	piece := c.rest[:n]
	c.rest = c.rest[n:]
	return piece
}

func (c *cursor) header(n int) (header []HTTPHeader) {
	for range n {
		lengths := c.take(4)
		if c.bad {
			return nil
		}
		name := c.take(uint64(binary.LittleEndian.Uint16(lengths)))
		value := c.take(uint64(binary.LittleEndian.Uint16(lengths[2:])))
		header = append(header, HTTPHeader{string(name), string(value)})
	}
	return header
}

// ParseHTTPRequest decodes a request; its body is a view of b. Errors: ErrMalformed, ErrLimit.
func ParseHTTPRequest(b []byte) (*HTTPRequest, error) {
	if len(b) < requestHeaderSize {
		return nil, malformed("HTTP request", "header", "%d bytes", len(b))
	}
	c := cursor{rest: b[requestHeaderSize:]}
	r := &HTTPRequest{Timeout: binary.LittleEndian.Uint32(b)}
	r.Method = string(c.take(uint64(binary.LittleEndian.Uint16(b[4:]))))
	r.URL = string(c.take(uint64(binary.LittleEndian.Uint32(b[8:]))))
	r.Header = c.header(int(binary.LittleEndian.Uint16(b[6:])))
	r.Body = c.take(uint64(binary.LittleEndian.Uint32(b[12:])))
	if c.bad || len(c.rest) > 0 {
		return nil, malformed("HTTP request", "lengths", "they do not fill its %d bytes", len(b))
	}
	if len(r.Method) > maxMethodBytes || len(r.URL) > MaxURLBytes || len(r.Body) > MaxRequestBody {
		return nil, overLimit("HTTP request", len(b), MaxRequestBody)
	}
	return r, checkHeader(r.Header)
}

// AppendHTTPResponse encodes an answer. Header fields beyond the limits are left out.
func AppendHTTPResponse(b []byte, r *HTTPResponse) []byte {
	header := r.Header
	for checkHeader(header) != nil {
		header = header[:len(header)-1]
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(r.Status))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Body)))
	return append(appendHeader(b, header), r.Body...)
}

// ParseHTTPResponse decodes an answer; its body is a view of b. Errors: ErrMalformed.
func ParseHTTPResponse(b []byte) (*HTTPResponse, error) {
	if len(b) < responseHeaderSize {
		return nil, malformed("HTTP response", "header", "%d bytes", len(b))
	}
	c := cursor{rest: b[responseHeaderSize:]}
	r := &HTTPResponse{Status: int(binary.LittleEndian.Uint16(b))}
	r.Header = c.header(int(binary.LittleEndian.Uint16(b[2:])))
	r.Body = c.take(uint64(binary.LittleEndian.Uint32(b[4:])))
	if c.bad || len(c.rest) > 0 {
		return nil, malformed("HTTP response", "lengths", "they do not fill its %d bytes", len(b))
	}
	return r, nil
}
