// Package capsule is what is kept of one invocation so that it can be run again: a [Capsule] is the call as the function had it, what
// it read of clocks and random numbers, and what became of it. A [Store] keeps capsules as files in a folder, the newest of them.
//
// # The file
//
// A capsule is two lines of JSON: a [Summary], so that a list need not read the records, and the whole [Capsule]. Bytes are base64;
// records are a record batch (sdk/record). [Decode] takes bytes from anywhere.
//
// # Guarantees
//
// A capsule that Put has answered is on disk, and there as a whole or not at all. The store holds at most so many capsules and bytes:
// the oldest go first. A file that cannot be read is left out of the list and logged.
//
// # Non-goals
//
// It runs nothing: runtime makes and replays capsules.
package capsule
