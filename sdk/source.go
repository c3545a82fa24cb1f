//go:build !wasm

package sdk

import "embed"

// Source is this SDK's own source, tests left in, by its paths below sdk. It is there for `shardmill function new`, which writes
// it beside a new function; functions do not carry it.
//
//go:embed *.go abi/*.go record/*.go sdktest/*.go lambda/*.go
var Source embed.FS
