// Package assdk carries the AssemblyScript SDK, the npm package shardmill, for the build verb, which gives it to the compiler,
// and for new projects. What a function's author uses is the package; README.md says how.
package assdk

import "embed"

// PackageName is the name that functions import the package by.
const PackageName = "shardmill"

// Package is the package.
//
//go:embed package.json asconfig.json README.md index.ts exports.ts testing.mjs assembly
var Package embed.FS
