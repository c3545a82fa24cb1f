package sdk

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
)

func TestLogLinesCarryTheirLevel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stderr")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stderr := os.Stderr
	os.Stderr = f
	log, all := slog.New(NewLogHandler(nil)), slog.New(NewLogHandler(slog.LevelDebug))
	os.Stderr = stderr

	log.Debug("not asked for")
	all.Debug("asked for")
	log.Info("i", "time", "the caller's own")
	log.With("a", 1).WithGroup("g").Warn("w", "time", 2)
	log.Error("line\nbreak")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	want := []string{abi.LevelDebug, abi.LevelInfo, abi.LevelWarn, abi.LevelError}
	if len(lines) != len(want) {
		t.Fatalf("%d lines:\n%s", len(lines), b)
	}
	for i, line := range lines {
		if level, ok := abi.ParseLevel([]byte(line)); !ok || level != want[i] {
			t.Errorf("%s: level %q, want %q", line, level, want[i])
		}
	}
	if got := lines[1] + lines[2]; got != `{"level":"INFO","msg":"i","time":"the caller's own"}`+`{"level":"WARN","msg":"w","a":1,"g":{"time":2}}` {
		t.Errorf("lines %s", got)
	}
}
