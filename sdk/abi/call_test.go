package abi

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func TestCallRoundTrip(t *testing.T) {
	long := strings.Repeat("n", MaxNameBytes)
	for name, c := range map[string]struct {
		call        Call
		body, state []byte
	}{
		"batch":     {batchCall, batchOf(t, twoRecords...), nil},
		"state":     {windowCall, nil, []byte("s")},
		"both":      {batchCall, []byte("12345"), []byte("123")},
		"empty":     {Call{Kind: KindInvoke}, nil, nil},
		"long":      {Call{Kind: KindTransform, Mapping: long, Stream: long, Function: long, Invocation: long[:MaxInvocationBytes]}, []byte("x"), nil},
		"extremes":  {Call{Kind: KindInvoke, Version: math.MaxUint32, Shard: math.MaxUint32, Attempt: math.MaxUint32, Deadline: math.MinInt64}, nil, nil},
		"max state": {windowCall, nil, make([]byte, MaxStateBytes)},
	} {
		t.Run(name, func(t *testing.T) {
			b := encodeCall(t, c.call, c.body, c.state)
			var v CallView
			if err := v.Parse(b); err != nil {
				t.Fatal(err)
			}
			got := Call{
				Kind: v.Kind, Flags: v.Flags, Mapping: string(v.Mapping), Stream: string(v.Stream), Function: string(v.Function),
				Invocation: string(v.Invocation), Version: v.Version, Shard: v.Shard, Attempt: v.Attempt, Deadline: v.Deadline,
				WindowStart: v.WindowStart, WindowEnd: v.WindowEnd,
			}
			if got != c.call {
				t.Errorf("got %+v\nwant %+v", got, c.call)
			}
			if !bytes.Equal(v.Body, c.body) || !bytes.Equal(v.State, c.state) {
				t.Errorf("body %q, state %q; want %q, %q", v.Body, v.State, c.body, c.state)
			}
		})
	}
}

func TestCallSizeNamesTheFieldOverItsLimit(t *testing.T) {
	long := strings.Repeat("n", MaxNameBytes+1)
	for want, c := range map[string]struct {
		call        Call
		body, state int
	}{
		"mapping name":  {Call{Kind: KindInvoke, Mapping: long}, 0, 0},
		"stream name":   {Call{Kind: KindInvoke, Stream: long}, 0, 0},
		"function name": {Call{Kind: KindInvoke, Function: long}, 0, 0},
		"invocation id": {Call{Kind: KindInvoke, Invocation: long}, 0, 0},
		"state":         {Call{Kind: KindInvoke}, 0, MaxStateBytes + 1},
		"body":          {Call{Kind: KindInvoke}, math.MaxInt32, 0},
	} {
		if _, err := c.call.Size(c.body, c.state); !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, kind := range []Kind{0, 5} {
		if _, err := (&Call{Kind: kind}).Size(0, 0); !errors.Is(err, ErrMalformed) {
			t.Errorf("kind %d: %v", kind, err)
		}
	}
}

// A later host may add fields behind the header's 80 bytes; they are skipped by the header's own size.
func TestCallHeaderMayGrow(t *testing.T) {
	b := encodeCall(t, invokeCall, []byte("ping"), nil)
	grown := append(append(append([]byte(nil), b[:CallHeaderSize]...), "16 bytes of news"...), b[CallHeaderSize:]...)
	grown[8] += 16
	grown[40] += 16
	var v CallView
	if err := v.Parse(grown); err != nil {
		t.Fatal(err)
	}
	if string(v.Function) != "delays" || string(v.Body) != "ping" {
		t.Errorf("function %q, body %q", v.Function, v.Body)
	}
}

func TestMalformedCalls(t *testing.T) {
	for _, c := range []struct {
		field string
		at    int
		put   []byte
	}{
		{"magic", 0, []byte("X")},
		{"version", 4, []byte{2}},
		{"header size", 8, []byte{79, 0}},
		{"names", 8, []byte{255, 255}},
		{"names", 10, []byte{255, 255}},
		{"body", 40, []byte{81}},                     // not a multiple of 8
		{"body", 40, []byte{80}},                     // inside the names
		{"body", 40, []byte{0, 0, 0, 255}},           // outside
		{"body", 44, []byte{255, 255, 255, 255}},     // too long
		{"state", 56, []byte{1}},                     // at 0
		{"state", 52, []byte{248, 255, 255, 255, 8}}, // wraps 32 bits
	} {
		b := encodeCall(t, invokeCall, []byte("ping"), nil)
		copy(b[c.at:], c.put)
		var v CallView
		if err := v.Parse(b); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), c.field) {
			t.Errorf("%s with %v at %d: %v", c.field, c.put, c.at, err)
		}
	}
	var v CallView
	for n := range CallHeaderSize {
		if err := v.Parse(make([]byte, n)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestCallAllocatesNothing(t *testing.T) {
	call, body := batchCall, batchOf(t, twoRecords...)
	b := encodeCall(t, call, body, nil)
	var v CallView
	if n := testing.AllocsPerRun(100, func() {
		if _, err := call.Size(len(body), 0); err != nil {
			t.Error(err)
		}
		to, _ := call.Put(b, len(body), 0)
		copy(to, body)
		if err := v.Parse(b); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzCall(f *testing.F) {
	for name, b := range goldens(f) {
		if strings.HasPrefix(name, "call") {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:len(b):len(b)]
		var v CallView
		if err := v.Parse(b); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("unnamed error %v", err)
			}
			return
		}
		if n := len(v.Mapping) + len(v.Stream) + len(v.Function) + len(v.Invocation); CallHeaderSize+n > len(b) {
			t.Errorf("%d bytes of names in %d", n, len(b))
		}
		for _, part := range [][]byte{v.Body, v.State} {
			if len(part) > 0 && cap(part) != len(part) {
				t.Error("a view can be appended to in place")
			}
		}
	})
}
