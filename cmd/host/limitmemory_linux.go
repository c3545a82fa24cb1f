package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// limitMemory has the system refuse this process more than so many bytes besides those that it has.
func limitMemory(bytes uint64) error {
	// https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html; the sixth is what the limit counts, in pages.
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return err
	}
	var size, resident, shared, code, library, data uint64
	if _, err := fmt.Sscan(string(text), &size, &resident, &shared, &code, &library, &data); err != nil {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &limit); err != nil {
		return err
	}
	limit.Cur = min(limit.Max, data*uint64(os.Getpagesize())+bytes)
	return unix.Setrlimit(unix.RLIMIT_DATA, &limit)
}
