// Package triggers runs event source mappings: each hands the records of a stream, in batches and in order,
// to a function, and keeps a checkpoint of how far it has come.
//
// [Triggers] is the set of a host's mappings; [Mapping] is what a user asks for, [Status] what became of it.
// The log, the functions and the table of definitions reach it as the interfaces [Streams], [Functions] and
// [Definitions].
//
// # The path of a batch
//
// Each shard of a mapping has one poller, a goroutine that does one thing after the other, unless there are lanes:
//
//	read        the reader blocks until there are records; there is no polling and no timer
//	feed        KPL-aggregated records are taken apart, unless the mapping keeps them, and what no filter matches is passed over
//	batch       cut at BatchSize, at BatchWindow after the call before ended, or at 6 MiB of encoded records;
//	            without a window the batch is what is at hand. Views of what was read, copies where that was changed
//	invoke      the function runs, and what it emits is durable before Invoke returns
//	decide      a pure function: what is settled, given up, divided, and tried again when
//	deliver     what is given up or rejected is stored at the on-failure destination, if there is one
//	checkpoint  the position behind what is settled or given up is saved into the stream's own journal
//
// The checkpoint is saved by a goroutine that exists only meanwhile (see saver), so that the next batch runs
// during the journal's group commit. A later position takes the place of one that still waits; at most 64
// batches run ahead of what is saved.
//
// # Outcomes
//
//	the function …                                  the records …
//	replied                                         are settled: ok, dropped or rejected
//	replied, and asked for record i again           below the lowest such i are settled; those from it on are
//	                                                delivered again, with a new quota of attempts
//	returned an error, trapped, timed out, ran out  are delivered again, and given up with the last of
//	of memory, exited, replied nonsense, or asked   MaxAttempts; there is one path for all of these
//	for the first record again
//	was throttled, is missing, or the host failed   are delivered again; this never counts as an attempt
//	– (a record is older than MaxRecordAge)         are given up, by themselves and before any attempt
//	– (a record that was tried has passed the       are given up likewise
//	  stream's retention)
//
// The wait after the function's n-th failure in a row is RetryBase·2^(n-1) up to RetryMax (1 s and 30 s),
// after throttles and the host's failures 0.1 s to 5 s, each less up to half of it at random. A record that
// is given up is counted, logged with shard, sequence numbers and reason, and shown in the status; [Failures] stores it first, and as
// long as that fails the checkpoint does not pass it.
//
// With Bisect a batch that fails becomes parts, which are delivered one after the other; with Isolate the one record that fails is
// looked for at once, and parked with its key while it waits (fan.park), so that the shard goes on. decide has the rules; docs/event-source-mappings.md tells users.
//
// # Lanes
//
// With Parallelization a poller deals records out to as many lanes, by a hash of the partition key. A lane is what sees batches
// through; beside the poller's goroutine each has its own while records wait for it. A lane settles its records in order, so that the
// checkpoint is below the lowest record that some lane has in hand. At most 12 MiB of records and 2^20 records beyond the
// checkpoint are dealt; then the reader waits. A change of the number waits until all lanes are idle. The state of the checkpoint says what
// is settled above its position (ahead), so that a restart passes over that.
//
// # Windows
//
// With TumblingWindow a batch has records of one window (window), and the state that the function returns is part of the checkpoint. The
// lane closes a window before the next record is delivered, or when nothing comes for it any more. A close that fails has the attempts and the ages of a batch.
//
// # Exactly once
//
// With ExactlyOnce the calls of a lane that emit are numbered (calls), and their outputs are put under a marker with the number, by [runtime.Once]: lane.Claim
// gives a call its mark when the checkpoint that has the number before is saved. So the streams are ahead of the checkpoint by one call of each lane at most. When a
// poller begins it looks for the marker of that call (recall), gathers its records again (redo), makes it again, and settles what the marker
// says (again). The position within an aggregate is part of the checkpoint then.
// Calls of several lanes are made again before the lanes begin (redoLanes); and other lanes begin when everything before is saved (between). Parking is not used.
//
// # Shadows
//
// A [Shadow] is a runner beside the mapping's, with pollers and checkpoints of its own (consumer "mapping/" and the shadow's id), whose lanes do not exchange
// but compare (trial): they make each call with the serving version and with the candidate, both as [runtime.Trial], which has no effect but its reply. What
// differs is halved like what fails with Isolate, down to one record. What is found is a tally per shard, saved every 2 to 10 s in a checkpoint of the consumer
// "shadow/" and the id, whose state is JSON (tallied). Nothing of it is on the way of the mapping's own batches. Promote changes the
// mapping's definition, and the pollers take it up as any change.
//
// A definition is made after the first checkpoints, and ends before the last: Open deletes those of mappings and shadows that are in no definition
// (sweepCheckpoints).
//
// # Doors
//
// A function that handles call kind 1 has the SDK's door: record batches. One that handles only kind 4 has Lambda's: its JSON event
// (package event). exchange makes the call and reads the reply by either; everything else is the same.
//
// # Filters
//
// A record that no pattern matches is covered by the checkpoint as if it were settled, and otherwise is as if it were not there. Filters
// are applied to user records. What passes them is copied out of the log's memory, so that a batch that fills slowly holds no more than
// itself.
//
// # Aggregated records
//
// Producers of the Kinesis Producer Library put many user records into one stored record (see internal/aggregate). The function
// has the user records, each with its own key and with the sequence number and arrival of the stored one; BatchSize bounds them, so
// that one stored record may take several calls. Outcomes, attempts and counts are of user records. The checkpoint is of
// stored ones: it passes one when all its user records are settled or given up, and until then a restart delivers it from its
// beginning. User records whose hash key belongs to another shard, which a reshard can leave behind, are delivered like any other.
//
// # Guarantees
//
//   - With ExactlyOnce, what the function emits for a record that is settled is in each stream once, if it emits the same for the same call; and at most once for one that
//     is given up. Not so for windows that end early, and after Seek has gone back.
//   - At least once: a record that Put has acknowledged is delivered until it is settled or given up,
//     or until the stream's retention has dropped it before it could be read, which is counted as skipped.
//   - In order per shard, and one batch of a shard at a time; with lanes, in order per partition key, and one batch of a key at a time. A shard that came into being by resharding is read, from its oldest
//     record on, when its parents have been read to their ends, and all of it is settled and saved: so in order per key across
//     reshards. A parent that has passed the retention holds nobody up.
//   - The checkpoint moves only forward, by compare-and-set, and only behind what has been emitted durably. A
//     poller whose checkpoint somebody else has moved stops: two owners never take turns.
//   - Graceful stops redeliver nothing: reading ends at once, invocations under way get the drain time.
//   - Changes of a mapping hold from each shard's next batch or attempt on, and replay nothing. Pausing and Seek stop the pollers
//     as Close does, and start them anew; only Seek moves a checkpoint back.
//   - What is damaged stops its shard only, and by name; it goes on when the damage has been accepted.
//
// Attempts are counted in memory: after a restart of the host a batch that was being retried has its whole
// quota again.
//
// # Non-goals
//
// The package does not run functions, store records or speak HTTP, and it does not balance shards between
// hosts: what it has of that is that it notices another owner.
package triggers
