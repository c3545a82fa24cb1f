package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/shardmill/shardmill/runtime"
)

// starters are functions in each language: where their sources are, and within how many milliseconds an instance from a snapshot is to be ready.
var starters = []struct {
	figure, source string
	goal           float64
}{
	{"start.go", "runtime/testdata/touch", 0.5},
	{"start.c", "cmd/host/testdata/touch/c", 0.05},
	{"start.rust", "cmd/host/testdata/touch/rust", 0.05},
	{"start.assemblyscript", "functions/examples/delays-assemblyscript", 0.05},
	{"start.typescript", "functions/examples/delays-typescript", 0.5},
}

// start measures how soon an instance is ready, from a snapshot and without, and what a call costs that has an instance of its own.
func (b *bench) start(ctx context.Context) error {
	for _, s := range starters {
		source := filepath.Join(b.source, filepath.FromSlash(s.source))
		if _, err := os.Stat(source); err != nil {
			b.a.say("left out: start figures need a checkout of Shardmill (--source)")
			return nil
		}
		code, err := buildModule(ctx, source)
		if missing := (*toolchainError)(nil); errors.As(err, &missing) {
			b.a.say("left out: %s: %s", s.figure, oneLine(err))
			continue
		}
		if err != nil {
			return err
		}
		language := runtime.Language(proofOf(code).Language)
		c, err := runtime.CompareStarts(ctx, code, language, "", b.span(500*time.Millisecond, 5*time.Second))
		if err != nil {
			return err
		}
		err = errors.Join(
			b.report(measured(s.figure, milliseconds(c.Snapshot), "ms").atMost(s.goal).against(milliseconds(c.Plain))),
			b.report(measured(s.figure+".held", float64(c.Bytes)/(1<<20), "MiB")),
		)
		if err != nil {
			return err
		}
		if s.figure == "start.go" {
			if err := b.isolated(ctx, s.figure+".isolated", code); err != nil {
				return err
			}
		}
	}
	return nil
}

// isolated reports a call of one record that has an instance of its own; the baseline is one that has not.
func (b *bench) isolated(ctx context.Context, figure string, code []byte) error {
	return b.withHost(ctx, "start", func(h *host) error {
		var took [2]float64
		for n, isolation := range []runtime.Isolation{runtime.IsolateInvocation, runtime.IsolateNone} {
			if _, err := h.functions.Deploy(ctx, "touch", code, runtime.Config{Isolation: isolation}); err != nil {
				return err
			}
			rate, _, err := b.calls(ctx, h, 1)
			if err != nil {
				return err
			}
			took[n] = 1000 / rate
		}
		return b.report(measured(figure, took[0], "ms").against(took[1]))
	})
}
