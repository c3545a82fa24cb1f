package wasm

import (
	"bytes"
	"errors"
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

func TestSections(t *testing.T) {
	module := append(slices.Clone(Header), SectionType, 1, 0, SectionCustom, 3, 1, 'a', 'b', SectionData, 0)
	var got []Section
	for s, err := range Sections(module) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, s)
	}
	if len(got) != 3 || got[0].ID != SectionType || got[1].Head != 11 || got[1].Body != 13 || !bytes.Equal(got[1].Bytes, []byte{1, 'a', 'b'}) || len(got[2].Bytes) != 0 {
		t.Errorf("%+v", got)
	}
	for range Sections(module) { // a caller may stop
		break
	}
	var last error
	n := 0
	for _, err := range Sections(append(module, SectionCode, 5, 0)) {
		last = err
		n++
	}
	if n != 4 || !errors.Is(last, ErrShort) {
		t.Errorf("a section that is cut off: %d, %v", n, last)
	}
}

func TestSignedNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		b := AppendSLEB(nil, n)
		r := &Reader{B: b}
		if r.LEB(10); r.Err != nil || r.Left() != 0 {
			t.Fatalf("%d takes %d bytes, and %d are read: %v", n, len(b), r.At, r.Err)
		}
		if small := int64(int32(n)); true {
			var i Instruction
			r := &Reader{B: AppendSLEB([]byte{OpI32Const}, small)}
			if r.Instruction(&i); r.Err != nil || i.Index != max(-1, small) {
				t.Fatalf("i32.const %d is read as %d, %v", small, i.Index, r.Err)
			}
		}
	})
}

// What an instruction is about is told.
func TestWhatInstructionsAreAbout(t *testing.T) {
	for name, c := range map[string]struct {
		bytes []byte
		index int64
		sub   uint32
	}{
		"a label":           {[]byte{OpBr, 0x80, 1}, 128, 0},
		"a function":        {[]byte{OpCall, 7}, 7, 0},
		"a type":            {[]byte{OpCallIndirect, 3, 1}, 3, 0},
		"a global":          {[]byte{OpGlobalSet, 2}, 2, 0},
		"no type of block":  {[]byte{OpLoop, BlockEmpty}, -64, 0},
		"a type of block":   {[]byte{OpLoop, 5}, 5, 0},
		"a value of block":  {[]byte{OpIf, 0x7f}, -1, 0},
		"where labels are":  {[]byte{OpBrTable, 1, 4, 5}, 1, 0},
		"filling":           {[]byte{OpBulk, SubMemoryFill, 0}, 0, SubMemoryFill},
		"a table":           {[]byte{OpBulk, SubTableGrow, 6}, 6, SubTableGrow},
		"a vector":          {[]byte{OpVector, 0x94, 1}, -1, 0x94},
		"nothing":           {[]byte{0x6a}, -1, 0},
		"a negative number": {[]byte{OpI32Const, 0x7e}, -1, 0},
	} {
		var i Instruction
		r := &Reader{B: append([]byte{0x01}, c.bytes...), At: 1}
		r.Instruction(&i)
		if c.bytes[0] == OpBrTable {
			i.Index-- // it is a place
		}
		if r.Err != nil || i.At != 1 || i.Op != c.bytes[0] || i.Index != c.index || i.Sub != c.sub {
			t.Errorf("%s: %+v, %v", name, i, r.Err)
		}
	}
}

func TestConstant(t *testing.T) {
	var ops []byte
	r := &Reader{B: []byte{0x23, 1, OpRefFunc, 3, OpEnd, 0xff}}
	r.Constant(func(i *Instruction) { ops = append(ops, i.Op) })
	if r.Err != nil || r.At != 5 || !bytes.Equal(ops, []byte{0x23, OpRefFunc, OpEnd}) {
		t.Errorf("%x, %d, %v", ops, r.At, r.Err)
	}
	r = &Reader{B: []byte{0x41, 0}}
	if r.Constant(nil); r.Err == nil {
		t.Error("a constant without an end is one")
	}
}

// FuzzWalk reads whatever bytes as everything: it must end, and stay within them.
func FuzzWalk(f *testing.F) {
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00"))
	f.Add([]byte{OpBlock, BlockEmpty, OpBrTable, 2, 0, 0, 0, OpEnd, OpI32Const, 0x80, 0x80, 0, 0xfd, 12})
	f.Add([]byte{0x1c, 1, 0x7f, 0xfc, 8, 0, 0, 0x44, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		for s := range Sections(b) {
			if len(s.Bytes) > len(b) {
				t.Fatal("a section is longer than the module")
			}
		}
		var i Instruction
		r := &Reader{B: b}
		for r.Err == nil && r.Left() > 0 {
			at := r.At
			if r.Instruction(&i); r.Err == nil && (r.At <= at || r.At > len(b) || i.At != at) {
				t.Fatalf("from %d to %d of %d", at, r.At, len(b))
			}
		}
		for _, read := range []func(*Reader){
			func(r *Reader) { r.Constant(nil) }, func(r *Reader) { r.ValueTypes() }, func(r *Reader) { r.Limits() }, func(r *Reader) { r.Name() },
			func(r *Reader) { r.Each((*Reader).SkipU32) },
		} {
			r := &Reader{B: b}
			if read(r); r.At > len(b) {
				t.Fatalf("at %d of %d", r.At, len(b))
			}
		}
	})
}
