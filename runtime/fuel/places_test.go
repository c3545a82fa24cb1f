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

// Every instruction of the original is where the places say, in order, and what was added stands before one of them. A short loop's rounds are there
// twice.
func TestPlaces(t *testing.T) {
	r, again := rand.New(rand.NewPCG(3, 4)), 0
	for range 40 {
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
			again += checkPlaces(t, f, list, now[f], places)
		}
	}
	if again == 0 {
		t.Error("no loop was there twice")
	}
}

// checkPlaces compares a function with what it has become, and counts the loops that are there twice.
func checkPlaces(t *testing.T, f int, list, now []located, places *Places) (again int) {
	t.Helper()
	index := map[uint32]int{}
	for n, i := range list {
		index[i.at] = n
	}
	last, seen := -1, 0
	for n, i := range now {
		place := places.Original(i.at)
		at, ok := index[place]
		if !ok {
			t.Fatalf("function %d: %#x at %d is said to be from %d, where nothing begins", f, i.op, i.at, place)
		}
		if n+1 < len(now) && places.Original(now[n+1].at) == place {
			continue // added before another from there
		}
		switch {
		case at == last+1:
		case at > 0 && at < last && list[at-1].op == wasm.OpLoop && list[last].op == wasm.OpEnd:
			again++
		default:
			t.Fatalf("function %d: what is from %d follows what is from %d", f, place, list[last].at)
		}
		if i.op != list[at].op && (list[at].op != wasm.OpBulk || i.op != wasm.OpCall) {
			t.Fatalf("function %d: %#x at %d is said to be %#x at %d", f, i.op, i.at, list[at].op, place)
		}
		last, seen = at, max(seen, at+1)
	}
	if seen != len(list) {
		t.Fatalf("function %d: %d of %d instructions are there", f, seen, len(list))
	}
	return again
}
