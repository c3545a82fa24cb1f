package runtime

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/shardmill/shardmill/runtime/image"
)

// runCommand makes one call of a program: a new instance runs from its start to its end, with the call's body on stdin. What it
// writes to stdout is the answer, stderr is its log, and status 0 is success. The caller holds a slot of the pool, which is given
// back.
func runCommand(ctx context.Context, p *program, v *version, pool *pool, log *capture, doors *Doors, s *senses, call *Call, reply *Reply) error {
	i, err := emptyInstance(&v.identity, log, doors, s)
	if err != nil {
		pool.giveUp()
		return err
	}
	pool.add(i)
	defer pool.release(i, false)
	p.starts.take(p.starts.data)
	return i.execute(ctx, p, call, reply)
}

// execute runs the program in the instance, which is good for nothing else afterwards.
func (i *instance) execute(ctx context.Context, p *program, call *Call, reply *Reply) (err error) {
	log := i.log
	answer := &boundedBuffer{bytes: reply.raw[:0], limit: maxReplyBytes}
	log.begin(reply.Invocation)
	i.source = p.source
	started := time.Now()
	i.watch.start(ctx, i.identity.config.Timeout)
	i.watch.limit(i.identity.config.Fuel)
	config := guestConfig(i.senses, i.identity.config.Env, answer, &log.stderr).WithStdin(bytes.NewReader(call.Body)).
		WithArgs(i.identity.function)
	i.watch.visit.begin(i.identity, call)
	from, err := p.starts.begin(i.memory)
	if err != nil {
		err = hostFailure{err}
	} else {
		log.metrics.started(from)
		i.module, err = p.instantiate(i.watch, i.memory, from, config, image.ExportStart, exportStart)
	}
	reply.state = i.watch.visit.end()
	intact := i.watch.stop()
	reply.Duration, reply.Fuel, reply.MemoryPeak = time.Since(started), i.watch.used(), int64(i.memory.size.Load())
	var exit *exited
	switch {
	case errors.As(err, &exit) && exit.code == 0 && i.watch.cause() == stopNone:
		err = nil
	case err == nil && !intact:
		err = errStopped
	}
	if err != nil {
		err = i.failure(ctx, err)
	}
	log.end()
	reply.lines = log.logged
	reply.raw, reply.plain = answer.bytes, true
	if err == nil && answer.over > 0 {
		failed := malformedReply("it wrote %d bytes to stdout, more than %d", len(answer.bytes)+answer.over, maxReplyBytes)
		err = i.failure(ctx, failed)
	}
	return err
}

// boundedBuffer takes what is written to it up to a limit, and counts the rest.
type boundedBuffer struct {
	bytes []byte
	limit int
	over  int
}

// Write never fails.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	taken := min(len(p), b.limit-len(b.bytes))
	b.bytes = append(b.bytes, p[:taken]...)
	b.over += len(p) - taken
	return len(p), nil
}
