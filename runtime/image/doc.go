// Package image divides a WebAssembly module into code, and the memory that its instances begin with.
//
// [Divide] makes a module that has no data and no start function, and exports its mutable globals. An instance of it is whatever its
// memory and its globals are made to be: what the module's own instance begins with ([Plan.Fill], then the function [ExportStart]), or what
// another instance had come to. So an instance can begin where one that has run its initialization was, without running it.
//
// # What makes an instance
//
//	memory            the embedder's: it has all of it
//	globals           immutable ones are what they were declared as; mutable ones are exported, as Global(0), Global(1), …
//	tables            what the element segments make of them, in every instance: the code has no instruction that changes a table
//	segments          the code has no instruction that reads or drops one
//	functions, types  of the module, the same in every instance
//
// A module that has more state than that is not divided, and the error says which.
//
// # Guarantees
//
// Divide changes no instruction, no index and no name. What the engine refuses in the original is refused in what Divide makes of it, or is an error of
// Divide: it reads with care what it takes away. No bytes make it panic.
//
// # Non-goals
//
// It knows no engine and no operating system. It does not say whether it is wise to copy an instance: see [HashesOnly] for one thing that should not be.
package image
