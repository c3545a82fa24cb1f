// Runs a function's handlers under Node, without a host: see index.d.ts for what they get.
//
//     import { run } from "shardmill/testing.mjs";
//     import handlers from "../build/function.js"; // as `shardmill function build` made it
//
//     const said = await run(handlers).batch([{ key: "a", data: "1" }]);
//     // said.outcomes: "ok", "dropped: why", "retry", "rejected: why", one a record
//     // said.emitted: { stream, key, data } with the data as text

const encoder = new TextEncoder(), decoder = new TextDecoder();

const bytesOf = (data) => (data instanceof Uint8Array ? data : encoder.encode(typeof data === "string" ? data : JSON.stringify(data)));

const payload = (data) => {
  const bytes = bytesOf(data);
  return {
    length: bytes.length,
    data: bytes,
    get text() { return decoder.decode(bytes); },
    json() { return JSON.parse(this.text); },
  };
};

class Call {
  emitted = [];
  outcomes;
  constructor(records, facts) {
    this.outcomes = records.map(() => "ok");
    const settle = (what) => (record, reason = "") => {
      const index = typeof record === "number" ? record : record.index;
      if (!(index in this.outcomes)) throw new RangeError(`record ${index} of a batch of ${records.length}`);
      this.outcomes[index] = reason ? `${what}: ${reason}` : what;
    };
    this.context = {
      function: "test", version: 1, invocation: "test", attempt: 1, mapping: "test", stream: "test", shard: 0, state: payload(""),
      remaining: () => Infinity,
      emit: (stream, { key, data }) => this.emitted.push({ stream, key, data: decoder.decode(bytesOf(data)) }),
      drop: settle("dropped"), retry: settle("retry"), reject: settle("rejected"),
      setState: (state) => { this.state = decoder.decode(bytesOf(state)); },
      ...facts,
    };
  }
}

/** The handlers of a function, to be called with records {key, data, sequence?, time?} and with facts that ctx is to have. */
export function run(handlers) {
  return {
    async batch(records, facts = {}) {
      const all = records.map((r, index) => Object.assign(payload(r.data), {
        index, key: r.key, sequence: r.sequence ?? BigInt(index + 1), time: r.time ?? new Date(0), hashKey: r.hashKey,
      }));
      const call = new Call(all, facts);
      await handlers.batch(all, call.context);
      return { outcomes: call.outcomes, emitted: call.emitted, state: call.state };
    },
    async window(facts = {}) {
      const call = new Call([], facts);
      await handlers.window(call.context);
      return { emitted: call.emitted };
    },
    async invoke(body, facts = {}) {
      const call = new Call([], facts);
      const answer = await handlers.invoke(payload(body), call.context);
      return { body: answer === undefined ? "" : decoder.decode(bytesOf(answer)), emitted: call.emitted };
    },
  };
}
