package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The tables are one JetStream key-value bucket, whose keys are <table>.<encoded key>.
// The names are NATS's own convention, so that its tools can read the bucket.
const (
	bucketName    = "catalog"
	streamName    = "KV_" + bucketName
	subjectPrefix = "$KV." + bucketName + "."

	operationHeader = "KV-Operation"
	deleteMarker    = "DEL"
	purgeMarker     = "PURGE"

	// callTimeout bounds one call of JetStream's API where the caller's context
	// does not.
	callTimeout = 10 * time.Second
)

func streamConfig(first uint64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              streamName,
		Description:       "definitions: streams, functions, mappings",
		Subjects:          []string{subjectPrefix + ">"},
		Storage:           jetstream.FileStorage,
		Replicas:          1,
		FirstSeq:          first,
		MaxMsgsPerSubject: 1,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		MaxConsumers:      -1,
		MaxMsgSize:        -1,
		Discard:           jetstream.DiscardNew,
		AllowRollup:       true,
		AllowDirect:       true,
		DenyDelete:        true,
		Duplicates:        2 * time.Minute,
	}
}

// openStream returns the stream of the bucket and whether it had to be made. A stream
// whose description is damaged is gone for JetStream, while its messages are still on
// disk: making it again brings them back.
func openStream(ctx context.Context, js jetstream.JetStream) (s jetstream.Stream, made bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err = js.Stream(ctx, streamName)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, false, err
	}
	s, err = js.CreateStream(ctx, streamConfig(0))
	return s, true, err
}

// load reads everything JetStream has of the tables. Only the end of ctx is an error:
// whatever JetStream cannot do is a fault in what is returned.
func load(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, held, error) {
	h := held{live: map[id]change{}, markers: map[id]uint64{}}
	fault := func(err error) {
		h.faults = append(h.faults, err.Error())
	}
	stream, made, err := openStream(ctx, js)
	h.absent = made
	if err != nil {
		fault(fmt.Errorf("open stream %s: %w", streamName, err))
		return nil, h, ctx.Err()
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	info, err := stream.Info(call, jetstream.WithSubjectFilter(subjectPrefix+">"))
	cancel()
	if err != nil {
		fault(fmt.Errorf("describe stream %s: %w", streamName, err))
		return stream, h, ctx.Err()
	}
	h.last = info.State.LastSeq
	subjects := make([]string, 0, len(info.State.Subjects))
	for s := range info.State.Subjects {
		subjects = append(subjects, s)
	}
	slices.Sort(subjects)
	for _, s := range subjects {
		c, err := loadOne(ctx, stream, s)
		switch {
		case ctx.Err() != nil:
			return stream, h, ctx.Err()
		case err != nil:
			fault(fmt.Errorf("read %s: %w", s, err))
		case c.op == opDelete:
			h.markers[c.id] = c.revision
		default:
			h.live[c.id] = c
		}
	}
	return stream, h, ctx.Err()
}

func loadOne(ctx context.Context, stream jetstream.Stream, subject string) (change, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	if err != nil {
		return change{}, err
	}
	return toChange(m.Subject, m.Header, m.Data, m.Sequence)
}

// toChange reads a message of the stream.
func toChange(subject string, header nats.Header, data []byte, revision uint64) (change, error) {
	i, err := parseSubject(subject)
	if err != nil {
		return change{}, err
	}
	c := change{id: i, op: opPut, value: data, revision: revision}
	switch header.Get(operationHeader) {
	case deleteMarker, purgeMarker:
		c.op, c.value = opDelete, nil
	default:
		if err := checkValue(data); err != nil {
			return change{}, err
		}
	}
	return c, nil
}

// publish writes one change into the stream: expected is the revision the entry must
// have, 0 for none, or anyRevision.
func publish(ctx context.Context, js jetstream.JetStream, i id, op operation, value []byte, expected uint64) (uint64, error) {
	m := nats.NewMsg(subject(i))
	m.Data = value
	if op == opDelete {
		m.Header.Set(operationHeader, deleteMarker)
	}
	var opts []jetstream.PublishOpt
	if expected != anyRevision {
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(expected))
	}
	ack, err := js.PublishMsg(ctx, m, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

const anyRevision = ^uint64(0)

// isConflict says whether JetStream refused a write because the entry has another
// revision than expected.
func isConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// restore makes the stream anew with the given entries, whose revisions become new
// ones, at and above next: a revision that was ever given is never given again. It may
// be cut short by a crash: the snapshot still has everything, and Open finds the
// difference again.
func restore(ctx context.Context, js jetstream.JetStream, live map[id]change, next uint64) (jetstream.Stream, map[id]change, error) {
	// JetStream deletes the files of a stream only if it knows the stream.
	if _, _, err := openStream(ctx, js); err != nil && ctx.Err() != nil {
		return nil, nil, err
	}
	if err := js.DeleteStream(ctx, streamName); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil, fmt.Errorf("delete damaged stream %s: %w", streamName, err)
	}
	stream, err := createAgain(ctx, func() (jetstream.Stream, error) {
		return js.CreateStream(ctx, streamConfig(next))
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make stream %s anew: %w", streamName, err)
	}
	restored := make(map[id]change, len(live))
	for _, c := range sortedByRevision(live) {
		revision, err := publish(ctx, js, c.id, opPut, c.value, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("restore %s: %w", c.id, err)
		}
		if revision < next {
			return nil, nil, fmt.Errorf("restore %s: stream %s gave revision %d, below %d", c.id, streamName, revision, next)
		}
		c.revision = revision
		restored[c.id] = c
	}
	return stream, restored, nil
}

// createAgain makes a stream right after one of its name was deleted. For a moment after
// a deletion nats-server (2.15) removes the account's folder of streams in the
// background if it is empty, and a creation that meets that fails.
func createAgain[T any](ctx context.Context, create func() (T, error)) (T, error) {
	const tries, pause = 10, 20 * time.Millisecond
	return backoff.Retry(ctx, create, backoff.WithMaxTries(tries), backoff.WithBackOff(backoff.NewConstantBackOff(pause)))
}
