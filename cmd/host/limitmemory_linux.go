package main

import (
	"fmt"
	"os"
	"strconv"

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

// yieldToHost has the system give processors to the host rather than to this process, and end this one first where memory is short. It is no matter where that does not
// work.
func yieldToHost() {
	const nicer = 5
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o600)
	priority, err := unix.Getpriority(unix.PRIO_PROCESS, 0) // 20 less the nice value
	if err != nil {
		return
	}
	threads, _ := os.ReadDir("/proc/self/task") // later ones have it from these
	for _, thread := range threads {
		if id, err := strconv.Atoi(thread.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, id, 20-priority+nicer)
		}
	}
}
