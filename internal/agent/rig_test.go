package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeService takes records as it is told, and keeps those it took.
type fakeService struct {
	mu     sync.Mutex
	taken  []string
	keys   []string
	calls  int
	refuse func(call int, records []entry) ([]result, error) // nil: all are taken
}

func (s *fakeService) put(ctx context.Context, f *Flow, records []entry) ([]result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	results := make([]result, len(records))
	if s.refuse != nil {
		var err error
		if results, err = s.refuse(s.calls, records); err != nil {
			return nil, err
		}
	}
	for i, r := range results {
		if r.ErrorCode == "" {
			s.taken = append(s.taken, string(records[i].data))
			s.keys = append(s.keys, records[i].key)
		}
	}
	return results, nil
}

func (s *fakeService) records() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// rig is an agent with one flow, in a bubble: the clock stands until the test sleeps.
type rig struct {
	t       testing.TB
	dir     string
	config  Config
	service *fakeService
	agent   *Agent
	log     sharedLog
	ticks   int // of touch
}

// sharedLog is written by an agent's goroutines while a test reads it.
type sharedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *sharedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *sharedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newRig has a flow of app.log* that begins at the start of its files, with more settings as they stand in a configuration.
func newRig(t testing.TB, settings string) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), service: &fakeService{}}
	r.configure("app.log*", settings)
	return r
}

func (r *rig) configure(pattern, settings string) {
	r.t.Helper()
	flow := map[string]any{"filePattern": filepath.Join(r.dir, pattern), "kinesisStream": "s", "initialPosition": "START_OF_FILE", "maxBufferAgeMillis": 1000}
	if err := json.Unmarshal([]byte("{"+settings+"}"), &flow); err != nil {
		r.t.Fatal(err)
	}
	data, err := json.Marshal(map[string]any{"checkpointFile": filepath.Join(r.dir, "positions", "file"), "flows": []any{flow}})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.config, err = Parse(data); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) start() {
	r.t.Helper()
	p, err := openPositions(r.config.CheckpointFile, r.config.CheckpointTTL)
	if err != nil {
		r.t.Fatal(err)
	}
	r.agent = &Agent{config: r.config, positions: p, log: slog.New(slog.NewTextHandler(&r.log, nil))}
	r.agent.start(func(*Flow) putter { return r.service })
	synctest.Wait()
}

func (r *rig) stop() {
	r.t.Helper()
	if err := r.agent.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
}

// pass lets time go by.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// append adds to a file, or makes it.
func (r *rig) append(name, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	r.must(err)
}

func (r *rig) rename(from, to string) { r.t.Helper(); r.must(os.Rename(r.path(from), r.path(to))) }

// copyTruncate rotates as logrotate's copytruncate does.
func (r *rig) copyTruncate(from, to string) {
	r.t.Helper()
	data, err := os.ReadFile(r.path(from))
	r.must(err)
	r.must(os.WriteFile(r.path(to), data, 0o600))
	r.must(os.Truncate(r.path(from), 0))
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// wants compares what has been put with what was written.
func (r *rig) wants(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.service.records()); diff != "" {
		r.t.Errorf("records (-want +got):\n%s\nlog:\n%s", diff, r.log.String())
	}
}

// lines is text with the lines from a to b, in one piece and one by one.
func lines(a, b int) (text string, each []string) {
	for i := a; i <= b; i++ {
		each = append(each, fmt.Sprintf("line %d of some length, so that a few of them make a fingerprint\n", i))
	}
	return strings.Join(each, ""), each
}
