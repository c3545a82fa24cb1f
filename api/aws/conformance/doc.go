// Package conformance drives a real host with clients that know nothing of it: boto3, awscli, the AWS SDK for JavaScript, and the Kinesis
// Producer and Client Libraries for Java. Its tests are built with the tag "conformance" and run by "make conformance", which installs
// the clients first (see install): they need Python, Node.js, and Java with Maven. What is missing is skipped with a word of it.
package conformance
