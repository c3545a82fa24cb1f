package image

import (
	"bytes"

	"github.com/shardmill/shardmill/runtime/wasm"
)

// HashesOnly says, of the body of a name section, that the module is a Go program which does not use numbers that its run-time draws from what it
// seeded at its start: neither math/rand's nor those that packages take from the run-time by its old names. What is left are the seeds of its
// maps' hashes, which no program can see.
func HashesOnly(names []byte) bool {
	const functions = 1
	r := &wasm.Reader{B: names}
	isGo, draws := false, false
	for r.Err == nil && r.Left() > 0 {
		id, part := r.Byte(), &wasm.Reader{B: r.Bytes()}
		if id != functions {
			continue
		}
		part.Each(func(r *wasm.Reader) {
			r.SkipU32()
			name := r.Bytes()
			isGo = isGo || bytes.Equal(name, goEntry)
			draws = draws || drawsFromSeed(name)
		})
		r.Fail(part.Err)
	}
	return r.Err == nil && isGo && !draws
}

// goEntry is the function in which a Go program seeds itself.
var goEntry = []byte("runtime.randinit")

// drawsFromSeed is whether a function of a Go program has that name because it draws from the run-time's generator for the program. The linker
// writes '_' for what is no letter, digit or point, and leaves out functions that nothing can call.
func drawsFromSeed(name []byte) bool {
	switch {
	case bytes.HasPrefix(name, []byte("runtime.fastrand")):
		return true
	case bytes.HasPrefix(name, []byte("math_rand")):
		return bytes.Contains(name, []byte("runtimeSource"))
	}
	return false
}
