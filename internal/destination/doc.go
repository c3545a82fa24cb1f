// Package destination stores documents outside a mapping: those that tell of records a mapping has given up, at the destination that the mapping
// names for its failures.
//
// [Destinations] is what a host can deliver to; [Document] is what is delivered. Where to is a URI:
//
//	stream:NAME                     a stream of this host: the document is one record, its partition key the shard
//	s3://bucket/prefix              an object in a bucket
//	http://host/path, https://…     the body of a POST
//	file:///folder                  a file
//
// Objects and files have the document's key below the prefix or folder.
//
// [Bucket] and [Folder] store any bytes under a key, and can be used by themselves.
//
// # Guarantees
//
//   - Stored when Deliver returns: on this host's disk, or said so by the other side. A file is written under another name, synced and renamed, and
//     the folders on its path are synced: its name never stands for half a document.
//   - One try per call. A document that is delivered again, with the same ID and key, takes the place of the first in a bucket or folder, and
//     is told by its ID (the header Idempotency-Key) where it is posted. A stream may have it twice.
//   - A failure that lasts until somebody changes something is an [ErrMisconfigured], every other one may pass by itself.
//   - Whoever may name destinations decides nothing that is the operator's: S3's endpoint and credentials, the folders that files may be in, the
//     addresses in private networks that may be posted to. Addresses are checked when a connection is made, after the name was resolved, so that a
//     name cannot change its meaning in between; those of cloud metadata services are refused whatever the operator lists.
//
// # Non-goals
//
// It makes no documents, and does not decide how often a delivery is tried: see triggers.
package destination
