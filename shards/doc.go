// Package shards is the log: streams of shards of records, kept durably, with named checkpoints of those who
// read them.
//
// # Types
//
// A [Store] is all streams of a host; it creates, deletes, lists and describes them. A [Stream] is a handle
// on one: it puts records, keeps checkpoints and lists damage. A [Reader] reads one shard. [Hash] is a hash
// key and [ShardID] the number of a shard. [Log] is what a stream is kept in: package journal is the embedded
// one, and the conformance suite in this package's tests says what another has to do.
//
// # Shards and hash keys
//
// The hash key of a record is the MD5 of its partition key's UTF-8 bytes, read as a big-endian number of 128
// bits, or the explicit hash key that it carries. The open shards of a stream divide the 2^128 hash keys
// between them. A stream of n shards is created with these ranges, as Kinesis creates them:
//
//	shard i of n:  floor(2^128/n)·i  to  floor(2^128/n)·(i+1) - 1, the last one to 2^128 - 1
//
// # Changing the shards
//
// Split, Merge and Resize close shards and open others in their place while puts and reads go on. The moment of the change is
// the write of the definition; a put goes by the shape before it or the one after it, as a whole. Before the write the new shards
// are opened in the log, and the closing ones are sealed there: a put that runs into one waits for the write and goes to the
// child, so that what has been acknowledged into a parent is before everything in its children, for each key. Puts into other
// shards do not wait. A crash in between leaves the old shape; what was opened for the new one is forgotten later.
//
// A closed shard is read to its end as before; there its readers get a *ShardEndError with the children, also those that were
// waiting for its next record. When it has been closed for as long as the retention it leaves the definition, with its
// checkpoints; its children go on naming it.
//
// A child has one parent or two, and takes the hash keys that it names from each of them: all of them after a merge, some after a
// split, and after Resize perhaps some of each of two neighbours. Where a range of Resize takes from more than two shards, they are
// merged in pairs first, into shards that are closed from the beginning and never had a record. A reader that goes on with the children of every
// shard, when all their parents have been read, sees every record once and each key's in order.
//
// # Limits and scaling
//
// Under LimitsAWS each open shard takes 1 MiB and 1,000 records a second, and at most so much at once; a record above that is not
// put, with ErrThrottled as its result. A record larger than 1 MiB is taken when nothing else has been for a second, and its shard takes
// nothing until the time for it has passed. A put that is all or nothing is taken whole on the same terms, because it could never be otherwise.
//
// The shards of a stream that is on demand are chosen by the store: a shard that has been hot is split, at the median of
// what goes into it, unless most of that is of one hash key; neighbours that have been cold are merged. See Scaling. Producers and
// readers meet such a change as they meet any other.
//
// # Guarantees
//
//   - A put that has returned without an error is on disk, each record in the shard of its hash key, in the
//     order of the put within each shard. What is read is what was put, byte for byte.
//   - The sequence numbers of a shard grow by one. A child shard's are greater than its parents'.
//   - The open shards divide the hash keys between them at every moment. The number of a shard is never given again.
//   - A reader returns every record of its shard once and in order. It passes over records only when they have
//     passed the retention before it came to them (Trimmed counts them) or an operator has accepted that they
//     are damaged (Skipped counts them); damage that is not accepted stops it with an error that names it.
//   - A record that is older than the stream's retention is not served. Its bytes go when the last record of its
//     segment has passed the retention too.
//   - What PutOnce puts under a producer's marker is in the stream as a whole and with the marker, or not at all, and is not put a second
//     time, after crashes and reshards either. Markers belong to the stream and not to its shards; they stay until they are deleted.
//   - A checkpoint is saved by compare-and-set: of two owners that both believe a shard is theirs, one gets
//     ErrRevision and knows that it must stop.
//   - Create and Delete are durable when they return. A crash in the middle of one leaves a whole stream or none: what
//     is missing is made, and what is left over is removed, at the next Open.
//
// # Definitions
//
// The catalog's table "streams" holds one definition per stream under the stream's name, in JSON:
//
//	format           2; 1 is read too; one from a newer format is not served
//	name             again, so that a misplaced definition is found
//	id               a ULID, the name of the stream's folder; never used again
//	state            creating until the folder is complete, then active
//	created          RFC 3339
//	nextShard        the number of the next new shard: none is given twice
//	shards           id, epoch, from and to (hash keys, decimal), parents, created; of a closed one closed and last (its last
//	                 sequence number); times in milliseconds since the Unix epoch
//	consumers        name, created (milliseconds), tags
//	retentionMillis  milliseconds
//	maxRecordBytes   bytes of data
//	mode, limits     as in Config
//	tags, attributes as in Change
//
// A creation writes the definition, then makes the folder, then marks the definition active. A deletion deletes the
// definition, then the folder. Every change is one write of the definition, and holds from that write on: puts and reads take
// the definition that is in place when they are called.
//
// # Cost
//
// A put allocates nothing per record. A shard that nobody uses has no goroutine and no file of its own. The store has three
// goroutines for all its streams: the trimmer, which drops expired segments and shards, the scrubber, which reads everything
// once a day, and the scaler.
//
// # Non-goals
//
// A stream does not know who reads it: it pushes nothing and delivers nothing, and a registered consumer is a name that it
// keeps. It replicates nothing.
package shards
