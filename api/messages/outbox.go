package messages

import (
	"context"
	"sync"
)

const (
	// window is how many messages of an MQTT client may be unacknowledged; more are not read until some are.
	window = 1024
	// maxUnsent is how many bytes may wait for a client that does not read its acknowledgements.
	maxUnsent = 64 << 10
)

// noTicket is the ticket of a message that is not acknowledged.
const noTicket = ^uint64(0)

// outbox is what an MQTT client is to be sent. PUBACKs are sent in the order of the PUBLISH packets (MQTT 5.0, section
// 4.6), whichever is on disk first.
type outbox struct {
	level byte

	mu      sync.Mutex
	changed sync.Cond
	first   uint64 // ticket of pending[0]
	pending []ack
	unsent  []byte
	failed  bool // a message was not put and the client cannot be told: nothing behind it is acknowledged
	closed  bool // nothing comes any more
}

// ack is a PUBACK that is owed.
type ack struct {
	id      uint16
	settled bool
	code    reason
}

func newOutbox(level byte) *outbox {
	o := &outbox{level: level}
	o.changed.L = &o.mu
	return o
}

// await waits, under mu, until ready says so or ctx ends.
func (o *outbox) await(ctx context.Context, ready func() bool) error {
	if ready() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.changed.Broadcast()
	})
	defer stop()
	for !ready() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.changed.Wait()
	}
	return nil
}

// expect gives a ticket to a message that is to be acknowledged, and waits while too many are not.
func (o *outbox) expect(ctx context.Context, id uint16) (ticket uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.await(ctx, func() bool { return len(o.pending) < window && len(o.unsent) < maxUnsent }); err != nil {
		return noTicket, err
	}
	o.pending = append(o.pending, ack{id: id})
	return o.first + uint64(len(o.pending)) - 1, nil
}

// settle says what became of a message. It returns false when the client has to be disconnected, because MQTT 3.1.1
// has no way to say that a message was not taken.
func (o *outbox) settle(ticket uint64, code reason) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := &o.pending[ticket-o.first]
	a.settled, a.code = true, code
	for len(o.pending) > 0 && o.pending[0].settled && !o.failed {
		head := o.pending[0]
		if head.code != reasonOK && o.level != level5 {
			o.failed = true
			break
		}
		o.unsent = appendPuback(o.unsent, head.id, head.code)
		o.pending = o.pending[1:]
		o.first++
	}
	o.changed.Broadcast()
	return !o.failed
}

// send appends a packet, and waits while too much is unsent.
func (o *outbox) send(ctx context.Context, packet []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := o.await(ctx, func() bool { return len(o.unsent) < maxUnsent }); err != nil {
		return err
	}
	o.unsent = append(o.unsent, packet...)
	o.changed.Broadcast()
	return nil
}

// drain waits until every message has been settled that can still be acknowledged.
func (o *outbox) drain(ctx context.Context) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.await(ctx, func() bool { return len(o.pending) == 0 || o.failed })
}

// close ends the outbox with a last packet, which may be empty.
func (o *outbox) close(last []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.unsent = append(o.unsent, last...)
	o.closed = true
	o.changed.Broadcast()
}

// take waits for packets and returns them, for which it gives spare in exchange. more is false when they are the last.
func (o *outbox) take(spare []byte) (packets []byte, more bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.unsent) == 0 && !o.closed {
		o.changed.Wait()
	}
	packets, o.unsent = o.unsent, spare[:0]
	o.changed.Broadcast()
	return packets, !o.closed
}
