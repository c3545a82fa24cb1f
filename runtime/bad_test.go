package runtime

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// badRounds is how often each bad input is given: few times, or what SHARDMILL_BAD_ROUNDS sets (10,000 before a release, see
// "make soak").
func badRounds(t *testing.T, few int) int {
	t.Helper()
	v := os.Getenv("SHARDMILL_BAD_ROUNDS")
	if v == "" {
		return few
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("SHARDMILL_BAD_ROUNDS is %q", v)
	}
	return n
}

// footprint is what a process holds of the machine.
type footprint struct {
	heap       int64 // bytes of live objects
	mapped     int64 // bytes of address space
	resident   int64 // bytes of memory
	goroutines int
	open       int // file descriptors
	files      int // in the cache of compiled code
}

// What may be more after any number of rounds: noise, and what is kept of the latest invocations and log lines. An instance that is left
// behind is 128 MiB of address space, a compiled module some 100 KiB.
const (
	moreHeap     = 4 << 20
	moreMapped   = 256 << 20
	moreResident = 64 << 20
	moreRoutines = 10
)

func measure(t *testing.T, cache string) (f footprint) {
	t.Helper()
	var m goruntime.MemStats
	goruntime.GC() // twice, so that what had a finalizer is gone too
	goruntime.GC()
	goruntime.ReadMemStats(&m)
	f.heap, f.goroutines = int64(m.HeapAlloc), goruntime.NumGoroutine()
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil { // Linux
		if _, err := fmt.Sscan(string(statm), &f.mapped, &f.resident); err != nil {
			t.Fatal(err)
		}
		f.mapped *= int64(os.Getpagesize())
		f.resident *= int64(os.Getpagesize())
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		f.open = len(open)
	}
	err := filepath.WalkDir(cache, func(_ string, _ fs.DirEntry, err error) error { f.files++; return err })
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// kept fails the test where something has grown that should not.
func (f footprint) kept(t *testing.T, before footprint) {
	t.Helper()
	for _, x := range []struct {
		what                 string
		before, after, limit int64
	}{
		{"bytes of heap", before.heap, f.heap, moreHeap}, {"bytes of address space", before.mapped, f.mapped, moreMapped},
		{"bytes of memory", before.resident, f.resident, moreResident},
		{"goroutines", int64(before.goroutines), int64(f.goroutines), moreRoutines}, {"open files", int64(before.open), int64(f.open), moreRoutines},
		{"files of compiled code", int64(before.files), int64(f.files), 0},
	} {
		if x.after > x.before+x.limit {
			t.Errorf("%d %s, %d before", x.after, x.what, x.before)
		}
	}
}

// badUpload is code or its claim that is refused. Each round has code with a digest of its own.
type badUpload struct {
	code        []byte
	name        string // of the function, "" is "bad"
	config      Config
	digest      string
	field, says string
}

func badUploads() map[string]badUpload {
	escape := "\x1b[31m\xff\x00\u202e"
	many := make([][]byte, 100_000)
	for i := range many {
		many[i] = code(0, i32Const(0)...)
	}
	fake64 := bytes.Replace(fake{}.build(), sec(wasm.SectionMemory, vec([]byte{0, 1})), sec(wasm.SectionMemory, vec([]byte{4, 1})), 1)
	good := fake{}.build()
	return map[string]badUpload{
		"a section that ends early":    {code: good[:len(good)-3], field: "code", says: "section 10 at byte"},
		"a section with a false count": {code: cat(wasm.Header, claim(wasm.SectionType)), field: "code", says: "section 1 at byte 8: it ends early"},
		"an unknown section":           {code: cat(good, sec(77, nil)), field: "code", says: "not supported"},
		"100,000 functions":            {code: fake{functions: many}.build(), field: "code", says: "has 100007 functions; it must be a module with at most 50000"},
		"4 GiB of memory":              {code: fake{pages: 65536}.build(), field: "memory", says: "memory is 128 MiB; it must be at least the 65536 pages"},
		"4 GiB of memory, then a trap": {code: fake{pages: 65536, start: unreachable}.build(), config: Config{MemoryBytes: 4 << 30}, field: "code", says: "unreachable"},
		"an import of nowhere":         {code: fake{imports: [][]byte{functionImport("env", "fly")}}.build(), field: "code", says: `imports "env.fly", which does not exist`},
		"a start that traps":           {code: fake{start: unreachable}.build(), field: "code", says: "while the instance was made: the start function failed: unreachable (trap)"},
		"a start that spins":           {code: fake{start: spinning}.build(), config: Config{Timeout: time.Millisecond}, field: "code", says: "timeout of 1ms"},
		"_initialize that traps":       {code: fake{initialize: unreachable}.build(), field: "code", says: "unreachable"},
		"_initialize that fills":       {code: fake{initialize: growing}.build(), config: Config{MemoryBytes: 2 << 20}, field: "code", says: "limit of 2 MiB"},
		"an import with odd bytes":     {code: fake{imports: [][]byte{functionImport("env", escape)}}.build(), field: "code", says: "which does not exist"},
		"names with odd bytes":         {code: cat(fake{start: unreachable}.build(), custom("name", cat([]byte{1}, str(string(vec(cat([]byte{5}, str(escape)))))))), field: "code", says: "name is not valid UTF-8"},
		"a name with odd bytes":        {code: good, name: escape, field: "name", says: "letters"},
		"a program for Linux":          {code: []byte("\x7fELF\x02\x01\x01"), field: "code", says: "is a program for Linux (ELF), not a WebAssembly module"},
		"a component":                  {code: []byte("\x00asm\x0d\x00\x01\x00"), field: "code", says: "component"},
		"a memory of 64 bits":          {code: fake64, field: "code", says: "has a memory of 64 bits; it must be a module for wasm32"},
		"another digest":               {code: good, digest: digestOf([]byte("other")), field: "digest", says: "it must be the digest of the code"},
	}
}

// badCall is a function whose replies or logs are too much.
type badCall struct {
	f      fake
	config Config
	kind   ErrorKind
	says   string
}

func badCalls(t *testing.T) map[string]badCall {
	reply := okReply(t)
	size := uint32(len(reply))
	odd := append(bytes.Clone(reply), 0)
	return map[string]badCall{
		"a reply behind the memory":     {f: fake{handle: packed(65536-8, size)}, kind: FailMalformed, says: "are not in the memory of 65536 bytes"},
		"a reply around the end":        {f: fake{handle: packed(0xfffffff8, 0xfffffff8)}, kind: FailMalformed, says: "are not in the memory"},
		"a reply shorter than it says":  {f: fake{handle: packed(1024, 8), data: reply}, kind: FailMalformed, says: "malformed reply"},
		"a reply longer than it says":   {f: fake{handle: packed(1024, size+1), data: odd}, kind: FailMalformed, says: "malformed reply"},
		"an input behind the memory":    {f: fake{input: i32Const(65536 - 8)}, kind: FailMalformed, says: "not in the memory"},
		"a reply of 1 GiB":              {f: fake{handle: packed(8, 1<<30), pages: 1<<14 + 1}, config: Config{MemoryBytes: 2 << 30}, kind: FailMalformed, says: "it has 1073741824 bytes, more than 67108864"},
		"a log of 1 GiB in one line":    {f: logging(0), kind: FailMalformed, says: "returned 0"},
		"a log of 1 GiB in short lines": {f: logging('\n'), config: Config{Timeout: 20 * time.Millisecond}, kind: FailTimeout, says: "timeout of 20ms"},
		"a trap":                        {f: fake{handle: unreachable}, kind: FailTrap, says: "unreachable"},
	}
}

// logging writes 1 GiB of one byte to stderr in one call of the host: 16,384 times the same 64 KiB.
func logging(with byte) fake {
	var vectors []byte
	for range 1 << 14 {
		vectors = binary.LittleEndian.AppendUint32(vectors, 1<<18)
		vectors = binary.LittleEndian.AppendUint32(vectors, 1<<16)
	}
	fill := cat(i32Const(1<<18), i32Const(int32(with)), i32Const(1<<16), []byte{0xfc, 11, 0})
	write := cat(i32Const(2), i32Const(1024), i32Const(1<<14), i32Const(0), []byte{wasm.OpCall, 0, 0x1a}, i64Const(0))
	return fake{
		imports: [][]byte{cat(str("wasi_snapshot_preview1"), str("fd_write"), []byte{wasm.ExternFunction, 4})},
		pages:   5, data: vectors, input: i32Const(160 << 10), handle: cat(fill, write),
	}
}

// Whatever is uploaded or answered is refused with an error that says why, and is gone afterwards.
func TestBadInput(t *testing.T) {
	var cache string
	w := open(t, func(o *Options) { cache, o.LogBytes, o.Logger = o.CacheDir, 64<<10, nil })
	soak := func(name string, few int, round func(t *testing.T, n int)) {
		t.Run(name, func(t *testing.T) {
			rounds := badRounds(t, few)
			for n := range min(rounds, 300) { // // until what is kept of the latest invocations is full, if it comes so far
				round(t, n)
			}
			w.quiet(t)
			stored := w.stores.all()
			before, began := measure(t, cache), time.Now()
			for n := range rounds {
				round(t, 300+n)
			}
			took := time.Since(began)
			w.quiet(t)
			after := measure(t, cache)
			after.kept(t, before)
			if now := w.stores.all(); now > stored {
				t.Errorf("%d definitions and modules are stored, %d before", now, stored)
			}
			if n := w.instances("bad"); n != 0 {
				t.Errorf("%d instances", n)
			}
			t.Logf("%d rounds of %v; heap %+d KiB, mapped %+d KiB, resident %+d KiB, goroutines %+d, open files %+d, cached files %+d", rounds, took/time.Duration(rounds),
				(after.heap-before.heap)>>10, (after.mapped-before.mapped)>>10, (after.resident-before.resident)>>10,
				after.goroutines-before.goroutines, after.open-before.open, after.files-before.files)
		})
	}
	for name, bad := range badUploads() {
		soak(name, 5, func(t *testing.T, n int) { bad.refused(t, w, n) })
		soak(name+", in the background", 3, func(t *testing.T, n int) { bad.submitted(t, w, n) })
	}
	for name, bad := range badCalls(t) {
		w.deploy(t, "bad", bad.f.build(), bad.config)
		few := 5
		if strings.Contains(name, "log of 1 GiB") {
			few = 1
		}
		soak(name, few, func(t *testing.T, _ int) {
			_, err := w.ask(t.Context(), "bad", "x")
			if f := failure(t, err, bad.kind); !strings.Contains(f.Message, bad.says) {
				t.Fatalf("message %q, want %q", f.Message, bad.says)
			}
		})
	}
	soak("a function that is removed", 5, func(t *testing.T, n int) {
		w.deploy(t, "brief", cat(fake{}.build(), custom("round", strconv.AppendInt(nil, int64(n), 10))), Config{})
		if err := w.Delete(t.Context(), "brief"); err != nil {
			t.Fatal(err)
		}
	})
}

// quiet waits until no upload is taken into service, or given up.
func (w *world) quiet(t *testing.T) {
	t.Helper()
	if err := w.store(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Runtime.stored()
}

// all is how many definitions and modules there are.
func (s *stores) all() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries) + len(s.blobs)
}

// round is its code in a round.
func (b badUpload) round(n int) []byte {
	return cat(b.code, custom("round", strconv.AppendInt(nil, int64(n), 10)))
}

// refused uploads it once, and waits.
func (b badUpload) refused(t *testing.T, w *world, n int) {
	_, err := w.DeployProven(t.Context(), cmp.Or(b.name, "bad"), b.round(n), b.config, Proof{Digest: b.digest})
	b.told(t, err)
}

// submitted uploads it once, to be compiled in the background where it is not refused at once. It is the first version, or takes the place of one that
// has failed as well.
func (b badUpload) submitted(t *testing.T, w *world, n int) {
	name := cmp.Or(b.name, "late")
	_, err := w.Submit(t.Context(), name, b.round(n), b.config, Proof{Digest: b.digest})
	if err == nil {
		if _, err = w.ask(t.Context(), name, ""); !errors.Is(err, ErrUnavailable) { // waits until it has failed
			t.Fatalf("error %v", err)
		}
	}
	b.told(t, err)
	if n%2 == 1 {
		if err := w.Delete(t.Context(), name); err != nil && !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// told looks at what the uploader is told.
func (b badUpload) told(t *testing.T, err error) {
	t.Helper()
	var field *FieldError
	if !errors.As(err, &field) {
		t.Fatalf("error %v", err)
	}
	text := err.Error()
	if field.Field != b.field || !strings.Contains(text, b.says) || !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x00\u202e") || len(text) > 1000 {
		t.Fatalf("field %s: %q; want field %s, %q", field.Field, err, b.field, b.says)
	}
}
