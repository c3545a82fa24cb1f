package sdk

import (
	"log/slog"
	"os"
)

// NewLogHandler writes log lines to stderr in the form that the host reads levels from: slog's JSON, without a
// time, since the host stamps each line. level nil means info.
//
//	slog.SetDefault(slog.New(sdk.NewLogHandler(nil)))
//
// Without it, what a function prints to stdout is of level info and what it prints to stderr of level error.
func NewLogHandler(level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
}
