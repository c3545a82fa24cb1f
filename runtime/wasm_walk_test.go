package runtime

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"pgregory.net/rapid"
)

// Every form of instruction, by the specification's binary encoding. Each must be walked to its end exactly.
func TestInstructionForms(t *testing.T) {
	for name, instruction := range map[string][]byte{
		"nop":                 {0x01},
		"block":               {0x02, 0x40},
		"block of a type":     {0x02, 0xff, 0x00},
		"br":                  {0x0c, 0x80, 0x01},
		"br_table":            {0x0e, 2, 0, 1, 2},
		"br_table of one":     {0x0e, 0, 0},
		"call":                {0x10, 0x80, 0x80, 0x01},
		"call_indirect":       {0x11, 5, 0x80, 0x01},
		"select":              {0x1b},
		"typed select":        {0x1c, 1, 0x7f},
		"local.get":           {0x20, 0x7f},
		"table.get":           {0x25, 1},
		"i32.load":            {0x28, 2, 0xff, 0xff, 0x03},
		"i64.store32":         {0x3e, 2, 8},
		"load of a memory":    {0x28, 0x42, 1, 8},
		"memory.size":         {0x3f, 0},
		"memory.grow":         {0x40, 0},
		"i32.const":           {0x41, 0x80, 0x80, 0x80, 0x80, 0x78},
		"i64.const":           {0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f},
		"f32.const":           {0x43, 1, 2, 3, 4},
		"f64.const":           {0x44, 1, 2, 3, 4, 5, 6, 7, 8},
		"i32.add":             {0x6a},
		"i64.extend32_s":      {0xc4},
		"ref.null":            {0xd0, 0x70},
		"ref.is_null":         {0xd1},
		"ref.func":            {0xd2, 9},
		"i32.trunc_sat_f32_s": {0xfc, 0},
		"memory.init":         {0xfc, 8, 1, 0},
		"data.drop":           {0xfc, 9, 1},
		"memory.copy":         {0xfc, 10, 0, 0},
		"memory.fill":         {0xfc, 11, 0},
		"table.init":          {0xfc, 12, 1, 0},
		"elem.drop":           {0xfc, 13, 1},
		"table.copy":          {0xfc, 14, 0, 0},
		"table.grow":          {0xfc, 15, 0},
		"table.size":          {0xfc, 16, 0},
		"table.fill":          {0xfc, 17, 0},
		"v128.load":           {0xfd, 0, 4, 16},
		"v128.store":          {0xfd, 11, 4, 16},
		"v128.const":          cat([]byte{0xfd, 12}, make([]byte, 16)),
		"i8x16.shuffle":       cat([]byte{0xfd, 13}, make([]byte, 16)),
		"i8x16.splat":         {0xfd, 15},
		"i8x16.extract_lane":  {0xfd, 21, 3},
		"f64x2.replace_lane":  {0xfd, 34, 1},
		"v128.load8_lane":     {0xfd, 84, 0, 0, 3},
		"v128.load32_zero":    {0xfd, 92, 2, 0},
		"i8x16.add":           {0xfd, 110},
		"f64x2.nearest":       {0xfd, 0x94, 0x01},
	} {
		r := &reader{b: append(slices.Clone(instruction), opEnd, 0xff)}
		var seen codeTraits
		r.instruction(&seen)
		if r.err != nil || r.at != len(instruction) {
			t.Errorf("%s: walked %d of %d bytes: %v", name, r.at, len(instruction), r.err)
		}
		for short := range instruction {
			r := &reader{b: instruction[:short]}
			if r.instruction(&seen); r.err == nil {
				t.Errorf("%s: cut to %d bytes, it is walked without an error", name, short)
			}
		}
	}
	for _, unknown := range [][]byte{{0x06}, {0x16}, {0x27}, {0xc5}, {0xd3}, {0xfb}, {0xfe, 0}, {0xff}, {0xfc, 18}, {0xfd, 0x80, 0x02}} {
		r := &reader{b: append(unknown, make([]byte, 20)...)}
		if r.instruction(new(codeTraits)); r.err == nil {
			t.Errorf("%#x is walked without an error", unknown)
		}
	}
}

func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		r := &reader{b: appendLEB(nil, n)}
		if got := r.leb(10); got != n || r.err != nil || r.left() != 0 {
			t.Fatalf("%d became %d, %v", n, got, r.err)
		}
		r = &reader{b: appendLEB(nil, n)}
		if got := r.u32(); n < 1<<32 && (uint64(got) != n || r.err != nil) || n >= 1<<32 && r.err == nil {
			t.Fatalf("%d became %d, %v", n, got, r.err)
		}
	})
}

// The error of a reader is the first one, and nothing moves after it.
func TestReaderStopsAtItsFirstError(t *testing.T) {
	r := &reader{b: []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 2, 3}}
	if r.u32(); r.err != errNumber {
		t.Fatalf("error %v", r.err)
	}
	at := r.at
	if r.byte() != 0 || r.u32() != 0 || r.name() != "" || r.count() != 0 || r.valueTypes() != "" {
		t.Error("it reads on")
	}
	if r.skip(1); r.at != at || r.err != errNumber {
		t.Errorf("moved from %d to %d, error %v", at, r.at, r.err)
	}
}

func TestManyEntriesAreRefused(t *testing.T) {
	types := bytes.Repeat([]byte{0x60, 0, 0}, maxEntries+1)
	_, err := inspect(cat(wasmHeader, sec(sectionType, cat(appendLEB(nil, maxEntries+1), types))))
	if err == nil || !strings.Contains(err.Error(), "more than 1000000") {
		t.Errorf("error %v", err)
	}
	if _, err = inspect(cat(wasmHeader, sec(sectionType, cat(appendLEB(nil, maxEntries), types[3:])))); err != nil {
		t.Errorf("exactly as many as are allowed: %v", err)
	}
}

func TestSignatures(t *testing.T) {
	var many []byte
	for range 100 {
		many = append(many, i64)
	}
	module := cat(wasmHeader,
		sec(sectionType, vec([]byte{0x60, 2, i32, 0x7d, 2, i64, 0x7b}, cat([]byte{0x60, 100}, many, []byte{0}))),
		sec(sectionImport, vec(
			cat(str("m"), str("f"), []byte{externFunction, 0}), cat(str("m"), str("many"), []byte{externFunction, 1}),
			cat(str("m"), str("memory"), []byte{externMemory, 1, 2, 3}), cat(str("m"), str("g"), []byte{externGlobal, i32, 0}),
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

// A module with guards computes what it computed without them.
func TestGuardsChangeNothing(t *testing.T) {
	ctx := context.Background()
	// f(7) = 1, f(8) = f(7)+f(7) … the last is 2^10.
	functions := [][]byte{code(0, i32Const(1)...)}
	for i := range 10 {
		callee := byte(7 + i)
		functions = append(functions, code(2, opCall, callee, opCall, callee, 0x6a))
	}
	whole := fake{functions: functions, input: []byte{opCall, 17}}.build()
	info, err := inspect(whole)
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	for _, b := range [][]byte{whole, guardCalls(whole, info.guards)} {
		m, err := r.InstantiateWithConfig(ctx, b, wazero.NewModuleConfig().WithName(""))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.ExportedFunction("shardmill_input").Call(ctx, 0); err != nil || got[0] != 1024 {
			t.Errorf("%v, %v", got, err)
		}
	}
	if len(info.guards) != 11 {
		t.Errorf("%d guards", len(info.guards))
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
