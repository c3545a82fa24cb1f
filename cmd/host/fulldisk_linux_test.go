package main

import (
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shardmill/shardmill/api"
)

// smallDisk is a disk of its own, in memory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("NOT TESTED: a full disk: only root can mount a small one: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes a file until nothing more fits on the disk.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); errors.Is(err, syscall.ENOSPC) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func readyz(t *testing.T, h *host) (status int, body string) {
	t.Helper()
	r, err := http.Get("http://" + h.adminAddr() + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	return r.StatusCode, string(b)
}

// A disk without a free byte: what takes space is refused as such, the host says that it is not ready, what makes space works, and
// then so does everything, without a restart.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "128m")
	h := bootHost(t, hostConfig{dataDir: filepath.Join(dir, "data")})
	module := filepath.Join(t.TempDir(), "out.wasm")
	writeFile(t, module, string(echoModule))
	files := map[string]string{"WASM": module}
	play(t, h, files, []step{
		{line: "stream create kept", stdout: "kept"},
		{line: "stream put kept --partition-key k --data before", stdout: "Sequence"},
		{line: "stream create large", stdout: "large"},
		{line: "function deploy kept WASM --emit kept", stdout: "kept"},
		{line: "function deploy gone WASM", stdout: "gone"},
	})
	if status, body := readyz(t, h); status != http.StatusOK {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	client := clientOf(t, h)
	text := strings.Repeat("x", 256<<10)
	var err error
	for err == nil {
		_, err = client.Put(t.Context(), "large", []api.PutRecord{{PartitionKey: "k", Text: &text}})
	}
	if p := (*api.Problem)(nil); !errors.As(err, &p) || p.Kind() != api.KindNoSpace {
		t.Fatalf("a put on a full disk: %v", err)
	}
	fill(t, filepath.Join(dir, "filler"))

	if status, body := readyz(t, h); status != http.StatusServiceUnavailable || !strings.Contains(body, "no space left on device") {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	play(t, h, files, []step{
		{line: "stream create new", status: exitFailure, stderr: "not enough space.*delete a stream or a function"},
		{line: "function deploy new WASM", status: exitFailure, stderr: "not enough space.*delete a stream or a function"},
		{line: "mapping create m --stream kept --function kept", status: exitFailure, stderr: "not enough space.*delete a stream or a function"},
		{line: "stream update large --retention 1h", stdout: "Retention: +1h"},
		{line: "function delete gone", stdout: "deleted"},
		{line: "stream delete large", stdout: "deleted"},
		{line: "stream create new", stdout: "new"},
		{line: "function deploy new WASM", stdout: "new"},
		{line: "mapping create m --stream new --function kept", stdout: "enabled"},
		{line: "stream put new --partition-key k --data after", stdout: "Sequence"},
		{line: "stream tail kept --from oldest --limit 2", stdout: "  before\n.*  after\n$"},
	})
	if status, body := readyz(t, h); status != http.StatusOK {
		t.Errorf("/readyz answers %d: %s", status, body)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	h = bootHost(t, hostConfig{dataDir: filepath.Join(dir, "data")})
	play(t, h, nil, []step{
		{line: "stream list", stdout: "kept .*\nnew "},
		{line: "function list", stdout: "kept .*\nnew "},
		{line: "mapping list", stdout: "m "},
	})
	if alarms := h.catalog.Alarms(); len(alarms) != 0 {
		t.Errorf("%v", alarms)
	}
	if err := h.close(); err != nil {
		t.Error(err)
	}
	if left := strings.Join(listDir(t, filepath.Join(dir, "data", "cache")), " "); strings.Contains(left, "probe-") {
		t.Errorf("a probe was left: %s", left)
	}
}
