package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog carries nats-server's log lines to slog and remembers the last fatal one,
// which is the only place where the server says why it did not start.
type serverLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal string
}

func (l *serverLog) print(level slog.Level, format string, args []any) {
	if !l.log.Enabled(context.Background(), level) {
		return
	}
	l.log.Log(context.Background(), level, fmt.Sprintf(format, args...), "component", "nats-server")
}

func (l *serverLog) Noticef(format string, args ...any) { l.print(slog.LevelDebug, format, args) }
func (l *serverLog) Warnf(format string, args ...any)   { l.print(slog.LevelWarn, format, args) }
func (l *serverLog) Errorf(format string, args ...any)  { l.print(slog.LevelError, format, args) }
func (l *serverLog) Debugf(format string, args ...any)  { l.print(slog.LevelDebug, format, args) }
func (l *serverLog) Tracef(format string, args ...any)  { l.print(slog.LevelDebug, format, args) }

// Fatalf keeps the message; nats-server's own loggers would end the process here.
func (l *serverLog) Fatalf(format string, args ...any) {
	l.print(slog.LevelError, format, args)
	l.mu.Lock()
	l.fatal = fmt.Sprintf(format, args...)
	l.mu.Unlock()
}

func (l *serverLog) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
