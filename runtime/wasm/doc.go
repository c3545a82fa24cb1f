// Package wasm reads WebAssembly's binary format from bytes of unknown origin: numbers, vectors, sections and
// instructions.
//
// A [Reader] reads primitive forms, [Sections] divides a module, [Reader.Instruction] walks code instruction by instruction. It knows the
// instructions of WebAssembly 2.0 (the first version, sign extension, saturating truncation, several results, bulk memory,
// reference types, vectors) and tail calls. The engine has threads and exceptions switched off, and their instructions are errors here.
//
// # Guarantees
//
// Nothing panics or reads beyond the bytes, whatever they are, and nothing is allocated by a count that the bytes claim. Errors
// are the end of a sentence about the module.
//
// # Non-goals
//
// Whether code is valid, well-typed and well-nested, is the engine's to say.
package wasm
