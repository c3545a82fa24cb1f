// Package csdk carries the C SDK, one header, for the build verb, which gives it to the compiler, and for new projects.
// What a function's author uses is shardmill.h; README.md says how.
package csdk

import _ "embed"

// HeaderName is the name that functions include the header by.
const HeaderName = "shardmill.h"

// Header is the text of shardmill.h.
//
//go:embed shardmill.h
var Header []byte
