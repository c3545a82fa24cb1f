package sdk

import (
	"context"
	"log/slog"
	"os"
	"time"
)

// NewLogHandler writes log lines to stderr in the form that the host reads levels from: slog's JSON, without a
// time, since the host stamps each line. level nil means info.
//
//	slog.SetDefault(slog.New(sdk.NewLogHandler(nil)))
//
// Without it, what a function prints to stdout is of level info and what it prints to stderr of level error.
func NewLogHandler(level slog.Leveler) slog.Handler {
	return untimed{slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})}
}

// untimed takes the time off records; slog writes none for the zero time.
type untimed struct{ slog.Handler }

func (h untimed) Handle(ctx context.Context, r slog.Record) error {
	r.Time = time.Time{}
	return h.Handler.Handle(ctx, r)
}

func (h untimed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return untimed{h.Handler.WithAttrs(attrs)}
}

func (h untimed) WithGroup(name string) slog.Handler { return untimed{h.Handler.WithGroup(name)} }
