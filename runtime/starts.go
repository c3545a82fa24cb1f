package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/shardmill/shardmill/runtime/quickjs"
)

// Starts is how long it takes until an instance is ready for its first call, the median of many each.
type Starts struct {
	Snapshot time.Duration // from a snapshot
	Plain    time.Duration // initialized by itself
	Bytes    int           // that the snapshot holds
}

// CompareStarts measures what snapshots are worth: it makes instances of a function in turn in both ways, for about as long as span, and closes them. It is
// for measuring; nothing is stored but compiled code, in cacheDir as in Options.CacheDir. The error is also that there can be no snapshot of the function, and why.
func CompareStarts(ctx context.Context, code []byte, language Language, cacheDir string, span time.Duration) (s Starts, err error) {
	p, err := programOf(ctx, code, language, cacheDir)
	if err != nil {
		return s, fmt.Errorf("runtime: compare starts: %w", err)
	}
	defer func() { err = errors.Join(err, p.close()) }()
	config, err := Config{Timeout: time.Minute}.normalize()
	if err != nil {
		return s, err
	}
	id := &identity{function: "starts", config: config}
	ways := []func(*capture) (*instance, error){
		func(log *capture) (*instance, error) { return newInstance(ctx, p, id, log, new(Doors)) },
		func(log *capture) (*instance, error) {
			return newTapedInstance(ctx, p, id, log, new(Doors), new(senses))
		},
	}
	var took [2][]time.Duration
	for until := time.Now().Add(span); len(took[1]) < 2 || time.Now().Before(until); {
		for n, make := range ways {
			log, began := newCapture(id, newLogRing(0), nil), time.Now()
			i, err := make(log)
			if err != nil {
				return s, fmt.Errorf("runtime: compare starts: %w", err)
			}
			took[n] = append(took[n], time.Since(began))
			i.close()
		}
	}
	start, reason, held := p.starts.status()
	if start != StartSnapshot {
		return s, fmt.Errorf("runtime: compare starts: there is no snapshot: %s", reason)
	}
	return Starts{Snapshot: median(took[0][1:]), Plain: median(took[1]), Bytes: held}, nil // the first of those has taken the snapshot
}

// programOf compiles a function that is not stored.
func programOf(ctx context.Context, code []byte, language Language, cacheDir string) (*program, error) {
	e, err := newEngine(ctx, meter{}, cacheDir, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if language == "" {
		return e.compile(ctx, code, digestOf(code))
	}
	script, err := quickjs.Compile(code, language)
	if err != nil {
		return nil, err
	}
	return e.script(ctx, script.Input())
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
