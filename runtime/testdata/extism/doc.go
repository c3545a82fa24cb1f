// Package extism compares functions with plugins of extism/go-sdk: the same work on the same batch, in the same process, on the same
// engine, with timeouts on in both. "make bench" runs it where its modules can be had.
package extism
