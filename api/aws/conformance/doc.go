// Package conformance drives a real host with clients that know nothing of it: boto3, awscli, the AWS SDK for JavaScript, the Kinesis
// Producer and Client Libraries for Java, and Terraform's provider. Its tests are built with the tag "conformance" and run by "make conformance", which installs
// the clients first (see install): they need Python, Node.js, and Java with Maven. What is missing is skipped with a word of it.
//
// Terraform is not installed: it has to be on the PATH, and to find its provider hashicorp/aws (5.100), by its own CLI configuration, from the
// registry, or in the folder that SHARDMILL_TERRAFORM_PLUGINS names.
package conformance
