// Package aws serves Kinesis Data Streams and Lambda in AWS's wire protocols, for clients that know nothing of Shardmill: an AWS SDK,
// the CLI, Fluent Bit, the KPL and the KCL with their endpoint set to a host and nothing else changed.
//
// # Types
//
// A [Handler] is the http.Handler of the path "/" and of Lambda's paths ([IsLambda]). What it stands on is declared here: [Streams] is
// the log, which *shards.Store is, [Functions] and [Mappings] are *runtime.Runtime and *triggers.Triggers, [Settings] keeps the few settings that
// belong to none of them, and [Destinations] takes the documents of asynchronous invocations.
//
// # Protocol
//
// A request is POST / with the header X-Amz-Target: Kinesis_20131202.OPERATION. Its Content-Type chooses the protocol of request
// and answer:
//
//	application/x-amz-json-1.1   JSON; blobs in base64, times as seconds since 1970 with a fraction
//	application/x-amz-cbor-1.1   CBOR, as the Java SDKs send it; blobs as byte strings, times as tag 1 with whole milliseconds
//
// Every answer carries x-amzn-RequestId and x-amz-id-2, an error also x-amzn-ErrorType, a document with the members __type and
// message, and status 400, or 500 where the host is at fault. An operation that has nothing to say answers 200 without a body.
//
// SubscribeToShard answers an event stream (application/vnd.amazon.eventstream): initial-response, sent at once, then
// SubscribeToShardEvent after SubscribeToShardEvent, in JSON.
//
// Lambda's operations are told apart by method and path, /2015-03-31/functions and the like, with or without a slash at the end. Documents are
// plain JSON, times of event source mappings seconds since 1970. An error has a status, x-amzn-ErrorType, and a document with Type and message, of
// which AWS knows three spellings (see restCodec).
//
// Operations are the rows of two tables with the input's type and the permission that it needs. A signature (SigV4) is read for
// the log and not checked: whoever reaches the listener may do everything.
//
// # Guarantees
//
//   - A put that is answered is on disk. Failed records of PutRecords say why; the others are on disk.
//   - Input is checked before anything is done: wrong types are a SerializationException, all constraints of the service's model
//     a ValidationException that lists up to ten of them.
//   - Sequence numbers grow within a shard; those of children are above all of their parents'. One means the same record for
//     as long as the stream exists.
//   - A shard iterator is valid for five minutes, also across a restart of the host. The answer that has no next one names
//     the children of the shard, each with its parents.
//   - A subscription gets an event at least every five seconds. Those that are at the tail of one shard share one reader
//     and one encoding of what it reads; one that cannot follow reads for itself until it has caught up.
//   - What means nothing here is stored and returned; what would be a lie is refused. docs/aws-compatibility.md says which is which,
//     operation by operation.
//
// # What is kept of functions
//
// The runtime knows no roles, descriptions, tags or policies. They are in Settings under the key "function/" and the function's name, as one JSON
// document (functionRecord), with the versions that were published, which [Published] keeps from being dropped, and the digests of the files
// that code came in, and the configurations of asynchronous invocations. A function without one was made natively. Invocations of the type Event wait in the stream [AsyncStream]; what a record of it
// holds is said there, and how they are divided among functions at pot and backlog.
//
// # Sequence numbers
//
// Decimal numbers of 56 digits, drawn in internal/sequence.
//
// # Shard iterators
//
// Base64 (RFC 4648, URL alphabet, no padding) of these, integers big-endian, at most 256 characters:
//
//	offset  size  field
//	     0     1  version, 1
//	     1     8  when it was made, milliseconds since 1970
//	     9     8  sequence number of the first record wanted
//	    17     4  shard
//	    21    16  the stream's ID
//	    37     n  the stream's name
//	  37+n    16  HMAC-SHA-256 of all before it, cut to 16 bytes, with the stream's ID as the key
//
// The code keeps accidents out, not attackers: what a caller may read is decided by who he is.
//
// # Non-goals
//
// There is one account and one region. Nothing here stores or routes records; that is package shards.
package aws
