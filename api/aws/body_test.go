package aws

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/semaphore"
)

// slowly is a connection whose client sends a byte after each pause.
type slowly struct {
	*httptest.ResponseRecorder
	pause    time.Duration
	deadline time.Time
}

func (s *slowly) SetReadDeadline(t time.Time) error {
	s.deadline = t
	return nil
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(min(s.pause, time.Until(s.deadline)))
	if !time.Now().Before(s.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	p[0] = ' '
	return 1, nil
}

func (s *slowly) Close() error { return nil }

// bodyCall is a call with a body, on a handler of its own.
func bodyCall(body io.Reader, w http.ResponseWriter, permission permission) *call {
	return &call{
		Handler: &Handler{incoming: semaphore.NewWeighted(maxIncoming)}, w: w, control: http.NewResponseController(w),
		r: httptest.NewRequest("POST", "/", body), operation: operation{permission: permission},
	}
}

// A body that comes a byte at a time ends, however short its pauses are.
func TestBodyHasItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		pause      time.Duration
		permission permission
		took       time.Duration
		message    string
	}{
		"stalled":      {time.Hour, manage, bodyIdle, "No byte of the body came for 30 seconds."},
		"slow":         {29 * time.Second, manage, 76 * time.Second, "The body did not come within 1m16s."},
		"slow and put": {29 * time.Second, put, 188 * time.Second, "The body did not come within 3m8s."},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowly{ResponseRecorder: httptest.NewRecorder(), pause: c.pause}
				begin := time.Now()
				_, err := bodyCall(s, s, c.permission).readBody()
				var f *fault
				if !errors.As(err, &f) || f.status != http.StatusRequestTimeout || f.message != c.message {
					t.Errorf("it is answered %v", err)
				}
				if took := time.Since(begin); took != c.took || !s.deadline.IsZero() {
					t.Errorf("it took %v; the deadline after it is %v", took, s.deadline)
				}
			})
		})
	}
}

// Bodies on their way in share their memory: what is over it is refused so that SDKs try again, small ones come in beside it, and all of it is free afterwards.
func TestBodiesShareTheirMemory(t *testing.T) {
	read := func(c *call, n int) error {
		c.r.Body = io.NopCloser(bytes.NewReader(make([]byte, n)))
		b, err := c.readBody()
		if err == nil && len(b.b) != n {
			t.Errorf("%d bytes of %d were read", len(b.b), n)
		}
		if err == nil {
			b.release()
		}
		return err
	}
	c := bodyCall(nil, httptest.NewRecorder(), put)
	for _, length := range []int64{maxPutBody, -1} {
		c.r.ContentLength = length
		for _, n := range []int{0, 1, unshared - 1, unshared, unshared + 1, 3 << 20, maxPutBody} {
			if err := read(c, n); err != nil {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
	const others = maxIncoming - 1<<20
	if !c.incoming.TryAcquire(others) {
		t.Fatal("it is not all free after the bodies came in")
	}
	for n, want := range map[int]error{100: nil, unshared: nil, 1 << 20: nil, 3 << 20: errIncoming} {
		if err := read(c, n); !errors.Is(err, want) {
			t.Errorf("%d bytes beside large ones: %v; want %v", n, err, want)
		}
	}
	if status := errIncoming.status; status != http.StatusServiceUnavailable {
		t.Errorf("the status is %d; SDKs try 503 again", status)
	}
	c.incoming.Release(others)
	if !c.incoming.TryAcquire(maxIncoming) {
		t.Error("it is not all free after a refusal")
	}
}
