// Package arch holds the import table of DESIGN.md §1 and checks the source tree against
// it. It is a test: nothing imports it.
//
// [Check] parses the import declarations of all Go files itself. The go
// command caches a test that asks it, which then keeps passing when another package changes.
//
// # What is checked
//
//   - Every folder with Go files is a row of the table; a new package is a new row.
//   - A package imports those of ours that its row names, which are all on lower levels,
//     or, on its own level, named as an exception. Nobody imports the top.
//   - A library with an owner is imported by its owners only: wazero by runtime,
//     nats-server by internal/broker.
//   - A package that guests compile imports the standard library only.
//   - A package imports nothing its row forbids.
//   - The standard package runtime is imported as goruntime; cgo is not used.
//
// Test files may import more: of ours, everything on their own level or below, because a
// test builds the real parts below its package; any library without an owner; and what
// the row forbids the package, such as net/http to serve what a test fetches. Owned
// libraries and the top stay closed to them too.
//
// Folders that the go command skips (testdata, names that begin with . or _) and nested
// modules are not looked at. Build constraints are: a file is checked whatever it is
// built for.
package arch
