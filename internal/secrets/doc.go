// Package secrets keeps values that functions may read and nobody else may see.
//
// A [Store] has values by name. They are stored encrypted, each by itself, in a table of the catalog, and held in memory in the clear
// once they have been read.
//
// # Guarantees
//
//   - What Set has answered is durable.
//   - A value leaves the Store by Value only: it is in no description, no error and no log.
//   - A value that was moved to another name, or changed, is found out and not handed over: the name is encrypted with it, and the
//     encryption is authenticated.
//
// # What is stored
//
// Under the secret's name, JSON: format 1, created, modified, recipient (the public key that it was encrypted to) and sealed, a file of
// the format age-encryption.org/v1 in base64. The plaintext is one byte with the length of the name, the name, and the value.
//
// The key file has one X25519 identity as `age-keygen` writes it; lines that begin with '#' are passed over. It must be readable by
// its owner alone. One that is not named is made with the first secret.
//
// # Non-goals
//
// It has no versions of a value and no grants: which function may read what is package runtime's. Whoever can read both the data directory
// and the key file can read the values; keep the key elsewhere where backups of the one should not open the other.
package secrets
