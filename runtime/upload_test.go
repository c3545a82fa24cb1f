package runtime

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/shardmill/shardmill/runtime/wasm"
	"github.com/shardmill/shardmill/sdk/abi"
)

// okReply is an empty reply without a failure.
func okReply(t testing.TB) []byte {
	t.Helper()
	var w abi.ReplyWriter
	w.Reset()
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHandmadeFunction(t *testing.T) {
	w := open(t)
	reply := okReply(t)
	f := w.deploy(t, "f", fake{data: reply, handle: packed(1024, uint32(len(reply)))}.build(), Config{})
	if f.Kinds != AllKinds {
		t.Errorf("kinds %b", f.Kinds)
	}
	w.mustAsk(t, "f", "anything")
	f = w.deploy(t, "f", fake{data: reply, handle: packed(1024, uint32(len(reply))), kinds: 1<<4 | 1<<30}.build(), Config{})
	if f.Version != 2 || f.Kinds != 1<<KindInvoke {
		t.Errorf("version %d, kinds %b", f.Version, f.Kinds)
	}
	if err := w.Invoke(t.Context(), Call{Function: "f", Kind: KindBatch}, new(Reply)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("a kind that it does not handle: %v", err)
	}
}

// claim is a section that says it has 2^32-1 entries.
func claim(id byte) []byte { return sec(id, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}) }

func TestRefusedUploads(t *testing.T) {
	w := open(t, func(o *Options) { o.MaxCodeBytes = 4 << 20 })
	good := fake{}.build()
	tooMany := cat(wasm.Header, sec(wasm.SectionType, vec()))
	for _, c := range []struct {
		name   string
		code   []byte
		config Config
		field  string
		says   string
	}{
		{"nothing", nil, Config{}, "code", "is not a WebAssembly module"},
		{"text", []byte("#!/bin/sh\necho hello"), Config{}, "code", "is not a WebAssembly module"},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), Config{}, "code", "component"},
		{"only a header", wasm.Header, Config{}, "code", "does not export memory"},
		{"truncated", good[:len(good)-3], Config{}, "code", "ends early"},
		{"too large", make([]byte, 4<<20+1), Config{}, "code", "at most 4194304 bytes"},
		{"no memory", fake{without: "memory"}.build(), Config{}, "code", "does not export memory"},
		{"no marker", fake{without: "shardmill_abi_v1"}.build(), Config{}, "code", "does not export shardmill_abi_v1"},
		{"no input", fake{without: "shardmill_input"}.build(), Config{}, "code", "does not export shardmill_input"},
		{"no handle", fake{without: "shardmill_handle"}.build(), Config{}, "code", "does not export shardmill_handle"},
		{"other version", fake{marker: 2}.build(), Config{}, "code", "must be of version 1"},
		{"no kinds", fake{kinds: 1 << 20}.build(), Config{}, "code", "handles no kind"},
		{"unknown import", fake{imports: [][]byte{functionImport("env", "emscripten_notify")}}.build(), Config{}, "code", `"env.emscripten_notify"`},
		{"unknown WASI import", fake{imports: [][]byte{functionImport("wasi_snapshot_preview1", "fly")}}.build(), Config{}, "code", `"wasi_snapshot_preview1.fly"`},
		{"wrong WASI import", fake{imports: [][]byte{functionImport("wasi_snapshot_preview1", "proc_exit")}}.build(), Config{}, "code", "as () -> (); it must be a module that imports it as (i32) -> ()"},
		{"4 GiB of memory", fake{pages: 65536}.build(), Config{}, "memory", "is 128 MiB; it must be at least"},
		{"2 MiB of memory", fake{pages: 32}.build(), Config{MemoryBytes: 1 << 20}, "memory", "is 1 MiB; it must be at least"},
		{"more memory than there is", fake{pages: 1 << 40}.build(), Config{}, "memory", "is 128 MiB; it must be at least"},
		{"trap at start", fake{start: unreachable}.build(), Config{}, "code", "unreachable"},
		{"trap in _initialize", fake{initialize: unreachable}.build(), Config{}, "code", "unreachable"},
		{"spinning start", fake{start: spinning}.build(), Config{Timeout: 50 * time.Millisecond}, "code", "timeout of 50ms"},
		{"spinning _initialize", fake{initialize: spinning}.build(), Config{Timeout: 50 * time.Millisecond}, "code", "timeout of 50ms"},
		{"growing _initialize", fake{initialize: growing}.build(), Config{MemoryBytes: 2 << 20}, "code", "limit of 2 MiB"},
		{"invalid code", fake{handle: []byte{0x6a}}.build(), Config{}, "code", "does not compile"},
		{"unknown instruction", fake{handle: []byte{0xf0}}.build(), Config{}, "code", "instruction 0xf0"},
		{"types that are not there", cat(tooMany, claim(wasm.SectionType)), Config{}, "code", "ends early"},
		{"imports that are not there", cat(wasm.Header, claim(wasm.SectionImport)), Config{}, "code", "ends early"},
		{"functions that are not there", cat(wasm.Header, claim(wasm.SectionFunction)), Config{}, "code", "ends early"},
		{"tables that are not there", cat(wasm.Header, claim(wasm.SectionTable)), Config{}, "code", "ends early"},
		{"globals that are not there", cat(wasm.Header, claim(wasm.SectionGlobal)), Config{}, "code", "ends early"},
		{"exports that are not there", cat(wasm.Header, claim(wasm.SectionExport)), Config{}, "code", "ends early"},
		{"elements that are not there", cat(wasm.Header, claim(wasm.SectionElement)), Config{}, "code", "ends early"},
		{"code that is not there", cat(wasm.Header, claim(wasm.SectionCode)), Config{}, "code", "ends early"},
		{"data that is not there", cat(wasm.Header, claim(wasm.SectionData)), Config{}, "code", "ends early"},
		{"names that are not there", fake{sections: [][]byte{custom("name", []byte{1, 5, 0xff, 0xff, 0xff, 0xff, 0x0f})}}.build(), Config{}, "code", "ends early"},
		{"a long name", fake{sections: [][]byte{custom("name", []byte{0, 5, 0xff, 0xff, 0xff, 0xff, 0x0f})}}.build(), Config{}, "code", "ends early"},
		{"2^31 locals", fake{functions: [][]byte{code(1<<31, i32Const(0)...)}}.build(), Config{}, "code", "locals"},
		{"a table of 2^27", cat(wasm.Header, sec(wasm.SectionTable, vec(cat([]byte{0x70, 0}, wasm.AppendLEB(nil, 1<<27))))), Config{}, "code", "has 134217728 entries in its tables; it must be a module with at most 1000000"},
		{"two start sections", cat(fake{start: unreachable}.build(), sec(wasm.SectionStart, []byte{5})), Config{}, "code", "does not compile"},
		{"unknown section", cat(good, sec(77, nil)), Config{}, "code", "not supported"},
		{"timeout", good, Config{Timeout: time.Hour}, "timeout", "15m"},
		{"negative timeout", good, Config{Timeout: -1}, "timeout", "1ms"},
		{"memory", good, Config{MemoryBytes: 5 << 30}, "memory", "4096MiB"},
		{"concurrency", good, Config{Concurrency: 1001}, "concurrency", "1000"},
		{"negative concurrency", good, Config{Concurrency: -1}, "concurrency", "1000"},
		{"emit", good, Config{Emit: []string{"a b"}}, "emit", "letters"},
		{"empty emit", good, Config{Emit: []string{""}}, "emit", "letters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := w.Deploy(t.Context(), "f", c.code, c.config)
			var field *FieldError
			if !errors.As(err, &field) || !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v", err)
			}
			if field.Field != c.field || !strings.Contains(err.Error(), c.says) {
				t.Errorf("field %s: %v; want field %s, %q", field.Field, err, c.field, c.says)
			}
		})
	}
	for _, name := range []string{"", "a b", "..", "ü", strings.Repeat("x", 65), "a/b"} {
		_, err := w.Deploy(t.Context(), name, good, Config{})
		var field *FieldError
		if !errors.As(err, &field) || field.Field != "name" {
			t.Errorf("name %q: %v", name, err)
		}
	}
	if len(w.List()) != 0 || len(w.stores.entries) != 0 || len(w.stores.blobs) != 0 {
		t.Errorf("refused uploads left %v, %d definitions and %d blobs", w.List(), len(w.stores.entries), len(w.stores.blobs))
	}
}

func TestTablesThatGrow(t *testing.T) {
	w := open(t)
	growTable := code(0, cat([]byte{0xd0, 0x70}, i32Const(1), []byte{0xfc, 15, 0})...)
	module := func(limits ...byte) []byte {
		b := fake{functions: [][]byte{growTable}}.build()
		memory := sec(wasm.SectionMemory, vec([]byte{0, 1}))
		before, after, _ := strings.Cut(string(b), string(memory))
		return cat([]byte(before), sec(wasm.SectionTable, vec(cat([]byte{0x70}, limits))), memory, []byte(after))
	}
	_, err := w.Deploy(t.Context(), "f", module(0, 1), Config{})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "declared maximum") {
		t.Errorf("a table that grows without end: %v", err)
	}
	w.deploy(t, "f", module(1, 1, 100), Config{})
}

func TestBadReplies(t *testing.T) {
	w := open(t)
	reply := okReply(t)
	size := uint32(len(reply))
	odd := append(append([]byte(nil), reply...), 0)
	for name, f := range map[string]fake{
		"nothing":               {},
		"outside the memory":    {handle: packed(65536-8, size)},
		"far outside":           {handle: packed(0xfffffff8, 0xfffffff8)},
		"1 GiB":                 {handle: packed(8, 1<<30), pages: 1},
		"over the limit":        {handle: packed(8, maxReplyBytes+8), pages: 1100},
		"not aligned":           {handle: packed(1025, size), data: cat([]byte{0}, reply)},
		"zeros":                 {handle: packed(4096, 40)},
		"short":                 {handle: packed(1024, 8), data: reply},
		"odd":                   {handle: packed(1024, size+1), data: odd},
		"input outside":         {input: i32Const(65536 - 8), handle: packed(1024, size), data: reply},
		"input not aligned":     {input: i32Const(2049), handle: packed(1024, size), data: reply},
		"input below the start": {input: i32Const(-8), handle: packed(1024, size), data: reply},
	} {
		t.Run(name, func(t *testing.T) {
			w.deploy(t, "f", f.build(), Config{})
			_, err := w.ask(t.Context(), "f", "x")
			failure(t, err, FailMalformed)
			if n := w.instances("f"); n != 0 {
				t.Errorf("%d instances are kept", n)
			}
		})
	}
}

func TestHandmadeFailures(t *testing.T) {
	w := open(t)
	config := Config{Timeout: 100 * time.Millisecond, MemoryBytes: 8 << 20}
	for name, c := range map[string]struct {
		f    fake
		kind ErrorKind
		says string
	}{
		"trap":              {fake{handle: unreachable}, FailTrap, "unreachable"},
		"trap in input":     {fake{input: unreachable}, FailTrap, "unreachable"},
		"divide by zero":    {fake{handle: cat(i32Const(1), i32Const(0), []byte{0x6d, 0x1a}, i64Const(0))}, FailTrap, "divide by zero"},
		"out of bounds":     {fake{handle: cat(i32Const(-4), []byte{0x28, 0, 0, 0x1a}, i64Const(0))}, FailTrap, "out of bounds"},
		"no input":          {fake{input: i32Const(0)}, FailMemory, "no memory for an input"},
		"grows":             {fake{handle: cat(growing, i64Const(0))}, FailMemory, "limit of 8 MiB"},
		"spins":             {fake{handle: cat(spinning, i64Const(0))}, FailTimeout, "timeout of 100ms"},
		"spins in input":    {fake{input: cat(spinning, i32Const(8))}, FailTimeout, "timeout of 100ms"},
		"recurses":          {fake{handle: cat([]byte{wasm.OpCall, 7, 0x1a}, i64Const(0)), functions: [][]byte{code(0, cat([]byte{wasm.OpCall, 7}, i32Const(1), []byte{0x6a})...)}}, FailTrap, "stack overflow"},
		"calls without end": {fake{handle: cat([]byte{wasm.OpCall, 7, 0x1a}, i64Const(0)), functions: doubling(40)}, FailTimeout, "timeout of 100ms"},
		"grows and goes on": {fake{handle: cat([]byte{wasm.OpLoop, 0x40}, i32Const(1), []byte{0x40, 0, 0x1a, 0x0c, 0, wasm.OpEnd}, i64Const(0))}, FailTimeout, "timeout of 100ms"},
		"fills":             {fake{pages: 100, handle: cat([]byte{wasm.OpLoop, 0x40}, i32Const(0), i32Const(1), i32Const(100<<16), []byte{0xfc, 11, 0, 0x0c, 0, wasm.OpEnd}, i64Const(0))}, FailTimeout, "timeout of 100ms"},
		"calls the host":    {fake{imports: [][]byte{yield}, handle: []byte{wasm.OpLoop, 0x40, wasm.OpCall, 0, 0x1a, 0x0c, 0, wasm.OpEnd, 0x42, 0}}, FailTimeout, "timeout of 100ms"},
	} {
		t.Run(name, func(t *testing.T) {
			config := config
			if c.kind != FailTimeout {
				config.Timeout = 10 * time.Second
			}
			w.deploy(t, "f", c.f.build(), config)
			began := time.Now()
			_, err := w.ask(t.Context(), "f", "x")
			f := failure(t, err, c.kind)
			if !strings.Contains(f.Message, c.says) || strings.Contains(f.Stack, "meter") {
				t.Errorf("message %q, want %q; stack %s", f.Message, c.says, f.Stack)
			}
			if took := time.Since(began); c.kind == FailTimeout && took > 5*time.Second {
				t.Errorf("stopped after %v", took)
			}
			if n := w.instances("f"); n != 0 {
				t.Errorf("%d instances are kept", n)
			}
		})
	}
}

// yield imports sched_yield of WASI.
var yield = cat(str("wasi_snapshot_preview1"), str("sched_yield"), []byte{wasm.ExternFunction, 0})

// doubling is n functions, each of which calls the next one twice: no loop, no recursion, 2^n calls.
func doubling(n int) (out [][]byte) {
	for i := range n {
		next := byte(7 + i + 1)
		out = append(out, code(0, wasm.OpCall, next, 0x1a, wasm.OpCall, next))
	}
	return append(out, code(0, i32Const(1)...))
}

func TestDeployIsCanceled(t *testing.T) {
	w := open(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := w.Deploy(ctx, "f", fake{start: spinning}.build(), Config{Timeout: time.Minute})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

// A module is a function or a program, and one that is a bit of both is told what it was to be.
func TestFunctionsAndPrograms(t *testing.T) {
	function := map[string]string{"memory": "memory", "shardmill_abi_v1": "() -> i32", "shardmill_input": "(i32) -> i32", "shardmill_handle": "(i32 i32 i32) -> i64"}
	for _, e := range abiExports { // whatever the signatures are written like
		if _, ok := function[e.name]; ok {
			function[e.name] = e.signature
		}
	}
	with := func(names ...string) map[string]string {
		exports := maps.Clone(function)
		for _, name := range names {
			exports[name] = "() -> ()"
		}
		return exports
	}
	for name, c := range map[string]struct {
		exports map[string]string
		want    string // "" is taken
	}{
		"a function":                      {with(), ""},
		"a reactor":                       {with("_initialize"), ""},
		"a reactor that has both":         {with("_initialize", "_start"), ""},
		"a function built as a program":   {with("_start"), "exports _start beside shardmill_abi_v1: it was built as a program; it must be a reactor"},
		"a program":                       {map[string]string{"memory": "memory", "_start": "() -> ()"}, ""},
		"a program without memory":        {map[string]string{"_start": "() -> ()"}, "does not export memory; it must be a module that exports memory, _start"},
		"a function that lacks something": {map[string]string{"memory": "memory"}, "a module that exports memory, shardmill_abi_v1, shardmill_input, shardmill_handle"},
	} {
		err := (&moduleInfo{exports: c.exports}).admitExports()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
