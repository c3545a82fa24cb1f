// Package jssdk carries the JavaScript SDK: the runtime that every script runs on, for the host, and the npm package of types, for new projects.
// What a function's author uses is index.d.ts; README.md says how.
package jssdk

import "embed"

// Runtime is the text of runtime.js: an expression whose value is a function of the natives of runtime/quickjs.
//
//go:embed runtime.js
var Runtime string

// Package is what a project has of the SDK: the npm package shardmill.
//
//go:embed package.json README.md index.d.ts testing.mjs
var Package embed.FS
