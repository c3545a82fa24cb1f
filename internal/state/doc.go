// Package state keeps what functions remember between calls: tables of keys and values, of any size that the disk has.
//
// A [Store] has tables by [Table]. A [Batch] is what one call does to them: it reads, it collects changes, and [Batch.Commit] makes all of
// them durable or none.
//
// # Guarantees
//
//   - What Commit has answered with nil is on disk, whole; after any crash a batch is there with all its changes or with none.
//   - A change that expects a revision happens only if the entry has it when the batch is committed; otherwise nothing of the batch
//     happens, and the error is ErrConflict. Two batches that expect the same revision of an entry cannot both be committed.
//   - A batch reads what was committed before it asks, and its own changes. Two reads of a batch may see what was committed between them.
//   - Every value is checked against a checksum over table, key, revision and value when it is read; one that is not what was stored is
//     ErrDamaged, by name, and never handed over. [Store.Scrub] reads everything.
//   - Damage to the file's structure is an ErrDamaged of what is read, and not the end of the host.
//
// # How a commit travels
//
// The one that finds nobody writing writes for all who wait: their batches go into one transaction of the file, with one wait for the
// disk, each with its own checks and its own answer. A disk that has no room fails the batches, and what was before is as it was; any other
// failure of a write poisons the store: it reads on, and takes no more until it is opened again.
//
// # What is stored
//
// One file, state.db, of bbolt (https://github.com/etcd-io/bbolt): a tree of copied pages, whose root is switched by a checksummed page.
//
//	bucket "tables"    a bucket for each table, by the table's id; its sequence is the revision given last
//	bucket "sizes"     by the table's id: keys (8 bytes), bytes (8 bytes)
//	bucket "format"    "format" → 1
//
// All numbers are big-endian. The id of a shared table is 's' and its name. That of a private one is 'p', then the length (2 bytes) and
// text of function and mapping, the shard (4 bytes), and the name. An entry is, under its key:
//
//	offset  size  value
//	0       4     CRC-32C of the rest, and then of the table's id, its length (4 bytes), and the key
//	4       8     revision
//	12            value
//
// # Limits
//
//	key            1 to 512 bytes
//	value          up to 1 MiB
//	batch          4,096 changed keys, 8 MiB of keys and values
//	list           1,000 entries, and 1 MiB unless one entry alone is larger
//	table, store   as Options say: bytes of keys and values, with 16 more for each entry
//	trials         64 MiB for all tables of one, 1 GiB for those of all, beside the store's limit
//	free space     64 MiB are left on the disk for others; deletions may use all but 1 MiB of that
//
// # Non-goals
//
// No expiry, no watches, no transactions over several calls. The file does not become smaller: what is deleted is room for what comes.
package state
