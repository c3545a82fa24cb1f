package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shardmill/shardmill/api"
)

// writeAgentConfig writes a configuration of one flow and returns its path.
func writeAgentConfig(t *testing.T, dir string, flow map[string]any) string {
	t.Helper()
	flow["initialPosition"], flow["maxBufferAgeMillis"] = "START_OF_FILE", 1000
	config, err := json.Marshal(map[string]any{
		"checkpointFile": filepath.Join(dir, "state", "positions"), "cloudwatch.emitMetrics": true, "flows": []any{flow},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.json")
	writeFile(t, path, string(config))
	return path
}

// startAgent runs the agent in a process of its own.
func startAgent(t *testing.T, config, endpoint string) *process {
	t.Helper()
	p := &process{
		Cmd: exec.Command(os.Args[0], "agent", "--config", config, "--endpoint", endpoint), log: newLines(), ended: make(chan struct{}),
	}
	p.Env = append(os.Environ(), asMain+"=1")
	p.Stderr = p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.Wait()
	}()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.ended
	})
	p.log.await(t, "agent is running", p.ended)
	return p
}

// logWriter writes numbered lines to a log file and rotates it, never more than so many lines ahead of what has arrived.
type logWriter struct {
	dir     string
	mu      sync.Mutex
	more    *sync.Cond
	written int
	arrived map[int]bool
	order   []int // of first arrivals
	stopped bool
}

const linesAhead = 2000

func (w *logWriter) run(rng *rand.Rand) error {
	for files := 1; ; files++ {
		f, err := os.OpenFile(filepath.Join(w.dir, "app.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		least := 50 + rng.IntN(800)
		// Files are told apart in age by the file system's clock, which ticks every few milliseconds.
		for begun := time.Now(); least > 0 || time.Since(begun) < 25*time.Millisecond; least-- {
			line := fmt.Sprintf("line %d %s\n", w.written, strings.Repeat("x", w.written%97))
			cut := rng.IntN(len(line))
			_, err = f.WriteString(line[:cut])
			if err == nil {
				_, err = f.WriteString(line[cut:])
			}
			if err != nil {
				return err
			}
			if !w.next() {
				return f.Close()
			}
		}
		if err := f.Close(); err != nil {
			return err
		}
		if err := os.Rename(f.Name(), fmt.Sprintf("%s.%06d", f.Name(), files)); err != nil {
			return err
		}
	}
}

// next counts a line and waits while the writer is too far ahead.
func (w *logWriter) next() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written++
	for w.written-len(w.order) >= linesAhead && !w.stopped {
		w.more.Wait()
	}
	return !w.stopped
}

// arrive notes a line that is in the stream.
func (w *logWriter) arrive(text string) error {
	number, _, _ := strings.Cut(strings.TrimPrefix(text, "line "), " ")
	n, err := strconv.Atoi(number)
	if err != nil || text != fmt.Sprintf("line %d %s\n", n, strings.Repeat("x", n%97)) {
		return fmt.Errorf("%q is not a line that was written", text)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.arrived[n] {
		w.arrived[n] = true
		w.order = append(w.order, n)
		w.more.Broadcast()
	}
	return nil
}

// await waits until n lines have arrived, or until stop.
func (w *logWriter) await(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.order) < n && !w.stopped {
		w.more.Wait()
	}
}

func (w *logWriter) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	w.more.Broadcast()
}

// The agent is killed at random moments while a program writes lines and rotates its file: every line is in the stream, each as it was
// written, and first arrivals are in order.
func TestKilledAgent(t *testing.T) {
	t.Parallel()
	host := testHost(t)
	client := clientAt(t, "http://"+host.addr())
	if _, _, err := client.CreateStream(t.Context(), "log", api.StreamConfig{Shards: 1}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := writeAgentConfig(t, dir, map[string]any{
		"filePattern": filepath.Join(dir, "app.log*"), "kinesisStream": "log", "maxBufferSizeRecords": 40, "minTimeBetweenFilePollsMillis": 10,
	})
	w := &logWriter{dir: dir, arrived: map[int]bool{}}
	w.more = sync.NewCond(&w.mu)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	defer context.AfterFunc(ctx, w.stop)()
	var work sync.WaitGroup
	defer func() {
		w.stop()
		cancel()
		work.Wait()
	}()
	work.Go(func() {
		for r, err := range client.Records(ctx, "log", api.ReadOptions{Follow: true}) {
			if err == nil {
				err = w.arrive(string(r.Bytes()))
			}
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				w.stop()
			}
		}
	})
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	written := make(chan error, 1)
	work.Go(func() { written <- w.run(rand.New(rand.NewPCG(rng.Uint64(), 1))) })
	rounds := crashRounds(t)
	target := 0
	for range rounds {
		p := startAgent(t, config, "http://"+host.addr())
		target += 200 + rng.IntN(2000)
		w.await(target) // the random moment
		p.Process.Kill()
		<-p.ended
	}
	w.stop()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.stopped = ctx.Err() != nil || t.Failed()
	w.mu.Unlock()
	p := startAgent(t, config, "http://"+host.addr())
	w.await(w.written)
	cancel()
	p.Process.Signal(syscall.SIGTERM)
	if status := p.end(); status != exitOK {
		t.Errorf("the agent's exit status is %d:\n%s", status, p.log)
	}
	for i, n := range w.order {
		if n != i {
			t.Fatalf("line %d arrived as the %d-th", n, i)
		}
	}
	if len(w.order) != w.written {
		t.Fatalf("%d lines of %d arrived; the last agent said:\n%s", len(w.order), w.written, p.log)
	}
	t.Logf("%d kills, %d lines", rounds, w.written)
}

// A stream that takes less than is written holds the agent back: what it refuses comes again, in order, and nothing is lost or put twice.
func TestAgentIsThrottled(t *testing.T) {
	t.Parallel()
	host := testHost(t)
	client := clientAt(t, "http://"+host.addr())
	if _, _, err := client.CreateStream(t.Context(), "log", api.StreamConfig{Shards: 1, Limits: "aws"}); err != nil {
		t.Fatal(err)
	}
	const count = 2300 // of which a shard takes 1,000 at once, and 1,000 a second
	dir := t.TempDir()
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	writeFile(t, filepath.Join(dir, "app.log"), text.String())
	config := writeAgentConfig(t, dir, map[string]any{
		"filePattern": filepath.Join(dir, "app.log"), "kinesisStream": "log", "retryInitialBackoffMillis": 20, "retryMaxBackoffMillis": 100,
	})
	p := startAgent(t, config, "http://"+host.addr())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next := 0
	for r, err := range client.Records(ctx, "log", api.ReadOptions{Follow: true, Limit: count}) {
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.Bytes()); got != fmt.Sprintf("line %d\n", next) {
			t.Fatalf("record %d is %q", next, got)
		}
		next++
	}
	if next != count {
		t.Errorf("%d records arrived", next)
	}
	p.Process.Signal(syscall.SIGTERM)
	if status := p.end(); status != exitOK || !strings.Contains(p.log.String(), "ProvisionedThroughputExceededException") {
		t.Errorf("the agent's exit status is %d; it said:\n%s", status, p.log)
	}
}

func TestAgentVerb(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := writeAgentConfig(t, dir, map[string]any{"filePattern": "/var/log/app.log*", "kinesisStream": "flights"})
	writeFile(t, filepath.Join(dir, "bad.json"), `{"flows":[{"filePattern":"/var/log/app.log","kinesisStream":"s","colour":"red"}]}`)
	writeFile(t, filepath.Join(dir, "sqlite"), "SQLite format 3\x00")
	play(t, testHost(t), map[string]string{"CONFIG": config, "DIR": dir}, []step{
		{line: "agent --config CONFIG --check", stdout: `^FILES +STREAM +KIND\n/var/log/app\.log\* +flights +stream\n$`, stderr: `cloudwatch.emitMetrics means nothing here`},
		{line: "agent --config CONFIG --check --output json", stdout: `^{"files":"/var/log/app.log\*","stream":"flights","kind":"stream"}\n$`, stderr: `cloudwatch`},
		{line: "agent", status: exitUsage, stderr: `--config is needed`},
		{line: "agent --config DIR/none.json", status: exitFailure, stderr: `none.json`},
		{line: "agent --config DIR/bad.json", status: exitFailure, stderr: `bad.json: flows\[0\].colour is not a setting of the agent`},
		{line: "agent --config CONFIG --checkpoint-file DIR/sqlite", status: exitFailure, stderr: `belongs to the Amazon Kinesis Agent.*--checkpoint-file`},
		{line: "agent --config CONFIG --log-level loud", status: exitUsage, stderr: `loud`},
	})
}
