// Types for functions of Shardmill in TypeScript and JavaScript. docs/javascript.md tells the whole of it.
//
//     import type { Handlers } from "shardmill";
//
//     export default {
//       batch(records, ctx) {
//         for (const r of records) {
//           const { origin, delay } = r.json<{ origin: string; delay: number }>();
//           if (delay > 60) ctx.emit("late", { key: origin, data: { delay } });
//         }
//       },
//     } satisfies Handlers;

declare module "shardmill" {
  /** What a function's default export is: at least one of these. */
  export interface Handlers {
    /**
     * Handles records of one shard of a stream, in their order. What it throws, or its promise is rejected with, fails the whole batch:
     * nothing that it emitted is put, and the mapping delivers the batch again.
     */
    batch?(records: readonly Record[], ctx: BatchContext): void | Promise<void>;
    /**
     * Handles the end of a tumbling window, of which ctx has the state that the window's batches have left. What it throws has the host
     * call it again; until it succeeds the shard waits.
     */
    window?(ctx: WindowContext): void | Promise<void>;
    /**
     * Makes of records on their way to a destination what is to be stored there. A record of which it says nothing goes on as it is. What it
     * throws has the host call it again.
     */
    transform?(records: readonly Record[], ctx: TransformContext): void | Promise<void>;
    /** Answers a direct invocation, with text, bytes or a value that is written as JSON. */
    invoke?(body: Payload, ctx: Context): unknown;
  }

  /**
   * Bytes that came with the call. They can be read until the handler has ended, its promise included. Wherever data is taken, a payload, a
   * record or an entry of a table stands for its bytes, and as a string, or within JSON, for its text.
   */
  export interface Payload {
    /** In bytes. */
    readonly length: number;
    /** A view of the call's memory, not a copy: `slice()` keeps it. */
    readonly data: Uint8Array;
    /** The data as UTF-8. */
    readonly text: string;
    /** The data as JSON; a SyntaxError says where it is none. Faster than JSON.parse(text). */
    json<T = any>(): T;
  }

  export interface Record extends Payload {
    /** In the batch, from 0. */
    readonly index: number;
    /** The partition key. */
    readonly key: string;
    /** Grows by one from record to record of a shard. */
    readonly sequence: bigint;
    /** When the stream took it. */
    readonly time: Date;
    /** The same in microseconds since the Unix epoch. */
    readonly arrival: number;
    /** The explicit hash key that it was put with. */
    readonly hashKey?: bigint;
  }

  export interface NewRecord {
    /** The partition key; streams take none that is empty. */
    key: string;
    /** Text, bytes, or a value that is written as JSON. */
    data: unknown;
  }

  export interface Context {
    /** The function's name. */
    readonly function: string;
    readonly version: number;
    /** The invocation's id, which its log lines carry. */
    readonly invocation: string;
    /** 1 for the first delivery of this batch. */
    readonly attempt: number;
    /** When the host stops the handler. */
    readonly deadline?: Date;
    /** Milliseconds until then. */
    remaining(): number;
    /** Has a record put to a stream, when the handler has ended well. One of the batch is passed on as it is. */
    emit(stream: string, record: NewRecord | Record): void;

    // What follows works as far as the function's configuration grants it, and throws a HostError otherwise.

    /** The variables of the function's configuration. */
    readonly env: { readonly [name: string]: string };
    /** A secret as it is now; it should not be kept, because it may be changed while the instance lives. */
    secret(name: string): string;
    /** A secret that is no text. */
    secretBytes(name: string): Uint8Array;
    /** A state table: one of its own for each mapping and shard, or, where the grant is shared:NAME, one that the function shares. */
    table(name: string): Table;
    /**
     * Makes an HTTP request to a server that is granted, and is settled when all of the answer is there; whatever its status, that is no
     * error. Redirects are followed to servers that are granted. Nothing is tried twice, and what is sent counts even when the call fails.
     */
    fetch(url: string, options?: FetchOptions): Promise<Response>;
    /** Writes a line to the log, with the fields beside its message. */
    log(level: "debug" | "info" | "warn" | "error", message: string, fields?: { readonly [name: string]: unknown }): void;
  }

  /**
   * A state table, as one call uses it. What a call changes it sees at once, and others when it has succeeded: all of it or nothing, after
   * what it emitted was put. A key has 1 to 512 bytes, a value at most 1 MiB.
   */
  export interface Table {
    /** The entry with a key; undefined when there is none. */
    get(key: string): Entry | undefined;
    /**
     * Makes or changes an entry; the value is text, bytes, or a value that is written as JSON. With a revision the entry must have that one
     * (0n: it must not be there), or a HostError of code "conflict" is thrown. It returns the entry's new revision, as this call sees it.
     */
    put(key: string, value: unknown, expected?: bigint): bigint;
    /** Removes an entry, if there is one, or, with a revision, if it has that one. */
    delete(key: string, expected?: bigint): void;
    /** The entries whose keys begin with a prefix, by the order of their bytes. The table may be changed meanwhile. */
    list(prefix?: string): Generator<Entry, void, undefined>;
  }

  /** An entry of a state table. */
  export interface Entry {
    readonly key: string;
    /** Greater than 0n, and another one after each change. That of an entry that this call has put is good in this call only. */
    readonly revision: bigint;
    /** Of the value, in bytes. */
    readonly length: number;
    /** The value, which is the caller's. */
    readonly data: Uint8Array;
    readonly text: string;
    json<T = any>(): T;
  }

  export interface FetchOptions {
    /** GET where there is none. */
    method?: string;
    /** At most 64 fields and 16,384 bytes: an object, or pairs of names and values. */
    headers?: { readonly [name: string]: string } | Iterable<readonly [string, string]>;
    /** Text, bytes, or a value that is written as JSON; at most 6 MiB. */
    body?: unknown;
    /** In milliseconds; without it as long as the call may run. */
    timeout?: number;
  }

  /** The answer to a request. */
  export interface Response {
    readonly status: number;
    /** Whether the status is 200 to 299. */
    readonly ok: boolean;
    readonly headers: Headers;
    text(): Promise<string>;
    json<T = any>(): Promise<T>;
    bytes(): Promise<Uint8Array>;
  }

  /** Header fields; names are taken in whatever case. */
  export interface Headers extends Iterable<readonly [string, string]> {
    get(name: string): string | null;
    has(name: string): boolean;
  }

  /** What the host refuses. */
  export interface HostError extends Error {
    readonly name: "HostError";
    readonly code: "denied" | "not found" | "conflict" | "invalid" | "unavailable" | "no call";
  }

  export interface Window {
    readonly start: Date;
    /** Exclusive. */
    readonly end: Date;
    /** At its end: its state had become larger than 1 MiB, and the window goes on with an empty one. */
    readonly endedEarly: boolean;
  }

  export interface WindowContext extends Context {
    readonly mapping: string;
    readonly stream: string;
    readonly shard: number;
    /** The tumbling window that all records of the batch are in, where the mapping has one. */
    readonly window?: Window;
    /** What the window's batches before this call have left; empty in the first. */
    readonly state: Payload;
  }

  export interface TransformContext extends Context {
    readonly mapping: string;
    readonly stream: string;
    readonly shard: number;
    /**
     * Puts a record in the place of one: with another key, or with that one's. Several for one record take its place one after the other; of a
     * record that is dropped or rejected they count for nothing.
     */
    replace(record: Record | number, by: NewRecord | Record | { readonly data: unknown }): void;
    /** Has a record not go on. */
    drop(record: Record | number, reason?: string): void;
    /** Has a record count as failed: it goes, as it came, to where the delivery stream stores what could not be transformed. */
    reject(record: Record | number, reason?: string): void;
  }

  export interface BatchContext extends WindowContext {
    /**
     * Gives the window another state, for its next batch and its end: text, bytes or a value that is written as JSON. Without it the state
     * stays. More than 1 MiB ends the window early.
     */
    setState(state: unknown): void;
    /** Settles a record as not wanted. As with retry and reject, the last word on a record counts. */
    drop(record: Record | number, reason?: string): void;
    /** Asks for a record to be delivered again, later. */
    retry(record: Record | number, reason?: string): void;
    /** Settles a record as one that no retry can help: it goes to the mapping's on-failure destination. */
    reject(record: Record | number, reason?: string): void;
  }
}

// What else is there, beside the language (ES2023 and more): no modules of Node, no DOM; fetch is ctx.fetch.
declare var console: {
  log(...values: unknown[]): void;
  info(...values: unknown[]): void;
  debug(...values: unknown[]): void;
  trace(...values: unknown[]): void;
  warn(...values: unknown[]): void;
  error(...values: unknown[]): void;
  assert(ok: unknown, ...values: unknown[]): void;
};
declare class TextEncoder {
  readonly encoding: "utf-8";
  encode(text?: string): Uint8Array;
}
declare class TextDecoder {
  constructor(label?: "utf-8" | "utf8");
  readonly encoding: "utf-8";
  decode(bytes?: ArrayBuffer | ArrayBufferView): string;
}
declare var crypto: {
  getRandomValues<T extends ArrayBufferView>(array: T): T;
  randomUUID(): string;
};
declare var performance: { now(): number };
declare function atob(base64: string): string;
declare function btoa(binary: string): string;
declare function setTimeout<A extends unknown[]>(f: (...values: A) => void, milliseconds?: number, ...values: A): number;
declare function setInterval<A extends unknown[]>(f: (...values: A) => void, milliseconds?: number, ...values: A): number;
declare function clearTimeout(timer?: number): void;
declare function clearInterval(timer?: number): void;
declare function queueMicrotask(f: () => void): void;
