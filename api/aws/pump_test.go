package aws

import (
	"sync/atomic"
	"testing"

	"github.com/shardmill/shardmill/sdk/record"
	"github.com/shardmill/shardmill/shards"
)

// TestPumpAt checks what a pump has for every position.
func TestPumpAt(t *testing.T) {
	p := &pump{next: 10, changed: make(chan struct{}), all: new(atomic.Int64)}
	if a := p.at(10); a.changed == nil {
		t.Errorf("at its beginning a pump has %+v", a)
	}
	if a := p.at(7); a.until != 10 {
		t.Errorf("before its beginning a pump has %+v, want to be read up to 10", a)
	}
	frame := make([]byte, maxPumped/2)
	waiting := p.at(10).changed
	p.publish([]event{{first: 10, next: 14, frame: frame}}, nil)
	select {
	case <-waiting:
	default:
		t.Error("nobody was woken")
	}
	p.publish([]event{{first: 14, next: 15, frame: frame}}, nil)
	for position, want := range map[uint64]answer{10: {event: &event{next: 14}}, 12: {until: 14}, 14: {event: &event{next: 15}}, 9: {until: 15}} {
		a := p.at(position)
		if a.until != want.until || (a.event == nil) != (want.event == nil) || a.event != nil && a.event.next != want.event.next {
			t.Errorf("at %d a pump has %+v, want %+v", position, a, want)
		}
	}
	if a := p.at(15); a.changed == nil {
		t.Errorf("at the tail a pump has %+v", a)
	}
	if a := p.at(16); a.changed == nil {
		t.Errorf("a reader that is ahead gets %+v", a)
	}
	p.publish([]event{{first: 15, next: 16, frame: frame}}, nil)
	if a := p.at(10); a.until != 16 {
		t.Errorf("at what it has dropped a pump has %+v", a)
	}
	p.publish([]event{{first: 16, next: 16, last: true}}, nil)
	if a := p.at(16); a.event == nil || !a.event.last {
		t.Errorf("at the shard's end a pump has %+v", a)
	}
	p.publish(nil, shards.ErrNotFound)
	if a := p.at(17); a.err == nil {
		t.Errorf("at an error a pump has %+v", a)
	}
}

// TestPumpsShareMemory checks that each pump keeps less while all together have much, and that nothing is kept of one that has ended.
func TestPumpsShareMemory(t *testing.T) {
	h := hub{pumps: make(map[shardKey]*pump)}
	var all []*pump
	for i := range 100 {
		done := make(chan struct{})
		close(done)
		key := shardKey{"s", shards.ShardID(i)}
		p := h.join(key, &pump{key: key, cancel: func() {}, done: done, changed: make(chan struct{}), all: &h.kept})
		for j := range uint64(4) {
			p.publish([]event{{first: j, next: j + 1, frame: make([]byte, maxPumped/4)}}, nil)
		}
		all = append(all, p)
	}
	if kept, most := h.kept.Load(), int64(maxPumpedAll+len(all)*maxPumped/4); kept > most {
		t.Errorf("100 pumps keep %d bytes, more than %d", kept, most)
	}
	for i, want := range map[int]int{0: 4, 99: 1} {
		if got := len(all[i].events); got != want {
			t.Errorf("pump %d keeps %d events, want %d", i, got, want)
		}
	}
	for _, p := range all {
		h.detach(p)
	}
	if kept := h.kept.Load(); kept != 0 || len(h.pumps) != 0 {
		t.Errorf("%d bytes are kept behind the end, and %d pumps", kept, len(h.pumps))
	}
}

func TestCutEvent(t *testing.T) {
	var small, large record.Builder
	for range maxEventRecords + 5 {
		if err := small.Append(record.Record{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
	}
	if head, rest := cutEvent(small.Run()); head.Len() != maxEventRecords || rest.Len() != 5 {
		t.Errorf("%d and %d records", head.Len(), rest.Len())
	}
	for range 3 {
		if err := large.Append(record.Record{Key: []byte("k"), Data: make([]byte, 2*maxEventBytes)}); err != nil {
			t.Fatal(err)
		}
	}
	if head, rest := cutEvent(large.Run()); head.Len() != 1 || rest.Len() != 2 {
		t.Errorf("%d and %d large records", head.Len(), rest.Len())
	}
}
