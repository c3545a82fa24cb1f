// Package jssdk carries the JavaScript SDK: the runtime that every script runs on, for the host, and the types, for new projects.
// What a function's author uses is index.d.ts; README.md says how.
package jssdk

import _ "embed"

// Runtime is the text of runtime.js: an expression whose value is a function of the natives of runtime/quickjs.
//
//go:embed runtime.js
var Runtime string

// Types is the text of index.d.ts.
//
//go:embed index.d.ts
var Types []byte
