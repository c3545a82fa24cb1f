// Package abi is the Go codec of the function ABI, version 1: the bytes that the host and a WebAssembly
// function exchange in one call. The layouts, as tables, are in sdk/abi.md, which is the law; its golden
// files are in testdata here, and every SDK in every language is tested on them.
//
// A call goes one way and a reply the other, so there are four types, two for each side:
//
//	         host writes          guest reads
//	call     [Call]               [CallView]
//	reply    [Reply] (reads)      [ReplyWriter] (writes)
//
// # Guarantees
//
// [Reply.Parse] and [CallView.Parse] take bytes from anywhere: they check every length and offset before they
// use it, never panic and never read outside their argument. What they return are views into it. Neither side
// allocates per record, nor, once its buffers have grown, per call.
//
// # Non-goals
//
// Nothing here knows a WebAssembly engine: whether a pointer the guest returned lies in its memory is for
// the host to check, before it parses. Limits of a stream (key and data lengths) are the stream's.
package abi
