package api

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
	asked    int // the most memory there was for what it is asked for
}

func (s *slowly) SetReadDeadline(t time.Time) error {
	s.deadline = t
	return nil
}

func (s *slowly) Read(p []byte) (int, error) {
	s.asked = max(s.asked, cap(p))
	time.Sleep(min(s.pause, time.Until(s.deadline)))
	if !time.Now().Before(s.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	p[0] = ' '
	return 1, nil
}

// bodyCall is a call with a body, on a handler of its own.
func bodyCall(body io.Reader, w http.ResponseWriter) *call {
	h := &Handler{incoming: semaphore.NewWeighted(maxIncoming), limits: Limits{}.withDefaults()}
	return &call{Handler: h, w: w, r: httptest.NewRequest("POST", "/", body)}
}

// A body that is read whole and comes a byte at a time ends, however short its pauses are, and gets no memory because it says that it is large.
func TestBodyHasItsTime(t *testing.T) {
	for pause, c := range map[time.Duration]struct {
		took  time.Duration
		limit string
	}{
		time.Hour: {30 * time.Second, "30s"}, 29 * time.Second: {572 * time.Second, "9m32s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &slowly{ResponseRecorder: httptest.NewRecorder(), pause: pause}
			call := bodyCall(s, s)
			call.r.ContentLength = 64 << 20
			begin := time.Now()
			_, err := call.readBody(64 << 20)
			if p := (*Problem)(nil); !errors.As(err, &p) || p.Kind() != KindBodyStalled || p.Limit != c.limit {
				t.Errorf("it is answered %v", err)
			}
			if took := time.Since(begin); took != c.took || !s.deadline.IsZero() {
				t.Errorf("it took %v; the deadline after it is %v", took, s.deadline)
			}
			if s.asked > 2*trusted {
				t.Errorf("%d bytes are set aside for a few", s.asked)
			}
		})
	}
}

// Bodies on their way in share their memory: what is over it is refused, small ones come in beside it, and all of it is free afterwards.
func TestBodiesShareTheirMemory(t *testing.T) {
	c := bodyCall(nil, httptest.NewRecorder())
	read := func(n int, want error) {
		t.Helper()
		c.r.Body, c.r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, n))), -1
		b, err := c.readBody(64 << 20)
		if !errors.Is(err, want) || err == nil && len(b) != n {
			t.Errorf("%d bytes: %d, %v; want %v", n, len(b), err, want)
		}
	}
	for _, n := range []int{0, 1, unshared - 1, unshared, unshared + 1, 3 << 20, 64 << 20} {
		read(n, nil)
	}
	const others = maxIncoming - 1<<20
	if !c.incoming.TryAcquire(others) {
		t.Fatal("it is not all free after the bodies came in")
	}
	read(100, nil)
	read(unshared, nil)
	read(1<<19, nil)
	read(3<<20, errIncoming)
	if errIncoming.Status != http.StatusServiceUnavailable {
		t.Errorf("the status is %d", errIncoming.Status)
	}
	c.incoming.Release(others)
	if !c.incoming.TryAcquire(maxIncoming) {
		t.Error("it is not all free after a refusal")
	}
}
