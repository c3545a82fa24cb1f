// Probe does what its records say; see ../README.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/shardmill/shardmill/sdk"
)

func init() {
	slog.SetDefault(slog.New(sdk.NewLogHandler(slog.LevelDebug)))
	sdk.OnBatch(batch)
	sdk.OnInvoke(invoke)
	sdk.OnTransform(transform)
	sdk.OnWindow(func(_ context.Context, w *sdk.WindowEnd) error {
		if string(w.State()) == "fail" {
			return errors.New("not yet")
		}
		w.Emit("facts", "end", window(w.Window(), w.State()))
		return nil
	})
}

func main() {}

func batch(_ context.Context, b *sdk.Batch) error {
	later := ""
	for i, r := range b.All() {
		if n, ok := strings.CutPrefix(string(r.Data), "later "); ok {
			later = n
		} else if err := record(b, i, r); err != nil {
			return err
		}
	}
	spin(later)
	return nil
}

// x is what a loop of so many turns came to last.
var x uint32 = 1

func spin(turns string) {
	n, _ := strconv.Atoi(turns)
	for range n {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
	}
}

func record(b *sdk.Batch, i int, r sdk.Record) error {
	command, rest, _ := strings.Cut(string(r.Data), " ")
	first, second, _ := strings.Cut(rest, " ")
	switch command {
	case "drop":
		b.Drop(i, rest)
	case "retry":
		b.Retry(i, rest)
	case "reject":
		b.Reject(i, rest)
	case "twice":
		b.Reject(i, rest)
		b.Drop(i, rest)
	case "first":
		b.Reject(0, rest)
	case "beyond":
		b.Retry(b.Len(), "")
	case "emit":
		b.Emit(first, string(r.Key), []byte(second))
	case "whole":
		b.EmitRecord(first, r)
	case "size":
		n, _ := strconv.Atoi(second)
		b.Emit(first, string(r.Key), bytes.Repeat([]byte("x"), n))
	case "many":
		n, _ := strconv.Atoi(first)
		for s := range n {
			b.Emit("s"+strconv.Itoa(s), string(r.Key), nil)
		}
	case "facts":
		text := fmt.Sprintf("%s index=%d sequence=%d arrival=%d hash=%t records=%d",
			facts(b.Call()), i, r.Sequence, r.Arrival, r.ExplicitHash != nil, b.Len())
		b.Emit("facts", string(r.Key), []byte(text))
	case "state":
		b.SetState([]byte(rest))
	case "window":
		b.Emit("facts", string(r.Key), window(b.Window(), b.State()))
	case "log":
		var level slog.Level
		_ = level.UnmarshalText([]byte(first))
		slog.Log(context.Background(), level, second)
	case "spin":
		spin(rest)
	case "fail":
		return errors.New(rest)
	case "panic":
		panic(rest)
	}
	return nil
}

func window(w sdk.Window, state []byte) []byte {
	if w.Start.IsZero() {
		return []byte("no window")
	}
	return fmt.Appendf(nil, "start=%d end=%d early=%t state=%s", w.Start.UnixMicro(), w.End.UnixMicro(), w.EndedEarly, state)
}

func facts(c *sdk.Call) string {
	return fmt.Sprintf("function=%s mapping=%s stream=%s invocation=%s version=%d shard=%d attempt=%d deadline=%t",
		c.Function, c.Mapping, c.Stream, c.Invocation, c.Version, c.Shard, c.Attempt, !c.Deadline.IsZero())
}

func invoke(ctx context.Context, in []byte) ([]byte, error) {
	command, rest, _ := strings.Cut(string(in), " ")
	first, second, _ := strings.Cut(rest, " ")
	switch command {
	case "facts":
		return []byte(facts(sdk.FromContext(ctx))), nil
	case "emit":
		sdk.Emit(ctx, first, "k", []byte(second))
	case "fail":
		return nil, errors.New(rest)
	case "panic":
		panic(rest)
	}
	return in, nil
}

// transform drops, rejects and replaces as the records say.
func transform(_ context.Context, t *sdk.Transform) error {
	for i, r := range t.All() {
		verb, rest, _ := strings.Cut(string(r.Data), " ")
		switch verb {
		case "drop":
			t.Drop(i, rest)
		case "reject":
			t.Reject(i, rest)
		case "emit":
			stream, data, _ := strings.Cut(rest, " ")
			t.Emit(stream, string(r.Key), []byte(data))
		case "spin":
			spin(rest)
		case "twice":
			t.Replace(i, sdk.Record{Key: r.Key, Data: []byte(rest + " of " + string(r.Key))})
			t.Replace(i, r)
		}
	}
	return nil
}
