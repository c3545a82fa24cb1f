package runtime

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shardmill/shardmill/runtime/wasm"
)

func TestManyEntriesAreRefused(t *testing.T) {
	types := bytes.Repeat([]byte{0x60, 0, 0}, wasm.MaxEntries+1)
	_, err := inspect(cat(wasm.Header, sec(wasm.SectionType, cat(wasm.AppendLEB(nil, wasm.MaxEntries+1), types))))
	if err == nil || !strings.Contains(err.Error(), "more than 1000000") {
		t.Errorf("error %v", err)
	}
	if _, err = inspect(cat(wasm.Header, sec(wasm.SectionType, cat(wasm.AppendLEB(nil, wasm.MaxEntries), types[3:])))); err != nil {
		t.Errorf("exactly as many as are allowed: %v", err)
	}
}

func TestLargeFunctionsAreRefused(t *testing.T) {
	_, err := inspect(fake{functions: [][]byte{code(0, cat(bytes.Repeat([]byte{1}, maxBody), i32Const(0))...)}}.build())
	if err == nil || !strings.Contains(err.Error(), "bytes of code in a function; it must be a module with at most 7654321") {
		t.Errorf("error %v", err)
	}
	if _, err := inspect(fake{functions: [][]byte{code(0, cat(bytes.Repeat([]byte{1}, maxBody-10), i32Const(0))...)}}.build()); err != nil {
		t.Errorf("a little less: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	var many []byte
	for range 100 {
		many = append(many, i64)
	}
	module := cat(wasm.Header,
		sec(wasm.SectionType, vec([]byte{0x60, 2, i32, 0x7d, 2, i64, 0x7b}, cat([]byte{0x60, 100}, many, []byte{0}))),
		sec(wasm.SectionImport, vec(
			cat(str("m"), str("f"), []byte{wasm.ExternFunction, 0}), cat(str("m"), str("many"), []byte{wasm.ExternFunction, 1}),
			cat(str("m"), str("memory"), []byte{wasm.ExternMemory, 1, 2, 3}), cat(str("m"), str("g"), []byte{wasm.ExternGlobal, i32, 0}),
		)),
	)
	info, err := inspect(module)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.imports[0].signature; got != "(i32, f32) -> i64, v128" {
		t.Errorf("signature %q", got)
	}
	if info.memoryPages != 2 || len(info.imports) != 4 || len(info.imports[1].signature) > 100 {
		t.Errorf("%+v", info)
	}
}

// The ring against a plain slice: what is kept is the end of what was appended, within the limit, and a reader
// that goes on sees every line once or is told how many it missed.
func TestLogRingModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(0, 2000).Draw(t, "limit")
		r := newLogRing(limit)
		total, next, seen, missed := 0, uint64(0), 0, 0
		buf := make([]LogLine, 0, rapid.IntRange(1, 5).Draw(t, "buffer"))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 2).Draw(t, "read") > 0 {
				r.append(LogLine{Message: fmt.Sprint(total) + strings.Repeat("x", rapid.IntRange(0, 300).Draw(t, "length"))})
				total++
				continue
			}
			lines, number, wait := r.read(next, buf)
			missed += int(number - next)
			for i, l := range lines {
				if want := fmt.Sprint(int(number) + i); strings.TrimRight(l.Message, "x") != want {
					t.Fatalf("line %q, want %s", l.Message, want)
				}
			}
			if (wait == nil) != (len(lines) > 0) {
				t.Fatalf("%d lines and wait %v", len(lines), wait)
			}
			seen += len(lines)
			next = number + uint64(len(lines))
			if wait != nil && seen+missed != total {
				t.Fatalf("seen %d and missed %d of %d", seen, missed, total)
			}
		}
		kept := r.values[r.head:]
		size := 0
		for _, l := range kept {
			size += l.size()
		}
		if size != r.used || len(kept) > 1 && size > limit || int(r.first)+len(kept) != total {
			t.Fatalf("%d lines of %d bytes are kept from %d of %d on, it counts %d, the limit is %d", len(kept), size, r.first, total, r.used, limit)
		}
	})
}
