package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes a file's data durable, as the journal does.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
