// A function whose replies are those of sdk/abi/testdata, named by the function in the call; golden.mjs calls it.

import { Batch, Bytes, Invocation, WindowEnd, onBatch, onInvoke, onWindow } from "shardmill";
export * from "shardmill/exports";

const none = new Bytes();

onBatch((b: Batch): void => {
  const name = b.call.functionName;
  if (name == "reply-outcomes") {
    b.reject(2, "not a flight");
    b.drop(0);
    b.retry(1, "later");
  } else if (name == "reply-outputs") {
    b.emitText("delays", "DFW", '{"flights":12}');
    b.emit("späte-flüge", none, none);
    b.emitText("delays", "JFK", '{"flights":1}');
  } else if (name == "reply-state") {
    b.setStateText("not this");
    b.setStateText("count=4");
    b.emitText("s", "k", "v");
    b.drop(0, "x");
  } else if (name == "throw") {
    trace("numbers", 2, 1.5, Math.floor(Math.random()));
    console.warn('odd "text"');
    throw new Error("thrown");
  } else if (name != "reply-ok") {
    const c = b.call;
    b.emitText("facts", c.functionName, `${c.version} ${c.shard} ${c.attempt} ${c.deadline} ${b.length}`);
    b.emitText("facts", c.mapping, c.stream);
    for (let pass = 0; pass < 2; pass++) {
      for (b.rewind(); b.next(); ) {
        if (b.record.data.is("fail")) return b.fail("failed");
        if (b.record.data.is("throw")) throw new Error("thrown");
        b.emitRecord("records", b.record);
      }
    }
  }
});

onWindow((end: WindowEnd): void => {
  const w = end.window;
  end.emit("windows", Bytes.fromString(`${w.start} ${w.end} ${w.endedEarly} `), end.state);
});

onInvoke((i: Invocation): void => {
  if (i.call.functionName != "reply-body") return i.answer(i.body);
  i.answerText("not this");
  i.answerText("pong!");
});
