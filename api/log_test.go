package api

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/shards"
)

// failingStreams fail at everything with one error.
type failingStreams struct {
	Streams
	err error
}

func (s *failingStreams) List() []shards.Description            { return nil }
func (s *failingStreams) Stream(string) (*shards.Stream, error) { return nil, s.err }

// TestFailuresDoNotFloodTheLog has the same failure a hundred times: the log has it once, and another kind once as well.
func TestFailuresDoNotFloodTheLog(t *testing.T) {
	var log bytes.Buffer
	streams := &failingStreams{err: shards.ErrNoSpace}
	h := New(Options{Streams: streams, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	put := func() {
		r := httptest.NewRequest(http.MethodPost, "/v1/streams/s/records", strings.NewReader("1\n"))
		r.Header.Set("Content-Type", typeLines)
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	for range 100 {
		put()
	}
	streams.err = errors.New("something else")
	put()
	if lines := strings.Count(log.String(), "level=ERROR"); lines != 2 || !strings.Contains(log.String(), "something else") {
		t.Errorf("the log has %d errors, want one of each kind:\n%s", lines, log.String())
	}
}
