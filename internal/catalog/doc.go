// Package catalog keeps the host's definitions: durable tables with revisions,
// compare-and-set and watch, and content-addressed blobs for function code. It stores
// bytes and does not know what they mean.
//
// A [Catalog] hands out tables and buckets. A [Table] is a set of entries held in
// memory; a write is a compare-and-set on the revision of one entry. [Blobs] is a bucket
// of byte strings named by their SHA-256.
//
// # Guarantees
//
//   - An acknowledged write survives kill -9 and the loss of power. It is then in two
//     places, each synced: in JetStream and in the snapshot file beside it.
//   - What one of the two has lost is restored from the other, with an [Alarm]: in
//     [Catalog.Alarms], as an error in the log, and in shardmill_catalog_alarms_total.
//     Only if both are damaged can a definition be lost; then [Open] fails with
//     ErrDamaged and says what, or, with Options.AcceptDamage, serves what either can
//     prove and raises an alarm.
//   - A deleted entry does not come back, and a revision is not given twice, after any
//     damage to one of the two.
//   - A writer reads its own writes, and a table's revisions only grow.
//   - A read never waits for a disk.
//
// # How a write travels
//
// The writer publishes to the bucket's JetStream stream, expecting the entry's last
// revision there; the number JetStream gives is the new revision. The catalog follows
// the stream: the keeper (one goroutine) takes the changes in their order, appends them
// as a group to the snapshot file, syncs it, applies them to the tables, tells the
// watches, and wakes the writers. So the snapshot has every change up to its last
// revision, in order, and what JetStream has beyond it was never acknowledged.
//
// # What Open compares
//
//	snapshot     JetStream                       what Open does
//	whole        has all of it                   takes up what is beyond the snapshot
//	whole        has less, older or other data,  makes the stream anew from the snapshot,
//	             deleted entries back, errors    with revisions above all given; alarm
//	end unclear  is ahead                        the record was cut short by a crash: as whole
//	end unclear  is not ahead                    makes the file anew; alarm
//	damaged      agrees with its valid records   makes the file anew from JetStream; alarm
//	missing      has something                   makes the file anew from JetStream; alarm
//	damaged      disagrees                       ErrDamaged
//	end unclear  has less and is not ahead       ErrDamaged
//
// A damaged file is kept as tables.snap.damaged.
//
// # The snapshot file, tables.snap
//
// One file of a fixed length, little-endian: a header, the base (every live entry when
// the file was made), a record for each change since, and zeros. A change is written
// into the zeros and synced. When they are used up the file is made anew beside the old
// one, synced, and renamed over it. Revisions ascend from record to record.
//
//	offset  size  header
//	0       8     "SMCATLG" 0x01
//	8       4     format version, 1
//	12      4     length of the header, 64
//	16      8     length of the file
//	24      8     generation: a random number
//	32      8     revision up to which the base tells everything
//	40      8     offset behind the base
//	48      12    0
//	60      4     CRC-32C of bytes 0 to 59
//
//	offset  size  record, at a multiple of 8
//	0       4     0x72634d53
//	4       4     CRC-32C of the generation and of bytes 8 to the end of the padding
//	8       8     revision
//	16      1     1 put, 2 delete
//	17      1     0
//	18      2     length of the table's name, t
//	20      2     length of the key, k
//	22      2     0
//	24      4     length of the value, v
//	28      4     0
//	32      t+k+v table, key, value; then zeros up to a multiple of 8
//
// # The tables in JetStream
//
// The key-value bucket "catalog" (stream KV_catalog, history 1, file storage, subjects
// $KV.catalog.<table>.<key>) by the conventions of NATS, so that its tools read it.
// Bytes of a key outside [A-Za-z0-9_-] are written =XX. A deletion leaves a marker;
// when there are more than a thousand of them, and more than entries, Open makes the
// stream anew without.
//
// # Blobs
//
// A blob has two copies, an object in JetStream's object store of the bucket's name and
// the file blobs/<bucket>/<hex>, and is listed, last, in the table blobs.<bucket>; so it
// is as durable as a definition. Function code is an upload that was acknowledged and
// cannot be made again by the host, and JetStream's damage would take it: the second
// copy costs disk and no time. Get reads and verifies the file and turns to the object
// only when the file is bad; opening a bucket compares presence and size of both;
// [Blobs.Scrub] reads and verifies both. Either is made anew from the other, with an
// alarm. Copies that are not listed are what a crash left and are removed when the
// bucket is opened, unless there has been an alarm.
//
// # Notes
//
// A [History] has notes by key, one each, in the stream PAST_<name> (subjects $PAST.<name>.<key>, keys written as in tables). It is what JetStream keeps: no second
// copy, no checksum beside JetStream's. An earlier program had them in NOTES_<name>, under one subject.
//
// # Limits
//
//	key           1 to 256 bytes of UTF-8
//	value         1 MiB
//	name          1 to 64 bytes, a lower case letter, then letters, digits, - and _
//	blob          256 MiB
//	free space    16 MiB are kept in reserve: below that writes fail with ErrNoSpace
//
// The reserve is because a JetStream stream of which one write has failed refuses all
// later ones until the host is restarted. Deletions, and updates that are as large as
// what they replace, may use it, because they are what makes space. Others on the disk
// keep no reserve, so that it can be full to the last byte: for that a file of 1 MiB,
// ballast, is written in advance, and each such write gets 64 KiB of it back. It is
// filled again when there is space.
//
// # Tests
//
// The tests flip a bit in every byte, and cut at every length, the files of a small
// catalog; by default they take a sample. SHARDMILL_SWEEP_STRIDE=1 takes every byte.
//
// # Non-goals
//
// It is not a database: all tables are in memory, and a write costs two syncs. Damage
// that JetStream suffers while the host runs is found at the next start. A disk that
// loses, without a trace, the same last write of both copies is not found out. Several
// hosts on one directory are prevented by the host's lock, not here.
package catalog
