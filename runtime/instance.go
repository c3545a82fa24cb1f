package runtime

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/shardmill/shardmill/runtime/image"
	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// maxReplyBytes bounds one reply.
const maxReplyBytes = 64 << 20

var (
	errStopped  = errors.New("stopped")
	errCanceled = errors.New("the caller gave up")
)

// canceled is the error for a caller whose context has ended.
func canceled(ctx context.Context) error {
	return fmt.Errorf("%w: %w", errCanceled, context.Cause(ctx))
}

// instance is one instantiated module. One goroutine uses it at a time; only its watch may be ended, and its
// memory's size be read, by others.
type instance struct {
	identity  *identity
	program   *program
	module    api.Module
	memory    *linearMemory
	watch     *watch
	senses    *senses
	log       *capture
	source    *source // nil where stacks have no lines
	input     api.Function
	handle    api.Function
	stack     [3]uint64 // arguments and results
	inputAt   uint32    // the input area, good for calls of up to inputSize bytes
	inputSize uint32
	deadline  int64  // that the guest is told, µs since the Unix epoch; set before a call, it is kept, 0 = it is computed
	highWater uint64 // with more memory than this it is not used again

	pooled
}

// pooled is what the pool knows of an instance.
type pooled struct {
	generation int
	usedAt     time.Time // when its latest call ended
}

// newInstance makes an instance: from the program's snapshot where there is one, else one is taken of it where it may be. The error
// is a *FunctionError where the guest failed.
func newInstance(ctx context.Context, p *program, id *identity, log *capture, doors *Doors) (*instance, error) {
	i, err := emptyInstance(id, log, doors, new(senses))
	if err != nil {
		return nil, err
	}
	from, err := p.starts.begin(i.memory)
	if err != nil {
		i.close()
		return nil, err
	}
	if err := i.start(ctx, p, from); err != nil {
		return nil, err
	}
	log.metrics.started(from)
	if from != nil {
		p.starts.tell(ctx, log)
		return i, nil
	}
	if log.metrics != nil {
		p.starts.said.Store(nil) // it has said it itself
	}
	p.starts.take(func() (*snapshot, error) { return p.starts.capture(i) })
	return i, nil
}

// newTapedInstance makes an instance whose readings are noted or played, those of its initialization as well.
func newTapedInstance(ctx context.Context, p *program, id *identity, log *capture, doors *Doors, s *senses) (*instance, error) {
	i, err := emptyInstance(id, log, doors, s)
	if err == nil {
		err = i.start(ctx, p, nil)
	}
	return i, err
}

// start initializes an empty instance, or makes it what is in a snapshot, with which its memory has begun. After an error the instance
// is closed.
func (i *instance) start(ctx context.Context, p *program, from *snapshot) (err error) {
	log, functions := i.log, []string{image.ExportStart, abi.ExportInitialize}
	if from != nil {
		functions = []string{abi.ExportResumed}
	}
	log.begin("")
	i.program, i.source, i.watch.grace.script = p, p.source, p.input != nil
	i.watch.start(ctx, i.identity.config.Timeout)
	config := guestConfig(i.senses, i.identity.config.Env, &log.stdout, &log.stderr)
	if p.input != nil && from == nil {
		config = config.WithStdin(bytes.NewReader(p.input))
	}
	i.module, err = p.instantiate(i.watch, i.memory, from, config, functions...)
	if reusable := i.watch.stop(); err == nil && !reusable {
		err = errStopped
	}
	log.end()
	if err != nil {
		err = i.failure(ctx, err)
		i.close()
		var failed *FunctionError
		if errors.As(err, &failed) {
			failed.Message = "while the instance was made: " + failed.Message
		}
		return err
	}
	i.watch.counter = counterOf(i.module)
	i.input, i.handle = i.module.ExportedFunction(abi.ExportInput), i.module.ExportedFunction(abi.ExportHandle)
	size := i.memory.size.Load()
	i.highWater = size + (i.memory.limit-size)/4*3
	return nil
}

// emptyInstance has memory and its way to the outside, and no module yet.
func emptyInstance(id *identity, log *capture, doors *Doors, s *senses) (*instance, error) {
	memory, err := reserveMemory(id.config.MemoryBytes)
	if err != nil {
		return nil, err
	}
	s.watch = newWatch()
	s.watch.visit = &visit{doors: doors, config: &id.config, log: log, metrics: log.metrics, senses: s}
	return &instance{identity: id, memory: memory, watch: s.watch, senses: s, log: log}, nil
}

func (i *instance) close() {
	if i.module != nil {
		// Its error is that of closing stdin, which is not there.
		_ = i.module.Close(context.Background())
	}
	i.memory.Free()
}

// call calls a function of the guest with what is on i.stack.
func (i *instance) call(f api.Function) (err error) {
	defer func() {
		// What the engine does not recover: a stop that it found outside the guest's own code.
		if r := recover(); r != nil {
			err = recovered(r)
		}
	}()
	return f.CallWithStack(i.watch, i.stack[:])
}

// ask calls a function without parameters that returns an i32, under the timeout.
func (i *instance) ask(ctx context.Context, export string) (uint32, error) {
	i.watch.start(ctx, i.identity.config.Timeout)
	err := i.call(i.module.ExportedFunction(export))
	reusable := i.watch.stop()
	if err == nil && !reusable {
		err = errStopped
	}
	if err != nil {
		return 0, i.failure(ctx, err)
	}
	return api.DecodeU32(i.stack[0]), nil
}

// invoke makes one call. The reply's raw bytes are copied out of the guest, so that the instance is free when it
// returns. reusable says whether the instance may be used again. The error is a *FunctionError where the guest failed.
func (i *instance) invoke(ctx context.Context, call *Call, reply *Reply) (reusable bool, err error) {
	i.log.begin(reply.Invocation)
	i.memory.refused = false
	i.watch.marks.begin()
	started := i.watch.startAt(ctx, timeSoonAfter(reply.started), i.identity.config.Timeout)
	i.watch.limit(i.identity.config.Fuel)
	i.watch.visit.begin(i.identity, call)
	err = i.exchange(ctx, call, reply)
	reply.state = i.watch.visit.end()
	intact := i.watch.stop()
	if i.watch.overdrawn() && err == nil {
		err = errStopped // it has come to its end in its grace
	}
	reply.deadline, i.deadline = i.deadline, 0
	reply.Duration = time.Since(started)
	i.usedAt = started.Add(reply.Duration)
	reply.Fuel = i.watch.used()
	reply.MemoryPeak = int64(i.memory.size.Load())
	if err != nil {
		err = i.failure(ctx, err)
	}
	i.log.end()
	reply.lines = i.log.logged
	usable := err == nil
	if failed, ok := errors.AsType[*FunctionError](err); ok {
		usable = failed.Kind == FailError && reply.parsed.Failure().Kind != abi.FailurePanic
	}
	return intact && usable && i.memory.size.Load() <= i.highWater, err
}

// timeSoonAfter is the time now, a while after another. To ask how long ago that was is half of asking for the time, of which there are two, and
// a call is short; but after more than an instant somebody may have set the time of day.
func timeSoonAfter(earlier time.Time) time.Time {
	if since := time.Since(earlier); since < time.Millisecond {
		return earlier.Add(since)
	}
	return time.Now()
}

func (i *instance) exchange(ctx context.Context, call *Call, reply *Reply) error {
	var head abi.Call
	records, bodySize := i.head(ctx, call, reply, &head)
	size, err := head.Size(bodySize, len(call.State))
	if err != nil {
		return hostFailure{err}
	}
	dst, err := i.inputArea(size)
	if err != nil {
		return err
	}
	fill(&head, dst, records, bodySize, call)
	i.stack[0], i.stack[1], i.stack[2] = uint64(call.Kind), uint64(i.inputAt), uint64(size)
	if err := i.call(i.handle); err != nil {
		return err
	}
	return i.readReply(i.stack[0], call.Kind, records, reply)
}

// fill writes the call to dst.
func fill(head *abi.Call, dst []byte, records, bodySize int, call *Call) {
	body, state := head.Put(dst, bodySize, len(call.State))
	copy(state, call.State)
	if !hasRecords(call.Kind) {
		copy(body, call.Body)
		return
	}
	record.PutHeader(body, records, bodySize-record.HeaderSize, false)
	at := record.HeaderSize
	for _, run := range call.Records {
		at += copy(body[at:], run.Bytes())
	}
}

// head fills in the head of the call and counts its records and the bytes of its body. The watch has been started for it.
func (i *instance) head(ctx context.Context, call *Call, reply *Reply, head *abi.Call) (records, size int) {
	if i.deadline == 0 {
		deadline := i.watch.deadline
		if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
			deadline = d
		}
		i.deadline = deadline.UnixMicro()
	}
	*head = abi.Call{
		Kind: call.Kind, Mapping: call.Source.Mapping, Stream: call.Source.Stream,
		Function: i.identity.function, Invocation: reply.Invocation, Version: uint32(i.identity.number),
		Shard: call.Source.Shard, Attempt: uint32(max(call.Attempt, 1)), Deadline: i.deadline,
	}
	if !call.Window.End.IsZero() {
		head.WindowStart, head.WindowEnd = call.Window.Start.UnixMicro(), call.Window.End.UnixMicro()
	}
	if call.Window.EndedEarly {
		head.Flags = abi.FlagWindowEnded
	}
	if !hasRecords(call.Kind) {
		return 0, len(call.Body)
	}
	for _, run := range call.Records {
		records += run.Len()
		size += run.Size()
	}
	return records, record.HeaderSize + size
}

func hasRecords(kind Kind) bool { return kind == KindBatch || kind == KindTransform }

// inputArea returns size bytes of guest memory. The guest is asked for them only when it has not given as many
// before. The view is taken after that, because the memory may have grown, and holds until the guest runs again.
func (i *instance) inputArea(size int) ([]byte, error) {
	if size > int(i.inputSize) {
		i.inputSize = 0
		i.stack[0] = uint64(size)
		if err := i.call(i.input); err != nil {
			return nil, err
		}
		i.inputAt = api.DecodeU32(i.stack[0])
		if i.inputAt == 0 {
			i.memory.refused = true
			return nil, &FunctionError{Kind: FailMemory, Message: fmt.Sprintf("there is no memory for an input of %d bytes", size)}
		}
		i.inputSize = uint32(size)
	}
	dst, ok := i.module.Memory().Read(i.inputAt, uint32(size))
	if !ok || i.inputAt%8 != 0 {
		i.inputSize = 0
		return nil, malformedReply("%s returned %d for %d bytes, which is not in the memory of %d bytes or not a multiple of 8",
			abi.ExportInput, i.inputAt, size, i.memory.size.Load())
	}
	return dst, nil
}

func (i *instance) readReply(packed uint64, kind Kind, records int, reply *Reply) error {
	at, size := abi.Unpack(packed)
	view, ok := i.module.Memory().Read(at, size)
	switch {
	case packed == 0:
		return malformedReply("%s returned 0", abi.ExportHandle)
	case !ok:
		return malformedReply("%d bytes at %d are not in the memory of %d bytes", size, at, i.memory.size.Load())
	case at%8 != 0:
		return malformedReply("it begins at %d, which is not a multiple of 8", at)
	case size > maxReplyBytes:
		return malformedReply("it has %d bytes, more than %d", size, maxReplyBytes)
	}
	reply.raw = append(reply.raw[:0], view...)
	reply.hidden = i.log.hidden
	if err := reply.parsed.Parse(reply.raw, kind, records); err != nil {
		return malformedReply("%v", err)
	}
	if reply.parsed.Failed() {
		f := reply.parsed.Failure()
		return &FunctionError{Kind: FailError, Message: text(f.Message), Type: text(f.Type), Stack: text(f.Stack)}
	}
	return nil
}

func text(b []byte) string { return strings.ToValidUTF8(string(b), "\uFFFD") }

func malformedReply(format string, args ...any) error {
	return &FunctionError{Kind: FailMalformed, Message: "malformed reply: " + fmt.Sprintf(format, args...)}
}

// failure says what an error from the guest's call means: a *FunctionError, or one of the host or the caller.
func (i *instance) failure(ctx context.Context, err error) error {
	var failed *FunctionError
	if !errors.As(err, &failed) || i.watch.overdrawn() { // whatever it says in its grace
		if failed, err = i.classify(ctx, err); err != nil {
			return err
		}
	}
	failed.Function, failed.Version, failed.Invocation = i.identity.function, i.identity.number, i.log.invocation
	i.log.hidden.failure(failed)
	return failed
}

func (i *instance) classify(ctx context.Context, err error) (*FunctionError, error) {
	message, stack := splitStack(err)
	if cause := i.watch.cause(); cause != stopCanceled && cause != stopClosed { // nobody sees those
		if stack = i.source.readable(stack); i.program != nil && i.program.input != nil { // a command's instance has no program: it makes one call
			if stack = withoutEngine(stack); i.watch.overdrawn() {
				stack = cmp.Or(i.lastPlace(), stack)
			}
		}
	}
	var exit *exited
	var host hostFailure
	var bug goruntime.Error
	switch isExit := errors.As(err, &exit); {
	case i.watch.cause() == stopTimeout:
		return &FunctionError{Kind: FailTimeout, Stack: stack,
			Message: fmt.Sprintf("it ran longer than its timeout of %v", i.identity.config.Timeout)}, nil
	case i.watch.cause() == stopFuel:
		return &FunctionError{Kind: FailFuel, Stack: stack,
			Message: fmt.Sprintf("it executed more than its limit of %d instructions", i.identity.config.Fuel)}, nil
	case i.watch.cause() == stopCanceled:
		return nil, canceled(ctx)
	case i.watch.cause() == stopClosed:
		return nil, ErrClosed
	case errors.As(err, &host), errors.As(err, &bug):
		return nil, err
	case isExit:
		message = fmt.Sprintf("exited with code %d", exit.code)
		return i.ended(&FunctionError{Kind: FailExit, Message: message, Stack: stack, ExitCode: int(exit.code)}), nil
	}
	return i.ended(&FunctionError{Kind: FailTrap, Message: message, Stack: stack}), nil
}

// ended completes the error of a guest that ended itself: its own last words on stderr are taken for message and
// stack where there are any, and one that was refused memory before is taken to have ended for that.
func (i *instance) ended(f *FunctionError) *FunctionError {
	sentence, trace := i.log.stderr.complaint()
	switch {
	case i.program != nil && i.program.input != nil && strings.HasPrefix(sentence, "panic: "): // how the engine ends is nothing of the script's
		f.Message = strings.TrimPrefix(sentence, "panic: ")
	case sentence != "":
		f.Message += ": " + sentence
	}
	if trace != "" {
		f.Stack = trace
	}
	if i.memory.refused && (f.Kind == FailTrap || f.ExitCode != 0) {
		f.Kind, f.ExitCode = FailMemory, 0
		f.Message = fmt.Sprintf("it needed more memory than its limit of %d MiB (%s)", i.memory.limit>>20, f.Message)
	}
	return f
}

// splitStack divides the engine's error into what it says and the stack that it shows.
func splitStack(err error) (message, stack string) {
	message, stack, _ = strings.Cut(err.Error(), "\nwasm stack trace:\n")
	message = strings.Replace(message, "wasm error: ", "", 1)
	return message, stack
}
