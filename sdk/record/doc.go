// Package record is the record batch: the one format of records on disk, on the wire and in guest memory.
//
// The host appends records to a [Builder] once, when they arrive. From there on their bytes are only
// copied: into the journal, out of it, into a guest's memory. Nothing on that way decodes a record into an
// object of its own, so the types here are views: a [Batch] is a byte slice with a header, a [Run] is a
// stretch of records without one, and a [Record]'s Key and Data point into the bytes it was read from.
//
// # Layout
//
// All integers are little-endian. Every header and every record begins at a multiple of 8 bytes from the
// start of the batch.
//
// Batch header, [HeaderSize] = 24 bytes:
//
//	offset  size  field
//	     0     4  magic "SMRB"
//	     4     4  CRC-32C (Castagnoli) of the bytes 8 to length; 0 when flag 1 is set
//	     8     2  format version, 1
//	    10     2  flags: 1 = the CRC is omitted (a batch handed to a guest); others must be 0
//	    12     4  length of the whole batch in bytes, header included; a multiple of 8
//	    16     4  number of records
//	    20     4  reserved, 0
//
// Record, [RecordHeaderSize] = 24 bytes and then its variable part:
//
//	offset  size  field
//	     0     8  sequence number; 0 until the log has assigned one
//	     8     8  arrival time, microseconds since the Unix epoch, signed; 0 until assigned
//	    16     4  data length in bytes
//	    20     2  partition key length in bytes
//	    22     1  flags: 1 = an explicit hash key follows the header; others must be 0
//	    23     1  reserved, 0
//	    24    16  explicit hash key, big-endian, only with flag 1
//	     …     k  partition key
//	     …     d  data
//	     …   0–7  zero bytes up to the next multiple of 8
//
// # Sequence numbers
//
// A sequence number is (shard epoch, counter) in 63 bits: epoch << 44 | counter. It grows by one from
// record to record of a shard; a child shard has a greater epoch than its parents, so its numbers are
// greater than theirs. 0 means none. At the edges of the system it is written as a decimal string.
//
// # Guarantees
//
// [Parse] and [ParseRun] accept bytes from anywhere: they check structure (and Parse the checksum), never
// panic and never read outside their argument. Everything else trusts its receiver. Encoding and iterating
// allocate nothing per record. The package imports the standard library only, because guests compile it to
// WebAssembly and must read the same bytes as the host.
//
// It is not a message format: there are no headers per record, no compression and no schema.
package record
