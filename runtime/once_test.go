package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shardmill/shardmill/sdk/abi"
	"github.com/shardmill/shardmill/sdk/record"
)

// onceEmitted is an OnceEmitter that remembers what it was told, and fails as the test wants.
type onceEmitted struct {
	log    []string
	refuse string           // the stream that Check refuses
	fail   map[string]error // by stream, what EmitOnce answers
}

func (e *onceEmitted) Check(em Emission) error {
	e.log = append(e.log, "check "+em.Stream)
	if em.Stream == e.refuse {
		return fmt.Errorf("too long: %w", ErrRefused)
	}
	return nil
}

func (e *onceEmitted) EmitOnce(_ context.Context, em Emission, m Mark) error {
	if err := e.fail[em.Stream]; err != nil {
		return err
	}
	line := fmt.Sprintf("put %s %s/%d/%s", em.Stream, m.Producer, m.Ordinal, m.Note)
	for r := range em.Records.All() {
		line += " " + string(r.Data)
	}
	e.log = append(e.log, line)
	return nil
}

// claims is a Once.
type claims struct {
	e    *onceEmitted
	drop bool
	err  error
	seen []Outcome
}

func (c *claims) Claim(_ context.Context, reply *Reply) (Mark, bool, error) {
	c.e.log = append(c.e.log, "claim")
	c.seen = slices.Clone(reply.Outcomes)
	return Mark{"p", 7, []byte("n")}, !c.drop, c.err
}

func TestCallsWithAMark(t *testing.T) {
	e := &onceEmitted{}
	w := open(t, func(o *Options) { o.OnceEmitter = e })
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"a", "b"}})
	invoke := func(c *claims, data ...string) (*Reply, error) {
		e.log, c.e = nil, e
		var runs []record.Run
		for i, d := range data {
			runs = append(runs, records(t, []string{"a", "b"}[i%2], d))
		}
		reply := new(Reply)
		return reply, w.Invoke(t.Context(), Call{Function: "probe", Kind: KindBatch, Records: runs, Once: c}, reply)
	}
	want := func(lines ...string) {
		t.Helper()
		if !slices.Equal(e.log, lines) {
			t.Errorf("%q, want %q", e.log, lines)
		}
	}

	c := &claims{}
	reply, err := invoke(c, "emit 1", "emit 2", "emit 3", "retry later")
	if err != nil || reply.Emitted != 3 || len(c.seen) != 1 || c.seen[0].Index != 3 {
		t.Errorf("%v, %d emitted, outcomes %+v", err, reply.Emitted, c.seen)
	}
	want("check a", "check b", "claim", "put a p/7/n emit 1 emit 3", "put b p/7/n emit 2")

	if _, err := invoke(&claims{}, "ok", "ok"); err != nil {
		t.Error(err)
	}
	want() // without outputs there is nothing to claim

	if reply, err := invoke(&claims{drop: true}, "emit 1"); err != nil || reply.Emitted != 0 {
		t.Errorf("%v, %d emitted", err, reply.Emitted)
	}
	want("check a", "claim")

	lost := errors.New("lost")
	var own *FunctionError
	if _, err := invoke(&claims{err: lost}, "emit 1"); !errors.Is(err, ErrEmit) || !errors.Is(err, lost) {
		t.Error(err)
	}
	want("check a", "claim")

	e.refuse = "b"
	_, err = invoke(&claims{}, "emit 1", "emit 2")
	if f := failure(t, err, FailRefused); !strings.Contains(f.Message, "too long") {
		t.Error(err)
	}
	want("check a", "check b") // nothing was put to a either
	e.refuse = ""

	e.fail = map[string]error{"b": ErrRefused} // after all
	if _, err := invoke(&claims{}, "emit 1", "emit 2"); !errors.Is(err, ErrEmit) || errors.As(err, &own) {
		t.Error(err)
	}
	want("check a", "check b", "claim", "put a p/7/n emit 1")
	if len(w.emitted.records) > 0 {
		t.Errorf("%q went to the other emitter", w.emitted.records)
	}
}

func TestCallsWithAMarkNeedAnEmitter(t *testing.T) {
	w := open(t)
	w.deploy(t, "probe", guests["probe"], Config{Emit: []string{"a"}})
	call := Call{Function: "probe", Kind: KindBatch, Records: []record.Run{records(t, "a", "emit 1")}, Once: &claims{e: &onceEmitted{}}}
	if err := w.Invoke(t.Context(), call, new(Reply)); !errors.Is(err, ErrEmit) {
		t.Error(err)
	}
}

// A module that is not of our SDKs may name a stream more than once.
func TestOutputsOfAStreamAreOneEmission(t *testing.T) {
	var w abi.ReplyWriter
	for i, stream := range []string{"s1", "s2", "s3"} {
		if err := w.Emit(stream, record.Record{Key: []byte("k"), Data: []byte{byte('0' + i)}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var reply Reply
	if err := reply.parsed.Parse(bytes.ReplaceAll(b, []byte("s3"), []byte("s1")), KindBatch, 0); err != nil {
		t.Fatal(err)
	}
	list, err := gather(&reply)
	if err != nil || len(list) != 2 || list[0].Stream != "s1" || list[0].Records.Len() != 2 || list[1].Stream != "s2" || list[1].Records.Len() != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if last := list[0].Records.Last(); string(last.Data) != "2" {
		t.Errorf("the last is %q", last.Data)
	}
}
