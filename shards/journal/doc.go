// Package journal is the durable journal of one stream: all its shards' records, interleaved in segment
// files, with the checkpoints of those who read them.
//
// It has five nouns. A [Journal] is a directory of segments that one process has open. [Journal.Append] puts
// records into shards and returns when they are on disk. A [Reader] is a position in one shard. A
// [Checkpoint] is how far a named consumer has come in one shard. A [Marker] is what a named producer has put last.
//
// # Guarantees
//
//   - What Append and SaveCheckpoint have acknowledged is on disk: written and fdatasync'ed.
//   - A put is all or nothing: after a crash either every part of an acknowledged-or-not put is there or none.
//   - What AppendOnce puts is there with its marker, in one group, or neither is; under a marker that is there nothing is put again.
//   - Sequence numbers of a shard grow by one. A number that was acknowledged is never given again.
//   - Damage is found and named. Every stored byte is under a checksum, checked when it is read and by Scrub. A
//     torn tail after a crash was never acknowledged and is cut; anything else that does not check is a
//     *[DamageError] with stream, shard, sequence numbers, file and offset. It is not truncated, not served and
//     not skipped until AcceptDamage says so, and what was accepted stays on record. Other shards go on.
//   - After a failed write or fdatasync nothing more is written to that file: the puts under way fail, and the
//     next put begins a new segment that disowns what may have reached the old one.
//
// # Group commit
//
// Puts wait in a queue. The first that finds nobody writing becomes the writer: it takes all that wait, makes
// one record batch per shard touched, writes them as one group with one write and one fdatasync, and wakes the
// putters. What arrived meanwhile is taken over by a goroutine that lives until the queue is empty, so that a
// lone put costs no switch of goroutines, a busy journal has one writer, and an idle one has no goroutine at all.
// There is no timer: while one group is on its way the next one fills.
//
// Only a checkpoint that may wait ([Journal.SaveCheckpointBy]) is not written by itself while journals of the same disk ([Traffic]) wait for it,
// but with the next put, for up to 250 ms. A segment that is filled ahead is not waited for, and does not count.
//
// # Reading
//
// The newest groups of all journals that share a [Cache] are in memory; a reader of those reads no disk. A reader behind them reads stretches of
// up to 1 MiB of a segment file, which the cache keeps apart for other readers of any shard in them, oldest first out. Whoever has to read the disk lets
// other goroutines run before, if several readers want the same of the journal, so that readers who begin together stay together, and the disk is read once for all of them. Bytes
// are checked by each reader.
//
// For a reader that goes on from stretch to stretch and has asked for it ([Reader.ReadAhead]) a goroutine reads up to 8 MiB ahead, and checks what it
// reads while it is half of that ahead; else the reader does, so that neither waits for the other.
//
// # Files
//
// A directory holds segments named by their number in 16 hex digits, `.seg`, and one file `acked`. All integers are
// little-endian; everything begins at a multiple of 8 bytes. Every checksum of a header and of an index is a CRC-32C that begins
// with a seed made of the journal's random id and the segment number, so that bytes left over from a file's earlier life (see
// Spares), or forged in a record's data, are never taken for a header.
//
// Segment header, 64 bytes:
//
//	offset  size  field
//	     0     4  magic "SMJS"
//	     4     4  CRC-32C of the bytes 8 to 64 (not seeded)
//	     8     4  format version, 1
//	    12     4  reserved, 0
//	    16    16  journal id, random
//	    32     8  segment number, from 1
//	    40     8  time of creation, microseconds since the Unix epoch
//	    48    16  reserved, 0
//
// Group header, 48 bytes, followed by its entries:
//
//	offset  size  field
//	     0     4  magic "SMJG"
//	     4     4  seeded CRC-32C of the bytes 8 to 48
//	     8     8  group number; grows by one through the whole journal
//	    16     8  position of the group before: segment number << 32 | offset; 0 for the first
//	    24     4  checksum (offset 4) of the group before
//	    28     4  CRC-32C of the entry headers
//	    32     4  bytes of the entries
//	    36     4  flags: 1 = this group is the segment's table
//	    40     8  time of the commit, microseconds since the Unix epoch
//
// Entry header, 32 bytes, followed by its body:
//
//	offset  size  field
//	     0     4  seeded CRC-32C of the bytes 4 to 32
//	     4     1  kind: 1 records, 2 checkpoint, 3 shards, 4 lost
//	     5     3  reserved, 0
//	     8     4  shard
//	    12     4  bytes of the body, a multiple of 8
//	    16     8  first sequence number (records, lost)
//	    24     4  number of records
//	    28     4  CRC-32C of the body
//
// Bodies: records – one record batch (package record). Checkpoint – revision (8), sequence (8), consumer length (2),
// reserved (2), state length (4), consumer, state, zeros; revision 0 deletes. That of shard 2^32-1 is a marker: producer, ordinal and note
// take the places of consumer, sequence and state. Shards – per shard: number (4), reserved
// (4), next sequence number (8), oldest sequence number (8); both 0 when the shard is forgotten. Lost – last sequence number (8), then the reason as text and zeros.
//
// The first group of a segment is its table: every shard's next sequence number, the live checkpoints and the accepted
// losses, so that older segments can be dropped whole. SegmentSizing.Checkpoints limits its size.
//
// A sealed segment ends with its index, and is cut to its length:
//
//	per shard, 40 bytes: shard (4), number of stored batches (4), first sequence number (8), next sequence number (8),
//	  file offset of its stored batches (8), CRC-32C of them (4), reserved (4)
//	per stored batch, 32 bytes: first sequence number (8), arrival (8), entry offset (4), entry bytes (4), records (8)
//	trailer, 64 bytes: magic "SMJF" (4), CRC-32C of the bytes 8 to 64 (4), end of the last group (8), file offset of the shard rows
//	  (8), their number (4), CRC-32C of them (4), first and greatest arrival (8 + 8), number of the last group (8), its checksum (4), reserved (4)
//
// The file `acked` has two slots of 64 bytes, written in turn after every group: magic "SMJA" (4), CRC-32C of the bytes 8 to 64 (4),
// group number (8), position of the end of that group (8), journal id (16), reserved. It is written after the group's fdatasync and
// before its putters are answered, so that it survives the process, and synced on close: a journal that ends before it is damaged, not
// torn.
//
// # Non-goals
//
// The journal knows no stream definitions, no hash keys and no retention rule: it is given shard numbers and times. It does not
// replicate. Two processes must not open one directory; the host's lock on its data directory sees to that.
package journal
