package main

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// sayModule is a command that writes text to stderr: fd_write(2, 0, 1, 4) of what its data says is at 8.
func sayModule(text string) []byte {
	section := func(id byte, content ...byte) []byte { return append([]byte{id, byte(len(content))}, content...) }
	name := func(s string) []byte { return append([]byte{byte(len(s))}, s...) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	data := append([]byte{8, 0, 0, 0, byte(len(text)), 0, 0, 0}, text...)
	return join([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, 2, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 0, 0),
		section(2, join([]byte{1}, name("wasi_snapshot_preview1"), name("fd_write"), []byte{0, 0})...),
		section(3, 1, 1),
		section(5, 1, 0, 1),
		section(7, join([]byte{2}, name("memory"), []byte{2, 0}, name("_start"), []byte{0, 1})...),
		section(10, 1, 13, 0, 0x41, 2, 0x41, 0, 0x41, 1, 0x41, 4, 0x10, 0, 0x1a, 0x0b),
		section(11, join([]byte{1, 0, 0x41, 0, 0x0b, byte(len(data))}, data)...))
}

// awaitNoted waits until the folder has a file with the text.
func awaitNoted(t *testing.T, dir, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for found := false; !found; {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error { // files come and go
			if err == nil && d.Type().IsRegular() {
				b, _ := os.ReadFile(path)
				found = found || bytes.Contains(b, []byte(text))
			}
			return nil
		})
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%q is not noted", text)
		}
	}
}

// What a function has logged is there after the host was killed, in the log and with the invocation.
func TestLogOutlivesAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	if _, _, err := client.Deploy(t.Context(), "say", bytes.NewReader(sayModule("first line\nsecond line\n")), api.FunctionConfig{}); err != nil {
		t.Fatal(err)
	}
	call, err := client.Invoke(t.Context(), "say", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	awaitNoted(t, filepath.Join(dir, "nats"), call.ID)
	p.Process.Kill()
	<-p.ended

	p = startProcess(t, dir)
	client = clientAt(t, p.api)
	i, err := client.Invocation(t.Context(), "say", call.ID)
	if err != nil || i.LogLines != 2 || len(i.Logs) != 2 || i.Logs[1].Message != "second line" || i.Logs[0].Level != "error" {
		t.Errorf("the invocation is %+v, %v", i, err)
	}
	c := cli{env: map[string]string{"SHARDMILL_ENDPOINT": p.api}}
	for _, args := range [][]string{{"logs", "say"}, {"invocations", "say", call.ID}, {"invocations", "say", "--logs"}} {
		r := c.run(t.Context(), append([]string{"function"}, args...)...)
		if r.status != 0 || strings.Count(r.stdout, "first line") != 1 || strings.Count(r.stdout, "second line") != 1 {
			t.Errorf("%q: status %d, %s%s", args, r.status, r.stdout, r.stderr)
		}
	}
}

// Each function's latest calls are there after the host was killed, and after it was stopped, whatever the others did.
func TestInvocationsOutliveAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startProcess(t, dir)
	client := clientAt(t, p.api)
	for _, name := range []string{"a-last", "busy", "quiet"} {
		if _, _, err := client.Deploy(t.Context(), name, bytes.NewReader(sayModule("a line\n")), api.FunctionConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	call := func(name string, times int) (ids []string) {
		for range times {
			answer, err := client.Invoke(t.Context(), name, "", nil)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, answer.ID)
		}
		return ids
	}
	kept := func(name string) (ids []string) {
		for i, err := range client.Invocations(t.Context(), name, api.InvocationOptions{Logs: true}) {
			if err != nil {
				t.Fatal(err)
			}
			if name == "quiet" && (len(i.Logs) != 1 || i.Logs[0].Message != "a line") {
				t.Errorf("%s has logged %v", i.ID, i.Logs)
			}
			ids = append(ids, i.ID)
		}
		return ids
	}
	quiet, busy := call("quiet", 3), call("busy", 230)[130:]
	last := call("a-last", 1) // it is looked at before the others, so that they are noted when it is
	awaitNoted(t, filepath.Join(dir, "nats"), last[0])
	p.Process.Kill()
	<-p.ended

	for range 2 {
		p = startProcess(t, dir)
		client = clientAt(t, p.api)
		if got := kept("quiet"); !slices.Equal(got, quiet) {
			t.Errorf("of the quiet one there are %v, want %v", got, quiet)
		}
		if got := kept("busy"); !slices.Equal(got, busy) {
			t.Errorf("of the busy one there are %v, want %v", got, busy)
		}
		busy = append(busy, call("busy", 30)...)[30:]
		p.Process.Signal(syscall.SIGTERM)
		if status := p.end(); status != exitOK {
			t.Errorf("status %d", status)
		}
	}
}
