/**
 * Shardmill functions in AssemblyScript. A function, whole:
 *
 *     import { Batch, onBatch } from "shardmill";
 *     export * from "shardmill/exports";
 *
 *     onBatch((batch: Batch): void => {
 *       while (batch.next()) {
 *         const r = batch.record;
 *         if (r.data.length == 0) {
 *           batch.reject(r.index, "no data");
 *           continue;
 *         }
 *         batch.emit("copies", r.key, r.data);
 *       }
 *     });
 *
 * What a handler says of a record: nothing (it is ok), or drop, retry or reject. Of the call: nothing, or fail, which fails all
 * of it: nothing that it emitted is put, and the batch is delivered again, as the mapping's retry policy says. Delivery is at
 * least once; call.attempt counts. AssemblyScript has no exceptions to catch: what is thrown ends the instance, and its message
 * is the call's error.
 *
 * What a function reaches beyond its call, as far as its configuration grants it: secret, Table, Request, env. What is refused gives
 * null, false or 0, and refusal says why:
 *
 *     const city = new Table("cities").get(r.key.toString());
 *     if (!city && refusal.code != Code.notFound) return batch.fail(refusal.reason);
 *
 * A module imports what it calls, and is refused when it is uploaded where its configuration grants nothing of that kind.
 *
 * What is valid when: the record, its bytes and the call until the handler returns; the record is the same object each time, with
 * other content. What is given to emit, answer and fail is copied at once. Globals last as long as the instance: any call may be
 * served by a new one, so they are a cache and not state.
 */

export { Bytes } from "./assembly/bytes";
export { Json, Kind } from "./assembly/json";
export {
  Batch, BatchHandler, Call, Invocation, InvokeHandler, Record, Transform, TransformHandler, Window, WindowEnd, WindowHandler,
  onBatch, onInvoke, onTransform, onWindow,
} from "./assembly/call";
export { ABSENT, ANY, Code, Entries, Entry, Refusal, Request, Response, Table, env, refusal, secret } from "./assembly/outside";
export { LogLevel, log, now, shardmill_abort, shardmill_console, shardmill_seed, shardmill_trace } from "./assembly/system";
