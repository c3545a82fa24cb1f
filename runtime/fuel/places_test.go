package fuel

import (
	"math/rand/v2"
	"testing"

	"github.com/shardmill/shardmill/runtime/wasm"
)

type located struct {
	at uint32 // in the code section
	op byte
}

// functionsOf are the instructions of every function of a module.
func functionsOf(t *testing.T, code []byte) (out [][]located) {
	t.Helper()
	for s, err := range wasm.Sections(code) {
		if err != nil {
			t.Fatal(err)
		}
		if s.ID != wasm.SectionCode {
			continue
		}
		r := &wasm.Reader{B: s.Bytes}
		r.Each(func(r *wasm.Reader) {
			body := r.Bytes()
			start := r.At - len(body)
			b := &wasm.Reader{B: body}
			b.Each(func(b *wasm.Reader) { b.SkipU32(); b.Skip(1) })
			var list []located
			var i wasm.Instruction
			for b.Err == nil && b.Left() > 0 {
				b.Instruction(&i)
				list = append(list, located{uint32(start + i.At), i.Op})
			}
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			out = append(out, list)
		})
	}
	return out
}

// Every instruction of the original is where the places say, in order, and what was added stands before one of them.
func TestPlaces(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		choices := make([]byte, 1000)
		for i := range choices {
			choices[i] = byte(r.Uint32())
		}
		code := (&generator{choices: choices}).module()
		if _, places, err := RewriteWithPlaces(code); err != nil || places != nil {
			t.Fatalf("a module without lines has places: %v", err)
		}
		code = wasm.AppendBytes(append(code, wasm.SectionCustom), wasm.AppendBytes(nil, ".debug_line"))
		rewritten, places, err := RewriteWithPlaces(code)
		if err != nil || places == nil {
			t.Fatalf("a module with lines has no places: %v", err)
		}
		was, now := functionsOf(t, code), functionsOf(t, rewritten)
		for f, list := range was {
			next := 0 // the instruction of the original that is due
			for _, i := range now[f] {
				place := places.Original(i.at)
				for next < len(list) && list[next].at < place {
					t.Fatalf("function %d: the instruction at %d is nowhere", f, list[next].at)
				}
				if next == len(list) || place != list[next].at {
					t.Fatalf("function %d: %#x at %d is said to be from %d", f, i.op, i.at, place)
				}
				own := i.op == list[next].op || list[next].op == wasm.OpBulk && i.op == wasm.OpCall
				if own && (next+1 == len(list) || last(now[f], i.at, places) == i.at) {
					next++
				}
			}
			if next != len(list) {
				t.Fatalf("function %d: %d of %d instructions are there", f, next, len(list))
			}
		}
	}
}

// last is the last of the instructions that are from the same place as the one at.
func last(list []located, at uint32, places *Places) uint32 {
	found := at
	for _, i := range list {
		if i.at > found && places.Original(i.at) == places.Original(at) {
			found = i.at
		}
	}
	return found
}
