package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/triggers"
)

// ten measures ten mappings that begin together at the oldest record of a log: what they read of the disk and how fast they are,
// beside one alone. The log is written by a host before, so that none of it is in memory.
func (b *bench) ten(ctx context.Context) error {
	module, err := buildModule(ctx, filepath.Join(b.source, filepath.FromSlash(touchers[0].source)))
	if errors.Is(err, os.ErrNotExist) {
		b.a.say("left out: mapping.ten figures need a checkout of Shardmill (--source)")
		return nil
	}
	if err != nil {
		return err
	}
	const dir, stream = "ten", "bench"
	n := b.rounds(200_000, 1_000_000)
	h, err := b.host(ctx, dir)
	if err != nil {
		return err
	}
	if err := errors.Join(fillShard(ctx, h, stream, n), h.close()); err != nil {
		return err
	}
	return b.withHost(ctx, dir, func(h *host) error {
		if _, err := h.functions.Deploy(ctx, "touch", module, runtime.Config{}); err != nil {
			return err
		}
		alone, err := sideBySide(ctx, h, stream, n, 1)
		if err != nil {
			return err
		}
		ten, err := sideBySide(ctx, h, stream, n, 10)
		if err != nil {
			return err
		}
		return errors.Join(
			b.report(measured("mapping.ten", ten.rate, "records/s").against(alone.rate).atLeast(1)),
			b.report(measured("mapping.ten.reads", ten.read/1e6, "MB").against(alone.read/1e6).atMost(1.1)),
		)
	})
}

// drawn is what mappings have done together.
type drawn struct {
	rate float64 // records a second, of all
	read float64 // bytes of the disk
}

// sideBySide has so many mappings each bring all n records of a stream to a function, from the same moment on.
func sideBySide(ctx context.Context, h *host, stream string, n, mappings int) (d drawn, err error) {
	functions := &gathering{Functions: h.functions, missing: mappings, begun: make(chan struct{}), seen: map[string]bool{}}
	table, err := h.catalog.Table(ctx, "bench-"+strconv.Itoa(mappings))
	if err != nil {
		return d, err
	}
	own, err := triggers.Open(ctx, triggers.Options{Streams: triggers.FromStore(h.streams), Functions: functions, Definitions: table, Logger: h.config.logger})
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, own.Close(context.WithoutCancel(ctx))) }()
	before, err := counterOf(ctx, h, "shardmill_journal_disk_read_bytes_total")
	if err != nil {
		return d, err
	}
	var consumers []string
	for i := range mappings {
		status, _, err := own.Put(ctx, triggers.Mapping{Name: "m" + strconv.Itoa(i), Stream: stream, Function: "touch", BatchSize: mappingBatch})
		if err != nil {
			return d, err
		}
		consumers = append(consumers, "mapping/"+status.ID)
	}
	if err := functions.together(ctx); err != nil {
		return d, err
	}
	began := time.Now()
	s, err := h.streams.Stream(stream)
	if err != nil {
		return d, err
	}
	for last := record.MakeSequence(1, uint64(n)); len(consumers) > 0; {
		if saved, ok := s.Checkpoint(consumers[0], 0); ok && saved.Sequence >= last {
			consumers = consumers[1:]
			continue
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return d, err
		}
	}
	took := time.Since(began)
	after, err := counterOf(ctx, h, "shardmill_journal_disk_read_bytes_total")
	return drawn{rate: float64(n*mappings) / took.Seconds(), read: after - before}, err
}

// gathering are functions whose calls wait until so many mappings have made one.
type gathering struct {
	triggers.Functions
	begun chan struct{} // closed then

	mu      sync.Mutex
	missing int
	seen    map[string]bool
}

func (g *gathering) Invoke(ctx context.Context, call runtime.Call, reply *runtime.Reply) error {
	g.mu.Lock()
	if name := call.Source.Mapping; !g.seen[name] {
		g.seen[name] = true
		if g.missing--; g.missing == 0 {
			close(g.begun)
		}
	}
	g.mu.Unlock()
	if err := g.together(ctx); err != nil {
		return err
	}
	return g.Functions.Invoke(ctx, call, reply)
}

// together waits until they have.
func (g *gathering) together(ctx context.Context) error {
	select {
	case <-g.begun:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// counterOf is the value of a metric that a host shows.
func counterOf(ctx context.Context, h *host, name string) (value float64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.adminAddr()+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	request.Close = true
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, fmt.Errorf("the host shows no metric %s", name)
}
