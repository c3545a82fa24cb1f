// Package messages is the doors for producers that want more than HTTP: they put records with a NATS or an MQTT client,
// and what is acknowledged to them is on disk.
//
// [Open] opens [Doors] on [Streams]: a NATS door on a connection to a server that clients reach, an MQTT door on a
// listener, or both. A [Rule] says into which stream an MQTT message goes.
//
// # The NATS door
//
// A message to put.STREAM is put into that stream:
//
//	payload            headers                                      answer
//	one record's data  Shardmill-Partition-Key, required            {"shard":"…","sequenceNumber":"…"}
//	                   Shardmill-Explicit-Hash-Key, decimal
//	a record batch     Content-Type:                                {"put":n,"failed":n,"failures":[…]}
//	                   application/vnd.shardmill.records
//
// A message that was not put is answered with a problem, {"type","title","status","detail","field","value","limit"}, of
// the types that the HTTP API has, and with the headers Nats-Service-Error-Code (the status) and Nats-Service-Error
// (the title). The case of header names does not matter. Answers go to subjects below _INBOX only; a message that asks
// for none is put all the same.
//
// # The MQTT door
//
// MQTT 3.1.1 and 5.0, for publishing only. The code is this package's own (packet.go, session.go), for the reasons in
// RATIONALE.md.
//
//	QoS 0          put, not acknowledged
//	QoS 1          PUBACK when it is on disk. When it is not put: PUBACK with a reason code in 5.0; in 3.1.1, which
//	               has no such word, the client is disconnected and the message stays unacknowledged
//	QoS 2          refused: CONNACK says Maximum QoS 1 in 5.0; a message of it ends the connection
//	SUBSCRIBE      refused with SUBACK; the connection stays
//	retain         has no meaning, and is not looked at
//	will           put like a message of QoS 0, when the client has not said that it leaves
//	session        none is kept: Session Present is always 0, whatever the client asks for
//	user, password are not looked at
//	topic alias    none is granted
//
// # Guarantees
//
//   - What is acknowledged is on disk, in the stream's journal.
//   - The messages of one connection to one stream are put in their order, so those of one key are; over NATS, all
//     messages to one stream are put in the order in which the server had them. PUBACKs come in the order of the
//     messages.
//   - What waits for a stream is put together, while the put before it is under way: the number of syncs does not grow
//     with the number of messages. The doors wait for nothing.
//   - Memory is bounded: 64 MiB of messages wait in a door. Beyond, the NATS door answers that the host is busy and the
//     MQTT door reads no more. A message has 16 MiB at most. MQTT packets above 64 KiB that are on their way in come to
//     128 MiB at most.
//   - Whatever bytes a client sends, at worst its own connection is closed.
//   - [Doors.Close] puts and acknowledges what has been received.
//
// # Non-goals
//
// Nothing is delivered to clients: reading is the HTTP API's. There are no sessions, no topics that are kept and no
// messages between clients. Exactly-once is not offered: who has no acknowledgement puts again.
package messages
