// Package sequence writes the sequence numbers of a stream's records as AWS's clients know them, decimal numbers of 56 digits, and
// reads them. Kinesis' wire protocol, Lambda's events and on-failure documents have the same ones, so that a number found in one
// can be looked for in the others.
//
// [Of] gives the [Numbering] of a stream. A number is in the form of AWS's version 2. From its most significant bits on, in hex
// digits:
//
//	digits  content
//	     1  2
//	     9  seconds since 1970: the stream's creation, plus the shard's epoch less 1
//	     1  the last digit of the shard's number
//	    16  counter; 0 is before the first record, 7fffffffffffffff behind the last one of a closed shard
//	     2  00
//	     9  the seconds again
//	     8  the shard's number
//	     1  2
//
// # Guarantees
//
// Numbers of one stream grow as the log's do, also from parents to children. Parse takes what Append has written and nothing
// else. Neither allocates.
package sequence
