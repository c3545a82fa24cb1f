// Package api is Shardmill's native surface over HTTP: REST under /v1 with JSON,
// the admin handler, and the Go client of the verbs.
//
// [New] makes the handler of everything under /v1 from the engines; [NewAdmin]
// makes that of the admin listener; [NewServer] wraps either in an http.Server
// with the guards it needs. [Client] calls the verbs: the command line and tests
// use nothing else. The table of routes is in routes.go, with the permission each
// needs; GET /v1/openapi.json describes it, and is made from the same Go types that
// the handlers decode and encode.
//
// # Forms
//
// Sequence numbers are decimal strings, shards are named "shardId-000000000003",
// durations are strings such as "3s" or "24h", sizes are bytes or strings such as
// "128MiB". Unknown JSON members and unknown query parameters are refused by name.
// A member that is left out has its default; one that is given as zero or null where
// zero is outside its limits is refused like any other value outside them.
//
// # Putting records
//
// An answer to a put with status 200 means that the records it does not name as
// refused are on disk. What is wrong with one record (its key, its hash key, its
// data: too much, no base64, none or two forms of it, one of them of another kind)
// refuses that record alone, with field and limit in its result; what is wrong with
// the body as a whole (it is no JSON, has a field that is unknown, is too large, has
// too few or too many records) refuses all of it and puts nothing. Where every
// record was refused the answer is a problem.
//
// A body of NDJSON is put while it arrives, in batches, with several puts under
// way. These hold:
//
//   - Every line has to be JSON in UTF-8 (RFC 8259), nested at most 1,000 deep; it
//     is stored as it is, without its line feed or carriage return and line feed.
//     Blank lines are passed over, and keep an idle connection alive. The last line
//     needs no line feed.
//   - ?key= is a JSON pointer (RFC 6901) to the partition key: a string, or the text
//     of a number, true or false. The last of equal member names counts. A line
//     without such a value is refused. Without ?key= each line has a random key.
//   - Lines with the same key are stored in their order, as long as the put does not
//     end early; those of different keys in any order.
//   - Each line is decided alone: one that is refused, because it is not JSON, has no
//     key or is too long, leaves the others as they are. The answer counts the refused
//     ones and names the first 100 by their number.
//   - A put that ends early (the disk fills, the host stops, the body breaks off) is
//     answered with a problem whose member put says what was put so far, and from
//     which line on nothing is promised: send these again. Some of them may be
//     stored already. What came of a last line that broke off is not put.
//   - Memory is bounded by 8 batches of at most 512 KiB and a record each, and one
//     buffer as large as the longest line, whatever the length of the body.
//
// # Reading records
//
// A read without follow answers what was stored when it began, the shards merged
// by arrival time; within a shard the order is that of sequence numbers. With
// follow it goes on, each shard in its order, until the client goes, the limit is
// reached or the host stops. A shard that cannot be read on is told as a line with
// its name and a problem; the other shards go on. Where one shard is named and
// nothing has been answered yet, that is the status of the answer instead. A
// client of server-sent events that comes back with the Last-Event-ID of a record
// goes on behind it where one shard is read, and begins at from where several are.
//
// # Problems
//
// Errors are RFC 9457 problems. Their type is "urn:shardmill:problem:" and the
// kind; type and status of a kind are stable. They name the field, the value and
// the limit where there is one. A host's own failure is logged; its text does not
// go to the client.
//
//	400  invalid-field           A field is outside its limits
//	400  unknown-field           A JSON field is unknown
//	400  unknown-parameter       A query parameter is unknown
//	400  malformed-json          The body is not the JSON this route takes
//	400  malformed-batch         The body is not a record batch
//	400  malformed-form          The multipart form is not the one this route takes
//	400  malformed-line          A line is not valid JSON
//	400  missing-key             A line has no partition key at the pointer
//	400  records-refused         No record was put: each was refused
//	400  invalid-module          The WebAssembly module cannot be served
//	400  body-cut                The body ended before its end
//	403  cross-origin            A browser sent this from another origin
//	403  untrusted               The module is not signed with a trusted key
//	404  no-route                There is no such path
//	404  stream-not-found        There is no such stream
//	404  shard-not-found         There is no such shard
//	404  function-not-found      There is no such function
//	404  version-not-found       The function has no such version
//	404  alias-not-found         The function has no such alias
//	404  invocation-not-found    The function has no such invocation
//	404  capsule-not-found       There is no such capsule
//	404  mapping-not-found       There is no such mapping
//	404  shadow-not-found        The mapping has no shadow
//	404  secret-not-found        There is no such secret
//	404  state-not-found         There is no such state table
//	404  state-entry-not-found   The state table has no such entry
//	405  method-not-allowed      The path does not take this method
//	406  not-acceptable          The answer cannot be given in the form asked for
//	408  body-stalled            The body stopped arriving
//	409  conflict                It exists already with another shape, or changed meanwhile
//	409  in-use                  Something else needs it
//	409  call-not-handled        The function does not handle this kind of call
//	413  body-too-large          The body is too large
//	415  unsupported-media-type  The body's media type is not taken here
//	421  foreign-host            The request is for another host
//	429  throttled               All instances of the function are busy
//	429  nothing-reserved        The function's reserved concurrency is 0
//	429  rate-exceeded           The shard's rate is exceeded
//	500  internal                The host failed
//	500  damaged                 Stored records are damaged
//	502  function-failed         The function failed
//	503  busy                    Too much is on its way in
//	503  stopping                The host is stopping
//	503  not-ready               The host is not ready
//	507  no-space                The disk cannot take this
//	507  state-full              The state tables cannot take this
//	507  too-many-files          The host may not open more files
//
// # Goroutines
//
// A put of NDJSON has one goroutine per lane, a read that follows one per shard,
// a read of logs one; the request's own goroutine waits for them before it
// returns. [Handler.Stop] has those requests end at once that would go on by
// themselves.
//
// # Non-goals
//
// It knows no users, speaks no AWS protocol (api/aws does), and retries nothing.
package api
