// Package quickjs makes functions of JavaScript and TypeScript: it bundles sources, and has the engine that runs them.
//
// A source becomes a [Script] in three steps: [Bundle] makes one source of many files, where there are many, on its author's machine;
// [Compile] makes a script of it, with a source map, on the host; [Script.Input] is what the engine reads. The engine is [Module], one WebAssembly
// module that is the same for all scripts and a function by sdk/abi.md: QuickJS-NG as npm's quickjs-wasi has it (quickjs.wasm, README.md says
// how it was got), linked with glue.wat, which turns the ABI's calls into calls of sdk/js/runtime.js.
//
// # Guarantees
//
// quickjs.wasm is as it was published; a test has its checksum. Linking changes no instruction of it but the numbers of the functions that it
// calls. The same source gives the same script.
//
// # Non-goals
//
// It runs nothing: package runtime does, as it runs every module, with the same limits. Compile does not bound the stack and the time that
// hostile sources take; whoever takes sources from strangers runs it in a process of its own.
package quickjs
