//go:build !linux

package journal

import "os"

// datasync flushes the file to the disk; on darwin os.File.Sync asks for F_FULLFSYNC, which the disk's own cache needs.
func datasync(f *os.File, _ struct{}) error { return f.Sync() }

var fdatasync, fdatasyncYielding struct{}
