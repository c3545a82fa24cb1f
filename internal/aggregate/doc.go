// Package aggregate reads the aggregated records of the Kinesis Producer Library (KPL): one stored record that
// holds many user records.
//
// [Reader] is all there is: Split checks a stored record's data, Next yields its user records.
//
// # Layout
//
//	offset  size  field
//	     0     4  magic F3 89 9A C2
//	     4     n  protobuf (proto2) message AggregatedRecord
//	   4+n    16  MD5 of those n bytes
//
//	message AggregatedRecord {
//	  repeated string partition_key_table     = 1;
//	  repeated string explicit_hash_key_table = 2;
//	  repeated Record records                 = 3;
//	}
//	message Record {
//	  required uint64 partition_key_index     = 1;  // into partition_key_table
//	  optional uint64 explicit_hash_key_index = 2;  // into explicit_hash_key_table
//	  required bytes  data                    = 3;
//	  repeated Tag    tags                    = 4;  // no producer sets them; they are not looked at
//	}
//
// A partition key is one that a put could have: 1 to 256 characters of UTF-8. An explicit hash key is a decimal number below
// 2^128. Fields that are not in this table are passed over, as protobuf wants it.
//
// # Guarantees
//
// Everything that is not an aggregated record by these rules, to the last user record, is an ordinary record: Split says no,
// and nothing of it is taken apart. So is an aggregate without user records. Split accepts bytes from anywhere. A Reader that is
// used again allocates nothing, per aggregate or per user record; what it yields are views of the data.
//
// A user record has the identity (sequence number of the stored record, its index in it).
//
// # Non-goals
//
// Writing aggregates: producers do that (tests have aggregatetest). Dropping user records whose hash key is not in the range of the
// shard they were read from, as the Kinesis Client Library does after a reshard: a record that was acknowledged is delivered.
package aggregate
