package wasm

import (
	"slices"
	"testing"

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
		"v128.const":          append([]byte{0xfd, 12}, make([]byte, 16)...),
		"i8x16.shuffle":       append([]byte{0xfd, 13}, make([]byte, 16)...),
		"i8x16.splat":         {0xfd, 15},
		"i8x16.extract_lane":  {0xfd, 21, 3},
		"f64x2.replace_lane":  {0xfd, 34, 1},
		"v128.load8_lane":     {0xfd, 84, 0, 0, 3},
		"v128.load32_zero":    {0xfd, 92, 2, 0},
		"i8x16.add":           {0xfd, 110},
		"f64x2.nearest":       {0xfd, 0x94, 0x01},
	} {
		r := &Reader{B: append(slices.Clone(instruction), OpEnd, 0xff)}
		var i Instruction
		r.Instruction(&i)
		if r.Err != nil || r.At != len(instruction) {
			t.Errorf("%s: walked %d of %d bytes: %v", name, r.At, len(instruction), r.Err)
		}
		for short := range instruction {
			r := &Reader{B: instruction[:short]}
			if r.Instruction(&i); r.Err == nil {
				t.Errorf("%s: cut to %d bytes, it is walked without an error", name, short)
			}
		}
	}
	for _, unknown := range [][]byte{{0x06}, {0x16}, {0x27}, {0xc5}, {0xd3}, {0xfb}, {0xfe, 0}, {0xff}, {0xfc, 18}, {0xfd, 0x80, 0x02}} {
		r := &Reader{B: append(unknown, make([]byte, 20)...)}
		if r.Instruction(new(Instruction)); r.Err == nil {
			t.Errorf("%#x is walked without an error", unknown)
		}
	}
}

func TestNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64().Draw(t, "n")
		r := &Reader{B: AppendLEB(nil, n)}
		if got := r.LEB(10); got != n || r.Err != nil || r.Left() != 0 {
			t.Fatalf("%d became %d, %v", n, got, r.Err)
		}
		r = &Reader{B: AppendLEB(nil, n)}
		if got := r.U32(); n < 1<<32 && (uint64(got) != n || r.Err != nil) || n >= 1<<32 && r.Err == nil {
			t.Fatalf("%d became %d, %v", n, got, r.Err)
		}
	})
}

// The error of a reader is the first one, and nothing moves after it.
func TestReaderStopsAtItsFirstError(t *testing.T) {
	r := &Reader{B: []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 2, 3}}
	if r.U32(); r.Err != ErrNumber {
		t.Fatalf("error %v", r.Err)
	}
	at := r.At
	if r.Byte() != 0 || r.U32() != 0 || r.Name() != "" || r.Count() != 0 || r.ValueTypes() != "" {
		t.Error("it reads on")
	}
	if r.Skip(1); r.At != at || r.Err != ErrNumber {
		t.Errorf("moved from %d to %d, error %v", at, r.At, r.Err)
	}
}
