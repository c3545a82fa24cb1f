// Package rustsdk carries the Rust SDK, the crate shardmill, for new projects. What a function's author uses is the
// crate; README.md says how.
package rustsdk

import "embed"

// Crate is the crate without its tests.
//
//go:embed Cargo.toml README.md src
var Crate embed.FS
