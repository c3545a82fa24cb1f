// Package agent follows log files and puts their records into streams over the AWS protocols, told how by the
// configuration file of the Amazon Kinesis Agent.
//
// [Parse] reads that file, [Open] starts what it says, [Agent.Close] ends it. docs/agent.md says which settings are taken.
//
// # The way of a line
//
// Each flow has two goroutines. The follower looks at its files at every poll:
//
//	list      the folder, when it has changed, and now and then: which files match, which are new, renamed, gone
//	read      each file, the oldest first, from behind the last record that was taken from it
//	split     into records: lines, or what begins at a line that matches, or as many lines as fit
//	convert   by dataProcessingOptions; a record can be left out
//	gather    into a buffer, until it is full or old; then it is handed to the sender
//
// The sender has one request under way. What was refused of it is sent again, in order and with growing waits, before anything that
// comes after it; then the positions behind the buffer's records are acknowledged, and saved by the one saver that all flows share.
// The files are the queue: a flow that cannot send holds one buffer in each goroutine and reads no further.
//
// # Which file is which
//
// A file is known by device and inode as long as it is held open, and beyond that by a fingerprint of what was read from it: a hash of
// up to its first 1,024 bytes, and the 64 bytes before the position. Every read looks at those 64 bytes again.
//
//	renamed                      the same file under another name: read to its end, which is reached when it
//	                             has been quiet for 30 s; an unfinished last line is then a record
//	shorter, or other bytes      truncated or written anew: read from its beginning
//	before the position
//	new, with the fingerprint    a copy that a rotation by copy and truncate has made: read from that position
//	of one that was truncated
//	any other                    new: read from its beginning
//
// # Guarantees
//
// A record that was in a file is put at least once, in the order of the file, unless the file is deleted or truncated before it was
// read. This holds over a SIGKILL of the agent and of the host: positions are saved, and synced, only for what was acknowledged, and what
// was sent in the last moment before is sent again.
//
// # Non-goals
//
// CloudWatch metrics, roles of AWS, metadata of EC2, plug-ins in Java, and compressed files.
package agent
