package triggers

import (
	"context"
	"encoding/json"

	"github.com/shardmill/shardmill/runtime"
	"github.com/shardmill/shardmill/sdk/record"
)

// takeEvents makes the function of w one that has Lambda's event, and answers as on AWS.
func (w *world) takeEvents(b *bench, reports bool) {
	w.deaf, w.whole = !reports, true
	b.functions.set("f", 1<<runtime.KindInvoke)
	b.functions.handle, b.events = w.invokeEvent, testEvents
}

// invokeEvent reads the event of a call, and has what the SDK's door would have made of it be handled. A rejection cannot be told by this door: the record is
// settled.
func (w *world) invokeEvent(ctx context.Context, c runtime.Call, reply *runtime.Reply) error {
	var e lambdaEvent
	if err := json.Unmarshal(c.Body, &e); err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violated("event %.200q: %v", c.Body, err)
		return nil
	}
	c.Kind, c.Body = runtime.KindBatch, nil
	var records record.Builder
	for _, text := range e.text() {
		if err := records.Append(record.Record{Key: []byte("k"), Data: []byte(text)}); err != nil {
			return err
		}
	}
	if len(e.Records) > 0 {
		c.Records = []record.Run{records.Run()}
	}
	if e.Window != nil {
		c.Window, c.State = runtime.Window{Start: e.Window.Start, End: e.Window.End}, e.State
	}
	if e.Final {
		c.Kind = runtime.KindWindowClose
	}
	var said runtime.Reply
	if err := w.invoke(ctx, c, &said); err != nil {
		return err
	}
	answer := map[string]any{}
	if e.Window != nil && !e.Final {
		answer["state"] = json.RawMessage(said.State)
	}
	for _, o := range said.Outcomes {
		if o.Result == runtime.ResultRetry {
			answer["batchItemFailures"] = []map[string]string{{"itemIdentifier": e.Records[o.Index].Kinesis.SequenceNumber}}
		}
	}
	var err error
	reply.Body, err = json.Marshal(answer)
	return err
}
