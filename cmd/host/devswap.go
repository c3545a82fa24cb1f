package main

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/shardmill/shardmill/api"
)

// swapped tells of a version that has taken the place of the one before.
type swapped struct {
	version  int
	manifest manifest // what it was deployed with
}

// swap builds the function anew and puts it in the place of the one that runs; ok says whether that is another one now.
// Whatever goes wrong is said, and the one that runs goes on.
func (s *session) swap(ctx context.Context) (_ swapped, ok bool) {
	start := time.Now()
	m, err := s.config.manifest()
	if err == nil {
		err = s.createOutputs(ctx, m)
	}
	var wasm []byte
	if err == nil {
		wasm, err = buildModule(ctx, s.config.dir)
	}
	built := time.Since(start)
	var f api.Function
	if err == nil {
		f, _, err = s.client.DeployProven(ctx, s.config.name, bytes.NewReader(wasm), m.config, proofOf(wasm))
	}
	switch {
	case ctx.Err() != nil:
		return swapped{}, false
	case err != nil:
		s.say("%s\nversion %d goes on", oneLine(err), s.version)
		return swapped{}, false
	case f.Version == s.version:
		s.say("built in %s; nothing has changed for version %d", shortDuration(built), f.Version)
		return swapped{}, false
	}
	s.version = f.Version
	next := "it runs on the records that come next"
	if s.config.feed != "" {
		next = "it runs on the records of " + s.config.stream + " again"
	}
	s.say("swapped in version %d in %s (build %s); %s", f.Version, shortDuration(time.Since(start)), shortDuration(built), next)
	return swapped{f.Version, m}, true
}

// again shows what the version that was swapped in makes of the session's records.
func (s *session) again(ctx context.Context, next swapped) error {
	if s.config.feed == "" {
		return nil
	}
	start := time.Now()
	if err := s.restart(ctx, next); err != nil || s.unmapped {
		return err
	}
	stream, err := s.client.Stream(ctx, s.config.stream)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, shard := range stream.Shards {
		total += int64(shard.Next - shard.Oldest)
	}
	p, err := s.awaitProcessed(ctx, total)
	if err != nil {
		return err
	}
	if err := s.report(ctx, p); err != nil {
		return err
	}
	s.say("%s records of %s again in %s, %s invocations",
		thousands(int64(p.counts.Settled)), s.config.stream, shortDuration(time.Since(start)), thousands(int64(p.counts.Invocations)))
	return nil
}

// restart has the mapping read the session's records again from the first, with tallies that begin at nothing. The stream is
// not fed again, which would double its records. A function that cannot be mapped is said, and waits to be mended.
func (s *session) restart(ctx context.Context, next swapped) error {
	if s.config.feed == "" {
		return nil
	}
	// When the mapping is gone no invocation is under way, and what the last ones emitted is in the streams.
	if err := ignoreMissing(s.client.DeleteMapping(ctx, s.mapping())); err != nil {
		return err
	}
	outputs := make([]*output, 0, len(next.manifest.config.Emit))
	for _, name := range next.manifest.config.Emit {
		stream, err := s.client.Stream(ctx, name)
		if err != nil {
			return err
		}
		outputs = append(outputs, newOutput(stream, next.manifest.columns[name]))
	}
	s.mu.Lock()
	s.outputs = outputs
	s.mu.Unlock()
	s.reported, s.told, s.oldest = 0, "", 0
	config := s.mappingConfig()
	config.StartingPosition, config.StartingTime = "timestamp", s.began
	_, _, err := s.client.PutMapping(ctx, s.mapping(), config)
	p := (*api.Problem)(nil)
	if s.unmapped = errors.As(err, &p) && p.Kind() == api.KindInvalidField; s.unmapped {
		s.say("version %d cannot run: %s", next.version, oneLine(err))
		return nil
	}
	return err
}
