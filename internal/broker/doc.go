// Package broker runs the NATS server that is part of the host.
//
// A [Broker] is one nats-server with JetStream in this process: no listener, no
// signal handler, nothing of its own on the network. It hands out one in-process
// connection and the JetStream context on it. It is the only package that links
// nats-server.
//
// A [Door] is another nats-server for clients outside of the process: with a listener, without JetStream, and with
// nothing behind it but the subjects it is opened for. It is a server of its own, and not an account of the broker's,
// so that no mistake in a permission leads to the definitions, and so that it can be stopped first.
//
// # Guarantees
//
//   - A message JetStream has acknowledged has been fsynced (SyncAlways).
//   - [Open] returns only when JetStream answers. Every message on disk has then been
//     read and its checksum verified: JetStream's indexes are not used, because one
//     flipped bit in a message beside a good index makes nats-server (2.15.2) allocate
//     memory without end.
//   - [Broker.Close] returns only when the server's goroutines have ended and its
//     files are closed.
//   - What the server logs goes to the given [log/slog.Logger]: its notices as debug,
//     warnings and errors as they are. The server never ends the process.
//
// # Limits
//
//	payload of one message     4 MiB
//	memory streams             64 MiB in all
//	file streams               no limit of their own; the disk's
//	of a door: connections     4,096 unless told otherwise, each with 1,024 subscriptions
//	           waiting output  128 MiB for a connection; then it is closed
//	           log             10 lines a minute about what clients do wrong
//
// # Non-goals
//
// The broker does not lock its directory: two brokers on one directory destroy each
// other's files, and the host's lock on the data directory prevents that. It does not
// find all damage in JetStream's files: nats-server itself does not, which
// is why package catalog keeps a snapshot beside it. Nor does it work around a write
// that failed: JetStream (2.15.2) refuses all later writes to that stream until the
// broker is opened again. Clustering is not opened here.
package broker
