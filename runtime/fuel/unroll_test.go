package fuel

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// counted is a loop of so many rounds, counted down in local 1, whose body writes the round to where it says; more comes behind that. It begins with
// the opcodes in front.
func counted(rounds int64, front, more []byte) []byte {
	note := []byte{wasm.OpLocalGet, 1, wasm.OpLocalGet, 1, 0x36, 2, 8} // i32.store
	down := []byte{wasm.OpLocalGet, 1, wasm.OpI32Const, 4, opI32Sub, wasm.OpLocalSet, 1}
	return join(i32Const(4*rounds), []byte{wasm.OpLocalSet, 1}, front, note, down, more)
}

// A short loop computes what it did before, however often it is gone through and wherever it is left.
func TestShortLoops(t *testing.T) {
	again := []byte{wasm.OpLocalGet, 1, wasm.OpBrIf, 0}
	at := func(n int64) []byte { return join([]byte{wasm.OpLocalGet, 1}, i32Const(4*n), []byte{0x46}) } // i32.eq
	keep := []byte{wasm.OpLocalSet, 0, wasm.OpI32Const, 0, wasm.OpLocalGet, 0, 0x36, 2, 4}
	loop := []byte{wasm.OpLoop, wasm.BlockEmpty}
	end := []byte{wasm.OpEnd}
	for name, body := range map[string]func(rounds int64) []byte{
		"at its end": func(n int64) []byte { return join(counted(n, loop, again), end) },
		"with a value": func(n int64) []byte {
			return join(counted(n, []byte{wasm.OpLoop, typeI32}, again), []byte{wasm.OpLocalGet, 1, wasm.OpI32Const, 7, opI32Add}, end, keep)
		},
		"by a branch around it": func(n int64) []byte {
			out := join(at(2), []byte{wasm.OpBrIf, 1}, again)
			return join(counted(n, join([]byte{wasm.OpBlock, wasm.BlockEmpty}, loop), out), end, end)
		},
		"by a branch with a value": func(n int64) []byte {
			out := join(i32Const(5), at(2), []byte{wasm.OpBrIf, 1, 0x1a}, again)
			return join(counted(n, join([]byte{wasm.OpBlock, typeI32}, loop), out), end, i32Const(6), end, keep)
		},
		"out of the function": func(n int64) []byte {
			return join(counted(n, loop, join(at(1), []byte{wasm.OpIf, wasm.BlockEmpty, wasm.OpReturn, wasm.OpEnd}, again)), end, i32Const(9), keep)
		},
		"from within blocks": func(n int64) []byte {
			inside := join([]byte{wasm.OpBlock, wasm.BlockEmpty}, at(3), []byte{wasm.OpIf, wasm.BlockEmpty, wasm.OpBr, 2, wasm.OpElse}, at(1),
				[]byte{wasm.OpBrIf, 1, wasm.OpLocalGet, 1, wasm.OpBrIf, 2, wasm.OpBr, 3, wasm.OpEnd, wasm.OpEnd}, again)
			return join(counted(n, join([]byte{wasm.OpBlock, wasm.BlockEmpty}, loop), inside), end, end)
		},
		"by a trap": func(n int64) []byte {
			return join(counted(n, loop, join(at(1), []byte{wasm.OpIf, wasm.BlockEmpty, wasm.OpUnreachable, wasm.OpEnd}, again)), end)
		},
		"never, but for its steps": func(n int64) []byte {
			return join(counted(n, loop, join(at(-3), []byte{wasm.OpIf, wasm.BlockEmpty, wasm.OpReturn, wasm.OpEnd, wasm.OpBr, 0})), end)
		},
		"in a loop": func(n int64) []byte {
			outer := []byte{wasm.OpI32Const, 3, wasm.OpLocalSet, 0, wasm.OpLoop, wasm.BlockEmpty}
			return join(outer, counted(n, loop, again), end,
				[]byte{wasm.OpLocalGet, 0, wasm.OpI32Const, 1, opI32Sub, wasm.OpLocalTee, 0, wasm.OpBrIf, 0, wasm.OpEnd})
		},
	} {
		for rounds := range int64(6) {
			if rounds == 0 && name != "never, but for its steps" {
				continue // the first round makes it negative, and it would never end
			}
			code := module{bodies: [][]byte{body(rounds)}}.build()
			if _, pieces := (&unroller{l: &layout{}}).unroll(append([]byte{1, 2, typeI32}, append(body(rounds), wasm.OpEnd)...)); pieces == nil {
				t.Errorf("left %s: it is not short", name)
			}
			_, plain, want := start(t, code, 0, 0)
			_, rewritten, got := start(t, rewrite(t, code), 100, 0)
			if a, b := plain(), rewritten(); reason(a) != reason(b) || !bytes.Equal(want, got) {
				t.Errorf("left %s after %d rounds: plain %v, rewritten %v, the same memory: %v", name, rounds, a, b, bytes.Equal(want, got))
			}
		}
	}
}

// The loops that stay as they are: long ones, those around others, and those that call or take long by themselves.
func TestLoopsThatAreNotShort(t *testing.T) {
	back := []byte{wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpEnd}
	work := bytes.Repeat([]byte{wasm.OpI32Const, 0, wasm.OpLocalSet, 0}, unrollWeight/2+1)
	for name, body := range map[string][]byte{
		"a long one":                 join([]byte{wasm.OpLoop, 0x40}, work, back),
		"a light one with much code": join([]byte{wasm.OpLoop, 0x40}, bytes.Repeat([]byte{0x01}, unrollBytes), back),
		"one passed once":            {wasm.OpLoop, 0x40, wasm.OpI32Const, 0, 0x1a, wasm.OpEnd},
		"one with a parameter":       join([]byte{wasm.OpI32Const, 1, wasm.OpLoop, sigBlock, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpEnd, 0x1a}),
		"one that calls":             join([]byte{wasm.OpLoop, 0x40, wasm.OpCall, 1}, back),
		"one that grows":             join([]byte{wasm.OpLoop, 0x40, wasm.OpI32Const, 0, wasm.OpMemoryGrow, 0, 0x1a}, back),
		"one with a table":           join([]byte{wasm.OpLoop, 0x40, wasm.OpLocalGet, 1, wasm.OpBrTable, 1, 0, 1, wasm.OpEnd}),
		"one with what nobody knows": {wasm.OpLoop, 0x40, 0xff, wasm.OpBrIf, 0, wasm.OpEnd},
	} {
		code := append([]byte{1, 2, typeI32}, append(body, wasm.OpEnd)...)
		if got, pieces := (&unroller{l: &layout{}}).unroll(code); pieces != nil || !bytes.Equal(got, code) {
			t.Errorf("%s is written twice", name)
		}
	}
}

// What the engine refuses in a loop it refuses in what becomes of it.
func TestWrongLoops(t *testing.T) {
	for name, body := range map[string][]byte{
		"a value too many":  {wasm.OpLoop, 0x40, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpI32Const, 0, wasm.OpEnd},
		"a value too few":   {wasm.OpLoop, typeI32, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpEnd, 0x1a},
		"another type":      {wasm.OpLoop, typeI32, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, opI64Const, 0, wasm.OpEnd, 0x1a},
		"no such label":     {wasm.OpLoop, 0x40, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpLocalGet, 1, wasm.OpBrIf, 2, wasm.OpEnd},
		"an else of no if":  {wasm.OpLoop, 0x40, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpElse, wasm.OpEnd},
		"it is not closed":  {wasm.OpLoop, 0x40, wasm.OpLocalGet, 1, wasm.OpBrIf, 0},
		"what is around it": {wasm.OpI32Const, 0, wasm.OpLoop, 0x40, 0x1a, wasm.OpLocalGet, 1, wasm.OpBrIf, 0, wasm.OpEnd, wasm.OpI32Const, 0},
	} {
		e := newEngine(t, wazero.NewRuntimeConfigCompiler(), 1000)
		plain := module{bodies: [][]byte{body}}.build()
		if _, err := e.CompileModule(t.Context(), plain); err == nil {
			t.Errorf("%s: the engine takes it", name)
		}
		code, err := Rewrite(plain)
		if err == nil {
			_, err = e.CompileModule(t.Context(), code)
		}
		if err == nil || strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
