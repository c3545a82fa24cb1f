package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// guest builds one of the guests in runtime/testdata. ok is false where that cannot be done, which it says.
func (b *bench) guest(ctx context.Context, name string) (code []byte, ok bool, err error) {
	source := filepath.Join(b.source, "runtime", "testdata", name)
	if _, err := os.Stat(source); err != nil {
		b.a.say("left out: meter figures need a checkout of Shardmill (--source)")
		return nil, false, nil
	}
	code, err = buildModule(ctx, source)
	if missing := (*toolchainError)(nil); errors.As(err, &missing) {
		b.a.say("left out: meter figures: %s", oneLine(err))
		return nil, false, nil
	}
	return code, err == nil, err
}

// guestC builds runtime/testdata/workc, which is no function but a module of work.
func (b *bench) guestC(ctx context.Context) (code []byte, ok bool, err error) {
	clang, err := exec.LookPath("clang")
	if err != nil {
		b.a.say("left out: figures of work in C need clang and lld")
		return nil, false, nil
	}
	out := filepath.Join(b.dir, "workc.wasm")
	cmd := exec.CommandContext(ctx, clang, "--target=wasm32", "-O2", "-nostdlib", "-fno-builtin", "-Wl,--no-entry",
		"-o", out, filepath.Join(b.source, "runtime", "testdata", "workc", "work.c"))
	if text, err := cmd.CombinedOutput(); err != nil {
		b.a.say("left out: figures of work in C: %v: %s", err, text)
		return nil, false, nil
	}
	code, err = os.ReadFile(out)
	return code, err == nil, err
}

// meter measures what it costs that guests can be stopped, and how well they are.
func (b *bench) meter(ctx context.Context) error {
	code, ok, err := b.guest(ctx, "work")
	if err != nil || !ok {
		return err
	}
	mean, err := b.compare(ctx, "go", code)
	if err != nil {
		return err
	}
	if code, ok, err = b.guestC(ctx); err == nil && ok {
		var c float64
		if c, err = b.compare(ctx, "c", code); err == nil {
			err = b.report(measured("meter.mean", math.Sqrt(mean*c), "× plain").atMost(1.12))
		}
	}
	if err != nil {
		return err
	}
	if code, ok, err = b.guest(ctx, "probe"); err != nil || !ok {
		return err
	}
	return b.withHost(ctx, "meter", func(h *host) error {
		return errors.Join(b.stops(ctx, h, code), b.shares(ctx, h, code))
	})
}

// compare reports each kind of work of a module: metered, and with the engine's own switch, against plain. It returns the geometric mean of the
// metered ones' ratios.
func (b *bench) compare(ctx context.Context, language string, code []byte) (mean float64, err error) {
	works := []string{"json", "hash", "sort", "scan"}
	for _, work := range works {
		c, err := runtime.Compare(ctx, code, work, 4, b.span(700*time.Millisecond, 5*time.Second))
		if err != nil {
			return 0, err
		}
		name, plain := "meter."+language+"."+work, milliseconds(c.Plain)
		metered := measured(name, milliseconds(c.Metered), "ms").against(plain).atMost(1.2)
		mean += math.Log(metered.measure()) / float64(len(works))
		if err := errors.Join(b.report(metered), b.report(measured(name+".engine", milliseconds(c.Engine), "ms").against(plain))); err != nil {
			return 0, err
		}
	}
	mean = math.Exp(mean)
	return mean, b.report(measured("meter."+language+".mean", mean, "× plain").atMost(1.12))
}

// stops reports how long after their timeout guests of several sorts are stopped, the latest of a few tries.
func (b *bench) stops(ctx context.Context, h *host, probe []byte) error {
	const timeout = 100 * time.Millisecond
	if _, err := h.functions.Deploy(ctx, "stops", probe, runtime.Config{Timeout: timeout}); err != nil {
		return err
	}
	for _, verb := range []string{"spin", "deep", "clock", "fill"} {
		var latest time.Duration
		for range b.rounds(3, 20) {
			late, err := lateness(ctx, h, verb, timeout)
			if err != nil {
				return err
			}
			latest = max(latest, late)
		}
		if err := b.report(measured("meter.stop."+verb, milliseconds(latest), "ms").atMost(10)); err != nil {
			return err
		}
	}
	return nil
}

// lateness is how long after its timeout a call that would not end by itself is stopped.
func lateness(ctx context.Context, h *host, verb string, timeout time.Duration) (time.Duration, error) {
	var reply runtime.Reply
	err := h.functions.Invoke(ctx, runtime.Call{Function: "stops", Kind: runtime.KindInvoke, Body: []byte(verb)}, &reply)
	var failed *runtime.FunctionError
	if !errors.As(err, &failed) || failed.Kind != runtime.FailTimeout {
		return 0, fmt.Errorf("the guest that does %q was not stopped for its timeout: %w", verb, err)
	}
	return max(reply.Duration-timeout, time.Microsecond), nil
}

// shares reports, while twice as many guests spin as there are processors, the longest of a few forced garbage collections, and the
// calls of another function beside those of when it has the machine for itself.
func (b *bench) shares(ctx context.Context, h *host, probe []byte) error {
	config := runtime.Config{Timeout: time.Minute, Concurrency: 2 * goruntime.GOMAXPROCS(0)}
	for _, name := range []string{"spins", "works"} {
		if _, err := h.functions.Deploy(ctx, name, probe, config); err != nil {
			return err
		}
	}
	span := b.span(500*time.Millisecond, 3*time.Second)
	alone, err := echoes(ctx, h, span)
	if err != nil {
		return err
	}
	undisturbed, _ := b.collections()
	spinning, stop := context.WithCancel(ctx)
	var spinners sync.WaitGroup
	for range config.Concurrency {
		spinners.Go(func() {
			var reply runtime.Reply
			// It ends with the context, and its error says so.
			_ = h.functions.Invoke(spinning, runtime.Call{Function: "spins", Kind: runtime.KindInvoke, Body: []byte("spin")}, &reply)
		})
	}
	defer spinners.Wait()
	defer stop()
	beside, err := echoes(ctx, h, span)
	if err != nil {
		return err
	}
	mark, paused := b.collections()
	return errors.Join(
		b.report(measured("meter.gc", milliseconds(mark), "ms").atMost(20)),
		b.report(measured("meter.gc.alone", milliseconds(undisturbed), "ms")),
		b.report(measured("meter.gc.paused", milliseconds(paused), "ms").atMost(20)),
		b.report(measured("meter.share", beside, "calls/s").against(alone).atLeast(0.3)),
	)
}

// collections forces a few garbage collections: the longest marking, and the longest time that one had the world stopped.
func (b *bench) collections() (mark, paused time.Duration) {
	var before, after goruntime.MemStats
	for range b.rounds(5, 30) {
		goruntime.ReadMemStats(&before)
		began := time.Now()
		goruntime.GC() // which waits politely for the sweeping too
		goruntime.ReadMemStats(&after)
		mark = max(mark, time.Unix(0, int64(after.LastGC)).Sub(began))
		paused = max(paused, time.Duration(after.PauseTotalNs-before.PauseTotalNs))
	}
	return mark, paused
}

// echoes is the calls per second of a function, one after the other.
func echoes(ctx context.Context, h *host, span time.Duration) (rate float64, err error) {
	var reply runtime.Reply
	call := runtime.Call{Function: "works", Kind: runtime.KindInvoke, Body: []byte("echo some words")}
	calls, began := 0, time.Now()
	for ; time.Since(began) < span; calls++ {
		if err := h.functions.Invoke(ctx, call, &reply); err != nil {
			return 0, err
		}
	}
	return float64(calls) / time.Since(began).Seconds(), nil
}
