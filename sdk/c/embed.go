// Package csdk carries the C SDK, one header and another for tests, for the build verb, which gives it to the compiler, and for
// new projects. What a function's author uses is shardmill.h; README.md says how.
package csdk

import "embed"

// HeaderName is the name that functions include the header by.
const HeaderName = "shardmill.h"

// Header is the text of shardmill.h.
//
//go:embed shardmill.h
var Header []byte

// Headers are shardmill.h and shardmill_test.h.
//
//go:embed *.h
var Headers embed.FS
