package abi

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
)

func TestParseLevel(t *testing.T) {
	for line, want := range map[string]string{
		`{"level":"INFO","msg":"x"}`:                             LevelInfo,
		`{"time":"…","level":"WARN","msg":"x"}`:                  LevelWarn,
		` {"msg":"x" , "level" : "warning"} ` + "\r":             LevelWarn,
		`{"level":"DEBUG-2"}`:                                    LevelDebug,
		`{"level":"ERROR+4","msg":"}"}`:                          LevelError,
		`{"level":"fatal"}`:                                      LevelError,
		`{"level":"trace"}`:                                      LevelDebug,
		`{"msg":"level","level":"error"}`:                        LevelError,
		`{"msg":"a \"level\":\"debug\" b","level":"info"}`:       LevelInfo,
		`{"inner":{"level":"debug"},"level":"error"}`:            LevelError,
		`{"inner":[{"level":"debug"}],"x":"[{","level":"error"}`: LevelError,
		`{"inner":{"level":"debug"}}`:                            "",
		`{"level":30}`:                                           "",
		`{"level":"loud"}`:                                       "",
		`{"level":null,"msg":"x"}`:                               "",
		`{"level":"info"`:                                        "",
		`"level":"info"`:                                         "",
		`plain text`:                                             "",
		``:                                                       "",
		`{`:                                                      "",
		`{}`:                                                     "",
		`{"level}`:                                               "",
		`{"level"}`:                                              "",
		`{"level":}`:                                             "",
		`{"level\}`:                                              "",
		`{"level":"info\}`:                                       "",
	} {
		got, ok := ParseLevel([]byte(line))
		if got != want || ok != (want != "") {
			t.Errorf("%s: %q, %v; want %q", line, got, ok, want)
		}
	}
}

func TestParseLevelOfSlog(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug - 1: LevelDebug, slog.LevelDebug: LevelDebug, slog.LevelInfo: LevelInfo, slog.LevelInfo + 1: LevelInfo,
		slog.LevelWarn: LevelWarn, slog.LevelError: LevelError, slog.LevelError + 10: LevelError,
	} {
		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.Level(-100)})).Log(context.Background(), level, "m", "level", "x")
		if got, ok := ParseLevel(bytes.TrimSpace(b.Bytes())); !ok || got != want {
			t.Errorf("%s: %q, want %q", b.Bytes(), got, want)
		}
	}
}

func FuzzParseLevel(f *testing.F) {
	f.Add([]byte(`{"level":"INFO","msg":"x","n":[{"level":"debug"}]}`))
	f.Add([]byte(`{"level":"a\"b\\"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		switch level, ok := ParseLevel(line); level {
		case LevelDebug, LevelInfo, LevelWarn, LevelError:
			if !ok {
				t.Error("a level that is none")
			}
		case "":
			if ok {
				t.Error("no level that is one")
			}
		default:
			t.Errorf("level %q", level)
		}
	})
}
