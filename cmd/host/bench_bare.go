package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// bareFile is how large a file of bareFiles is: as the first segment of a stream, so that writes change no metadata.
const bareFile = 64 << 10

// bareFiles measures how long a write of one record and its fdatasync take when so many files have so many a second each, and nothing else
// is done: what a host with as many streams cannot be better than.
func (b *bench) bareFiles(ctx context.Context, files, rate int) (took []time.Duration, err error) {
	dir := filepath.Join(b.dir, "bare")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var open []*os.File
	defer func() {
		for _, f := range open {
			err = errors.Join(err, f.Close())
		}
	}()
	for i := range files {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		open = append(open, f)
		if _, err := f.Write(make([]byte, bareFile)); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
	}
	var mu sync.Mutex
	block := make([]byte, benchData)
	err = atRate(ctx, files*rate, b.span(3*time.Second, 15*time.Second), func(i int) error {
		f, at := open[i%files], i/files%(bareFile/benchData)*benchData
		began := time.Now()
		if _, err := f.WriteAt(block, int64(at)); err != nil {
			return err
		}
		if err := syncData(f); err != nil {
			return err
		}
		d := time.Since(began)
		mu.Lock()
		defer mu.Unlock()
		took = append(took, d)
		return nil
	})
	return took, err
}

// atRate calls do so many times a second, with the number of the call, from a few goroutines: a call waits for the one before it of its own
// goroutine, so that there are fewer when they take long. Error: the first of do, ctx's.
func atRate(ctx context.Context, rate int, span time.Duration, do func(i int) error) error {
	const callers = 32
	var group sync.WaitGroup
	failed := make(chan error, callers)
	interval := time.Second * callers / time.Duration(rate) // between the calls of one
	began := time.Now()
	for c := range callers {
		group.Go(func() {
			next := began.Add(interval * time.Duration(c) / callers)
			for i := c; time.Since(began) < span; i += callers {
				err := pause(ctx, time.Until(next))
				if err == nil {
					err = do(i)
				}
				if err != nil {
					failed <- err
					return
				}
				next = next.Add(interval)
			}
		})
	}
	group.Wait()
	close(failed)
	return <-failed
}
