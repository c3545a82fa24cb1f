package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// errCutOff is what a host's stop ends with when something had not ended in the drain time.
var errCutOff = errors.New("the drain time was over")

// cutOffGrace is how long what has been cut off may take to return: a handler whose connection is gone, say.
const cutOffGrace = 2 * time.Second

// close stops the host from the front, all of it within one drain time from now: requests and batches under way end
// beside each other, and what has not ended then is cut off and named in the error. Everything is closed in any case,
// and nothing of the host runs when it returns.
func (h *host) close() error {
	h.ready.Store(&errStopping)
	ctx, cancel := context.WithTimeout(context.Background(), h.config.drain)
	defer cancel()
	var errs []error
	for i := len(h.stops) - 1; i >= 0; i-- {
		errs = append(errs, h.stops[i](ctx))
	}
	h.stops = nil
	h.wait.Wait()
	return errors.Join(errs...)
}

// drain ends what is under way: mappings stop reading at once, whatever the requests still do.
func (h *host) drain(ctx context.Context, server *http.Server, under *requests) error {
	var batches error
	var mappings sync.WaitGroup
	mappings.Go(func() { batches = h.mappings.Close(ctx) })
	answers := under.drain(ctx, server)
	mappings.Wait()
	return errors.Join(answers, batches)
}

// requests hands requests on and knows those that are under way.
type requests struct {
	handler http.Handler

	mu    sync.Mutex
	under map[*http.Request]time.Time // since when
	idle  chan struct{}               // closed when the last one ends; nil when nobody waits for that
}

func newRequests(handler http.Handler) *requests {
	return &requests{handler: handler, under: make(map[*http.Request]time.Time)}
}

// ServeHTTP serves one request.
func (q *requests) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	q.under[r] = time.Now()
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if delete(q.under, r); len(q.under) == 0 && q.idle != nil {
			close(q.idle)
			q.idle = nil
		}
	}()
	q.handler.ServeHTTP(w, r)
}

// drain lets the server's requests end and cuts off those that have not when ctx ends. Error: errCutOff, with their names.
func (q *requests) drain(ctx context.Context, server *http.Server) error {
	err := server.Shutdown(ctx)
	if err == nil {
		return nil
	}
	// Connections that have not sent anything yet can be what Shutdown waited for: nothing of them is lost.
	cut := q.names()
	closed := server.Close()
	q.await(cutOffGrace)
	if len(cut) > 0 {
		return errors.Join(fmt.Errorf("%w: cut off %s", errCutOff, strings.Join(cut, ", ")), closed)
	}
	return closed
}

// names describes the requests under way, the oldest first.
func (q *requests) names() []string {
	const most = 10
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*http.Request, 0, len(q.under))
	for r := range q.under {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *http.Request) int { return q.under[a].Compare(q.under[b]) })
	var names []string
	for _, r := range all[:min(most, len(all))] {
		names = append(names, fmt.Sprintf("%s %s of %s after %s", r.Method, r.URL.EscapedPath(), r.RemoteAddr, shortDuration(time.Since(q.under[r]))))
	}
	if len(all) > most {
		names = append(names, fmt.Sprintf("%d requests more", len(all)-most))
	}
	return names
}

// await returns when no request is under way, or after limit.
func (q *requests) await(limit time.Duration) {
	q.mu.Lock()
	if len(q.under) == 0 {
		q.mu.Unlock()
		return
	}
	idle := make(chan struct{})
	q.idle = idle
	q.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
