// Package runtime keeps functions and runs them: WebAssembly modules that speak the ABI of sdk/abi.md.
//
// A [Runtime] has functions by name; a function has numbered immutable versions, of which the newest is $LATEST; a
// version is code and a [Config]. [Runtime.Deploy] makes a version, [Runtime.Invoke] calls one with a [Call] and fills in a
// [Reply]. Records that a function emits go to the [Emitter] that the runtime was given, or, of a call with
// a [Once], to the [OnceEmitter].
//
// An [Alias] is a name for a version, or for two among which calls are divided (a canary); [Runtime.Rollback] makes what an older
// version was the newest again. [Runtime.Reserve] bounds the calls of a function over all its versions.
//
// A module that exports _start and not the ABI's marker is a command, a program of WASI preview 1: it handles direct invocations
// only, each in a new instance that runs from its start, with the body on stdin; what it writes to stdout is the answer, stderr is
// its log, and status 0 is success. Its upload does not run it.
//
// [Runtime.Invocations] is what became of the latest calls. A call with a [Trial] is only looked at: it has no effect but its reply, is in no list, and runs beside
// the version's concurrency.
//
// # Guarantees
//
// What Deploy has answered is durable, has been compiled and has run once; nothing refused changes anything. A swap of
// $LATEST is atomic: calls under way finish on the version that they began with. [Runtime.Submit] answers when the upload is durable; it
// is compiled in the background, over restarts, and the version before serves until it can be swapped, or for good where it fails. An upload never undoes
// what came after it: it is given up (ErrSuperseded) when a newer one serves or waits before it is ready, and when the function is deleted.
//
// A function cannot harm the host or another call. Its memory is bounded and outside Go's heap, its time is bounded,
// what it logs is bounded, and it reaches nothing but WASI's clocks, random numbers, stdout and stderr, and what its [Config] grants: no
// files, no network, no environment of the host. Its way out is the functions of sdk/abi.md §6, each behind a grant and one of [Doors]. An instance runs one call at a time; it is used again as long as it behaves, and closed
//
//   - after a trap, an exit, a timeout, a malformed reply or a panic, and when its caller gave up,
//   - when its memory has grown to more than three quarters of what it could grow by,
//   - when it has been idle for Options.IdleTimeout, and when its version is no longer $LATEST; of all those that hold more memory than Config.IdleBytes and
//     Options.IdleBytes allow, the ones used longest ago.
//
// Compiled code that nobody has called for Options.IdleTimeout is unloaded, and loaded again from the cache by the next call.
//
// A failure of the function is a [*FunctionError], which says in which way it failed; every other error is not the
// function's fault. When Invoke fails, nothing that the function emitted in that call has been put, unless the
// error is ErrEmit or of kind FailRefused.
//
// Records are copied once on the way in, from where they lie into the guest's memory, and once on the way out, the
// whole reply, so that the instance is free while they are put. Nothing is allocated per record.
//
// # What is stored
//
// The definition of a function is one JSON value under its name in the table Options.Functions: format, number of the
// next version, versions, aliases, reservation, and the update: an upload that does not serve yet, or has failed. Code is in Options.Code by its digest; versions with the same code share it. Only
// the newest Options.KeepVersions versions (10) are kept, and those that an alias or Options.Pinned names, so that code does not
// pile up; the numbers of dropped ones do not come back, and calls of them answer ErrNotFound. A function that is deleted and made again begins with version 1.
//
// Options.CacheDir has compiled code, so that a start need not compile:
//
//	CacheDir/sha256-<hex of the code's digest>-m<versions of the rewriting>-<engine and processor>/
//	  SEAL                        JSON: path, size and CRC-32C of every other file; what does not match is thrown away
//	  wazero-<version>-…/<key>    written by the engine
//	CacheDir/new-<random>/        the same, while Options.CompileModule fills it; what is left of one is removed by Open
//
// It may be lost at any time. Log lines are kept in memory, a bounded number of bytes per function; the last ones of an invocation are noted with it in
// Options.History, once a second, away from the calls: diary.go tells how, so that each function's latest outlive a restart however much the others are called.
//
// # Scripts
//
// A version's code may be a source in JavaScript or TypeScript (package quickjs). Its program is the JavaScript engine's module, which all scripts share, and the
// script, which each instance reads from stdin when it is made. The cache has the engine's machine code under the engine's digest, and a script under
// the digest of its source.
//
// # How instances begin
//
// All of it is in snapshot.go. A module is divided (package image) before it is compiled: its data is taken out, and its globals can be set. The first
// instance of a program is initialized, and a snapshot taken of it before its first call: memory, as a sealed file that others map
// privately, and globals. The others begin with that. Where copies could be told from instances, or would share random numbers, there is no
// snapshot, and VersionDetail.StartReason says why. Instances whose readings are noted or played are always initialized.
//
// # Stopping a guest
//
// All of it is in meter.go. Before a module is compiled it is rewritten (package fuel), so that it counts its instructions and calls the host
// about every millisecond. There the guest is stopped when its time is up, its caller has given up or the runtime closes;
// else it lets other goroutines run, the garbage collector among them, and goes on. The uploaded bytes are what is stored, hashed and given
// back. Sleeping, and what the host does for a guest with many bytes, ends at once.
//
// # Reading a module
//
// An upload is walked whole before the engine sees it (inspect), because the engine's decoder trusts the counts in it:
// a module of 20 bytes can claim four thousand million types. Limits beyond WebAssembly's own: 50,000 functions, 1,000,000 entries in any
// vector and in all tables, 50,000 locals and 7,654,321 bytes of code in a function.
//
// # Non-goals
//
// It knows no streams, mappings or HTTP. It does not retry. It counts instructions and limits time. Functions are not shared
// between hosts: one Runtime writes the table.
package runtime
