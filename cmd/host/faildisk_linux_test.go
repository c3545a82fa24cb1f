package main

import (
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// failWrites makes every write to a file fail in this process, as a broken disk does, until the returned function is called. Tests that are parallel
// do not run beside it.
func failWrites(t *testing.T) (mend func()) {
	t.Helper()
	// The test binary notes what it opens and asks of its environment, and writes that to a file whenever 4 KiB have gathered: here, so that it is not
	// while writes fail, which would fail the whole run.
	os.Getenv(strings.Repeat("x", 3*4096))
	signal.Ignore(syscall.SIGXFSZ) // which such a write sends besides
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 0, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	mended := false
	mend = func() {
		if mended {
			return
		}
		mended = true
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	t.Cleanup(mend)
	return mend
}

// A disk that fails at writing: puts are refused as such and nothing of them is acknowledged, what is on disk can be read, and when the disk is well
// again so is the host.
func TestFailingDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	h := bootHost(t, hostConfig{dataDir: dir})
	play(t, h, nil, []step{
		{line: "stream create s", stdout: "s"},
		{line: "stream put s --partition-key k --data before", stdout: "Sequence"},
	})
	mend := failWrites(t)
	play(t, h, nil, []step{
		{line: "stream put s --partition-key k --data lost", status: exitFailure, stderr: "disk failed.*or mend it; then try again"},
		{line: "stream put s --partition-key k --data lost", status: exitFailure, stderr: "disk"},
		{line: "stream tail s --from oldest --limit 1", stdout: "  before\n$"},
	})
	status, body := readyz(t, h)
	for status == http.StatusOK { // for as long as the disk's last write counts
		status, body = readyz(t, h)
	}
	if status != http.StatusServiceUnavailable || !strings.Contains(body, "puts cannot be made durable: write ") {
		t.Errorf("while writes fail /readyz answers %d: %s", status, body)
	}
	mend()
	play(t, h, nil, []step{{line: "stream put s --partition-key k --data after", stdout: "Sequence"}})
	if status, body := readyz(t, h); status != http.StatusOK {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	h = bootHost(t, hostConfig{dataDir: dir})
	play(t, h, nil, []step{
		{line: "stream create t", stdout: "t"},
		{line: "stream tail s --from oldest --limit 2", stdout: "  before\n.*  after\n$"},
	})
	if err := h.close(); err != nil {
		t.Error(err)
	}
}
