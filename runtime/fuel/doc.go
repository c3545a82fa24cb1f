// Package fuel rewrites a WebAssembly module so that it pays for what it executes and can be stopped.
//
// [Rewrite] adds a counter and code that counts it down by the instructions that are about to be executed. Where the counter has
// fallen below zero the host is called, which fills it again, or stops the guest by a panic.
//
// # What is added
//
//	import  shardmill:meter refill   function () -> ()   behind the functions that the module imports
//	export  shardmill:fuel           global, mutable i64, initially 0; behind the module's own
//	custom sections                  debug information that says nothing, see [Beacon]; where the module has some
//	functions                        up to three, behind the module's own: for what has a length
//
// So only the indices of the module's own functions change, by one, and they are changed wherever they stand. Custom sections are dropped but for
// names: the functions keep theirs in stack traces, and one without has its original number there. DWARF is dropped, because its
// offsets would not fit; [Places] has them. Nothing of what is added can be reached by the module: an index out of its own range is an error.
//
// # What is charged
//
// A function is divided into segments, runs of instructions that are executed as a whole. A segment is charged for where it begins;
// a short one, and not too many of those, together with one that is always executed before it, so that a branch that is not taken may be
// paid for too. An instruction costs 1; block, loop, else, end, nop and drop nothing; calls, divisions and what takes long more
// (weight.go). What has a length, filling memory say, costs by the length. The price does not depend on how often the
// host refills: equal runs use equal fuel.
//
// # Where a guest can be stopped
//
// At the head of every loop that is a loop, and where a function begins that calls another before it has passed such a head; and
// filling and copying memory is done in pieces of 1 MiB. A short loop with no other in it, no parameters, calls nor a table of jumps, is written twice, the second round behind
// the first, so that it is looked at before every second one; a light second round may be paid for also when the loop ends with the first. Between two of those there is only straight code, which ends.
// This is also why the counter may be below zero when it is looked at: by what was charged since.
//
// # Guarantees
//
// A rewritten module computes what the original does, and fails where it does for the same reason: shown by the specification's test suite and by random
// modules, run both ways. No bytes make Rewrite panic.
//
// # Non-goals
//
// It does not validate: what the engine refuses in the original it refuses in what Rewrite makes of it, except for damage in the
// custom sections that are dropped.
package fuel
