package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/shardmill/shardmill/api"
	"github.com/shardmill/shardmill/runtime"
)

// deploy measures what it takes until an upload serves, and what functions that nobody calls hold.
func (b *bench) deploy(ctx context.Context) error {
	code, ok, err := b.guest(ctx, "probe")
	if err != nil {
		return err
	}
	if ok {
		if err := b.withHost(ctx, "deploy", func(h *host) error { return b.serving(ctx, h, code) }); err != nil {
			return err
		}
	}
	if err := b.dormant(ctx, "functions.1000.memory", echoModule, 1000, "MiB", 1); err != nil || !ok {
		return err
	}
	n := b.rounds(3, 10)
	return b.dormant(ctx, "functions.go.memory", code, n, "MiB each", n)
}

// serving reports how long it takes from the upload of a function in Go until it has answered a call: with nothing known of the code, and
// when its compiled code is there because another function has the same.
func (b *bench) serving(ctx context.Context, h *host, code []byte) error {
	var took []time.Duration
	var reply runtime.Reply
	for n := range b.rounds(10, 50) + 1 {
		name := "f" + strconv.Itoa(n)
		began := time.Now()
		if _, err := h.functions.Deploy(ctx, name, code, runtime.Config{}); err != nil {
			return err
		}
		if err := h.functions.Invoke(ctx, runtime.Call{Function: name, Kind: runtime.KindInvoke, Body: []byte("echo x")}, &reply); err != nil {
			return err
		}
		took = append(took, time.Since(began))
		if n > 0 { // the first keeps the code
			if err := h.functions.Delete(ctx, name); err != nil {
				return err
			}
		}
	}
	warm := slices.Clone(took[1:])
	slices.Sort(warm)
	return errors.Join(
		b.report(measured("deploy.go.size", float64(len(code))/1e6, "MB")),
		b.report(measured("deploy.go.cold", milliseconds(took[0]), "ms")),
		b.report(measured("deploy.go.warm", milliseconds(warm[len(warm)/2]), "ms")),
	)
}

// dormant reports how much more resident memory a host has that was started with n functions, each with code of its own, which are never
// called.
func (b *bench) dormant(ctx context.Context, figure string, code []byte, n int, unit string, per int) (err error) {
	defer func() { err = errors.Join(err, os.RemoveAll(filepath.Join(b.dir, "dormant"))) }()
	before, err := b.resting(ctx, 0)
	if err == nil && before == 0 {
		b.a.say("left out: a process's memory is not known on this system")
		return nil
	}
	if err == nil {
		err = b.populate(ctx, code, n)
	}
	if err != nil {
		return err
	}
	after, err := b.resting(ctx, n)
	if err != nil {
		return err
	}
	return b.report(measured(figure, float64(after-before)/(1<<20)/float64(per), unit))
}

// populate deploys n functions.
func (b *bench) populate(ctx context.Context, code []byte, n int) (err error) {
	c, err := b.startChild(ctx, "dormant")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for i := range n {
		// A custom section makes it code of its own.
		own := fmt.Appendf(bytes.Clone(code), "\x00\x07\x02id%04d", i)
		if _, _, err := c.client.Deploy(ctx, "f"+strconv.Itoa(i), bytes.NewReader(own), api.FunctionConfig{}); err != nil {
			return err
		}
	}
	return nil
}

// resting is the resident memory of a host that has started and loaded its n functions; 0 where that is not known.
func (b *bench) resting(ctx context.Context, n int) (bytes int64, err error) {
	c, err := b.startChild(ctx, "dormant")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for active := -1; active < n; {
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return 0, err
		}
		functions, err := c.client.Functions(ctx)
		if err != nil {
			return 0, err
		}
		active = 0
		for _, f := range functions {
			if f.State == string(runtime.StateActive) {
				active++
			}
		}
	}
	bytes, _ = c.memory()
	return bytes, nil
}
