// Package capsule is what is kept of one invocation so that it can be run again: a [Capsule] is the call as the function had it, what
// it read of clocks and random numbers, what the host answered it, and what became of it. A [Store] keeps capsules as files in a folder, the newest of them.
//
// # The file
//
// A capsule is two lines of JSON: a [Summary], so that a list need not read the records, and the whole [Capsule]. Bytes are base64;
// records are a record batch (sdk/record). [Decode] takes bytes from anywhere. Files of format 1, without answers of the host, are still read.
//
// # Secrets
//
// Values of secrets are not in a capsule: of an answer that hands one over there is its name, and where another answer has the value (6 bytes or
// more) in it, a [Cut] stands for it. Of a question only its [Digest] is kept, of a state entry also table and key, of a request method and URL,
// without such values. What the function itself makes of a value (its base64, what it emits) is not recognized.
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
