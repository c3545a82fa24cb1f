// Package event is the Lambda door's wire format: the JSON event that Lambda hands a function for a Kinesis event source mapping,
// what the function answers, and the document that tells an on-failure destination of records that were given up.
//
// [Append] writes the event of a batch. An [Envelope] has what its records share, a [Window] what a tumbling window adds. [Fit] says
// beforehand how many records one event can hold. [ParseReply] reads the answer. A [Failure] is the document, [ObjectKey] its name in a bucket.
//
// # The event
//
// Members come in the order of AWS's examples; there is no white space.
//
//	{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":…,"sequenceNumber":…,"data":base64,
//	  "approximateArrivalTimestamp":seconds with three decimals},"eventSource":"aws:kinesis","eventVersion":"1.0",
//	  "eventID":"shardId-…:sequence number","eventName":"aws:kinesis:record","invokeIdentityArn":…,"awsRegion":…,"eventSourceARN":…},…],
//
// and in a tumbling window also
//
//	"window":{"start":…,"end":…},"state":{…},"shardId":…,"eventSourceARN":…,"isFinalInvokeForWindow":…,"isWindowTerminatedEarly":…}
//
// Texts are escaped as encoding/json does without its escapes for HTML, what is not UTF-8 in a key becomes U+FFFD.
//
// # The answer
//
// Where the mapping reports item failures:
//
//	the function returned                                                 the batch
//	nothing, "", [], null, an object without batchItemFailures,           is settled
//	or with batchItemFailures [] or null
//	batchItemFailures with sequence numbers of the batch                  is settled below the lowest of them
//	an item that is no object, has no itemIdentifier, or one that is      failed as a whole
//	null, "", no string, or no sequence number of the batch
//	batchItemFailures that is no list; another string, list, number       failed as a whole (AWS does not say)
//	or boolean; what is not JSON
//
// Where it does not, the answer is not looked at. In a tumbling window it must be an object whose state is an object, or the batch
// failed; only the final call of a window, whose state nobody needs any more, may leave it out. A member that comes twice has its last
// value, and names are compared exactly.
//
// # Guarantees
//
// Append allocates nothing when there is room, and Size is what it writes, to the byte. ParseReply never panics and keeps nothing; its results
// point into the body.
//
// # Non-goals
//
// The package decides nothing: what to retry, and when a window ends, is triggers'.
package event
