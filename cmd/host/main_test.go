package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// asMain makes the test binary behave as shardmill, so that a test can send signals to a real process.
const asMain = "SHARDMILL_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if done, err := worksApart(os.Args, endsApart); done {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(exitFailure)
		}
		os.Exit(exitOK)
	}
	compiles := len(os.Args) > 1 && slices.Contains([]string{compileApart.verb, linesApart.verb, moduleApart.verb}, os.Args[1])
	if os.Getenv(asMain) != "" || compiles {
		main()
	}
	if compiles {
		os.Exit(exitOK)
	}
	dir, err := os.MkdirTemp("", "compiled")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	compiled.dir = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// testHost boots a whole host on free ports and a fresh data directory, and stops it when the test ends.
func testHost(t *testing.T, options ...func(*hostConfig)) *host {
	t.Helper()
	config := hostConfig{dataDir: t.TempDir()}
	for _, option := range options {
		option(&config)
	}
	h := bootHost(t, config)
	t.Cleanup(func() {
		keepCompiled(t, h.dir.cache())
		if err := h.close(); err != nil {
			t.Errorf("stop host: %v", err)
		}
	})
	return h
}

func bootHost(t *testing.T, config hostConfig) *host {
	t.Helper()
	config.listen, config.adminListen, config.drain = freePort, freePort, cmp.Or(config.drain, defaultDrain)
	if config.logger == nil {
		config.logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	h, err := startHost(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	lendCompiled(t, h.dir.cache())
	return h
}

// testWriter gives what a host logs to the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("host: %s", bytes.TrimRight(p, "\n"))
	return len(p), nil
}

// cli is a command line to run in this process.
type cli struct {
	stdin    string
	env      map[string]string
	terminal bool
}

// result is what a command line came to.
type result struct {
	status         int
	stdout, stderr string
}

func (c cli) run(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	status := run(ctx, args, c.console(&out, &errs))
	return result{status, out.String(), errs.String()}
}

func (c cli) console(out, errs io.Writer) console {
	return console{
		in: strings.NewReader(c.stdin), out: out, err: errs, outTerminal: c.terminal, errTerminal: c.terminal,
		lookupEnv: func(name string) (string, bool) { v, ok := c.env[name]; return v, ok },
	}
}

// endpoint is the environment of a command that speaks to h.
func endpoint(h *host) map[string]string {
	return map[string]string{"SHARDMILL_ENDPOINT": "http://" + h.addr()}
}

// lines collects what is written to it and lets a test wait for a line.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.text.Write(p)
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns once part has been written, and what there is then. It fails the test when ended is closed before.
func (l *lines) await(t *testing.T, part string, ended <-chan struct{}) string {
	t.Helper()
	for over := false; ; {
		text := l.String()
		if strings.Contains(text, part) {
			return text
		}
		if over {
			t.Fatalf("ended without %q; there is:\n%s", part, text)
		}
		select {
		case <-l.more:
		case <-ended:
			over = true
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// command is a command line that runs beside the test.
type command struct {
	out, errs *lines
	stop      context.CancelFunc // as SIGINT does
	ended     chan struct{}
	status    int // once it has ended
}

func (c cli) start(t *testing.T, args ...string) *command {
	ctx, stop := context.WithCancel(t.Context())
	r := &command{out: newLines(), errs: newLines(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		r.status = run(ctx, args, c.console(r.out, r.errs))
	}()
	t.Cleanup(func() {
		stop()
		<-r.ended
	})
	return r
}

// end stops the command and returns its status.
func (r *command) end() int {
	r.stop()
	<-r.ended
	return r.status
}
