//go:build !linux

package main

import "os"

// syncData makes a file's data durable, as the journal does.
func syncData(f *os.File) error { return f.Sync() }
