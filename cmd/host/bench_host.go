package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/shardmill/shardmill/api"
)

// newBenchHost drives a running host, for whoever operates it.
func newBenchHost(a *app) *cobra.Command {
	var span time.Duration
	var putters int
	c := &cobra.Command{
		Use:   "host",
		Short: "Measure a running host: puts, and from a put to a function's output",
		Long: "Measure the host at --endpoint. Streams, a function and a mapping of names that begin with \"bench-\" are made\n" +
			"for it and deleted afterwards. It takes what the host can give: not beside traffic that matters.",
		Args: arguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if span <= 0 {
				return usagef("--for is %v; it must be more than 0s", span)
			}
			if putters < 1 || putters > 1000 {
				return usagef("--putters is %d; it must be 1 to 1000", putters)
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			b := hostBench{client, span, putters, fmt.Sprintf("bench-%d", time.Now().UnixNano()), a.figurePrinter()}
			return b.run(cmd.Context())
		},
	}
	c.Flags().DurationVar(&span, "for", 5*time.Second, "how long each figure is measured")
	c.Flags().IntVar(&putters, "putters", 64, "how many put single records at once")
	return c
}

type hostBench struct {
	client  *api.Client
	span    time.Duration
	putters int
	name    string // of the function and of the stream it emits to; the source stream is called so with -in
	report  func(figure) error
}

func (b *hostBench) run(ctx context.Context) (err error) {
	in := b.name + "-in"
	defer func() {
		// What was made is removed also when the run was interrupted.
		ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer stop()
		if cleared := b.clear(ctx); cleared != nil && err == nil {
			err = fmt.Errorf("what was made for the measurement (%s…) is not removed: %w", b.name, cleared)
		}
	}()
	for _, stream := range []string{in, b.name} {
		if _, _, err := b.client.CreateStream(ctx, stream, api.StreamConfig{Shards: 4}); err != nil {
			return err
		}
	}
	if err := b.putSingles(ctx, in); err != nil {
		return err
	}
	if _, _, err := b.client.Deploy(ctx, b.name, strings.NewReader(string(echoModule)), api.FunctionConfig{Emit: []string{b.name}}); err != nil {
		return err
	}
	if _, _, err := b.client.PutMapping(ctx, b.name, api.MappingConfig{Stream: in, Function: b.name, StartingPosition: "newest"}); err != nil {
		return err
	}
	return b.endToEnd(ctx, in)
}

func (b *hostBench) clear(ctx context.Context) error {
	return errors.Join(
		ignoreMissing(b.client.DeleteMapping(ctx, b.name)), ignoreMissing(b.client.DeleteFunction(ctx, b.name, false)),
		ignoreMissing(b.client.DeleteStream(ctx, b.name+"-in")), ignoreMissing(b.client.DeleteStream(ctx, b.name)),
	)
}

func ignoreMissing(err error) error {
	if problem := (*api.Problem)(nil); errors.As(err, &problem) && problem.Status == 404 {
		return nil
	}
	return err
}

// putSingles puts one record a request from many putters at once.
func (b *hostBench) putSingles(ctx context.Context, stream string) error {
	text := strings.Repeat("x", benchData)
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var work sync.WaitGroup
	began := time.Now()
	until := began.Add(b.span)
	for p := range b.putters {
		work.Go(func() {
			var mine []time.Duration
			var err error
			for now := time.Now(); now.Before(until) && err == nil; {
				_, err = b.client.Put(ctx, stream, []api.PutRecord{{PartitionKey: fmt.Sprint(p), Text: &text}})
				next := time.Now()
				mine, now = append(mine, next.Sub(now)), next
			}
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, mine...), errors.Join(failed, err)
		})
	}
	work.Wait()
	if failed != nil {
		return failed
	}
	rate := float64(len(took)) / time.Since(began).Seconds()
	return errors.Join(
		b.report(measured("host.put", rate, "records/s")),
		b.report(measured("host.put.p50", milliseconds(quantile(took, 0.5)), "ms")),
		b.report(measured("host.put.p99", milliseconds(quantile(took, 0.99)), "ms")),
	)
}

// endToEnd puts one record after the other and waits for what the function emits for it.
func (b *hostBench) endToEnd(ctx context.Context, in string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	arrived := make(chan string)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	failed := make(chan error, 1)
	reading.Go(func() {
		for r, err := range b.client.Records(ctx, b.name, api.ReadOptions{Follow: true}) {
			if err != nil {
				failed <- err
				return
			}
			select {
			case arrived <- string(r.Bytes()):
			case <-ctx.Done():
				return
			}
		}
	})
	var took []time.Duration
	for until := time.Now().Add(b.span); time.Now().Before(until); {
		text := fmt.Sprintf("record-%d", len(took))
		began := time.Now()
		if _, err := b.client.Put(ctx, in, []api.PutRecord{{PartitionKey: "k", Text: &text}}); err != nil {
			return err
		}
		for got := ""; got != text; {
			select {
			case got = <-arrived:
			case err := <-failed:
				return err
			case <-time.After(30 * time.Second):
				return fmt.Errorf("the function's output for %s has not come in 30s; see `shardmill mapping describe %s`", text, b.name)
			}
		}
		took = append(took, time.Since(began))
	}
	return errors.Join(
		b.report(measured("host.put_to_output.p50", milliseconds(quantile(took, 0.5)), "ms")),
		b.report(measured("host.put_to_output.p99", milliseconds(quantile(took, 0.99)), "ms")),
	)
}
