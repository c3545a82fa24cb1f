/** What the program gets from the host beside calls: WASI's stderr, clock and random numbers. */

@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, parts: usize, count: i32, written: usize): i32;

@external("wasi_snapshot_preview1", "clock_time_get")
declare function clock_time_get(clock: i32, precision: i64, to: usize): i32;

@external("wasi_snapshot_preview1", "random_get")
declare function random_get(to: usize, length: i32): i32;

const scratch = memory.data(16, 8);

/** Writes text, without taking memory: there may be none. */
function stderr(text: string): void {
  const buffer = memory.data(1024);
  let at = 0;
  while (at < text.length) {
    // A part of at most 256 characters has at most 768 bytes; it does not end between a surrogate and its second half.
    let n = min(256, text.length - at);
    if (n == 256 && (text.charCodeAt(at + n - 1) & 0xfc00) == 0xd800) n--;
    const length = String.UTF8.encodeUnsafe(changetype<usize>(text) + ((<usize>at) << 1), n, buffer);
    write(buffer, <u32>length);
    at += n;
  }
}

function write(ptr: usize, length: u32): void {
  while (length > 0) {
    store<usize>(scratch, ptr);
    store<u32>(scratch, length, 4);
    store<u32>(scratch, 0, 8);
    const failed = fd_write(2, scratch, 1, scratch + 8) != 0;
    const written = load<u32>(scratch, 8);
    if (failed || written == 0 || written > length) return;
    ptr += written;
    length -= written;
  }
}

/** The level of a line in the function's log. */
export enum LogLevel {
  debug,
  info,
  warn,
  error,
}

function levelName(level: LogLevel): string {
  switch (level) {
    case LogLevel.debug:
      return "debug";
    case LogLevel.warn:
      return "warn";
    case LogLevel.error:
      return "error";
  }
  return "info";
}

/** Writes a line to the function's log; fields are names and values, one after the other. */
export function log(level: LogLevel, message: string, fields: string[] = []): void {
  let line = '{"level":"' + levelName(level) + '","msg":"' + escaped(message) + '"';
  for (let i = 1; i < fields.length; i += 2) line += ',"' + escaped(fields[i - 1]) + '":"' + escaped(fields[i]) + '"';
  stderr(line + "}\n");
}

/** Text as the inside of a JSON string. */
function escaped(text: string): string {
  let out = "";
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c >= 0x20 && c != 0x22 && c != 0x5c) continue;
    out += text.substring(from, i) + "\\u00" + "0123456789abcdef".charAt(c >> 4) + "0123456789abcdef".charAt(c & 15);
    from = i + 1;
  }
  return from == 0 ? text : out + text.substring(from);
}

/** The time, in microseconds since the Unix epoch. */
export function now(): i64 {
  if (clock_time_get(0, 1000, scratch) != 0) throw new Error("there is no clock");
  return <i64>(load<u64>(scratch) / 1000);
}

// What follows takes the place of functions of AssemblyScript's library that it would import from the host (--use).

/** What is thrown ends here: the host finds the message on stderr. */
// @ts-ignore: decorator
@global
export function shardmill_abort(message: string | null, file: string | null, line: u32, column: u32): void {
  stderr("panic: ");
  if (message) stderr(message);
  else stderr("abort");
  if (file) {
    stderr(" (");
    stderr(file);
    stderr(":");
    number(line);
    stderr(":");
    number(column);
    stderr(")");
  }
  stderr("\n");
  unreachable();
}

/** Writes a number, without taking memory. */
function number(n: u32): void {
  const digits = memory.data(10);
  let at: usize = 10;
  do {
    at--;
    store<u8>(digits + at, 0x30 + (n % 10));
    n /= 10;
  } while (n > 0);
  write(digits + at, 10 - <u32>at);
}

/** What Math.random begins with. */
// @ts-ignore: decorator
@global
export function shardmill_seed(): f64 {
  if (random_get(scratch, 8) != 0) throw new Error("there are no random numbers");
  return reinterpret<f64>(load<u64>(scratch) & 0x3fffffffffffffff); // finite
}

/** trace is a line of level debug. */
// @ts-ignore: decorator
@global
export function shardmill_trace(message: string, n: i32 = 0, a0: f64 = 0, a1: f64 = 0, a2: f64 = 0, a3: f64 = 0, a4: f64 = 0): void {
  if (n > 0) message += " " + a0.toString();
  if (n > 1) message += " " + a1.toString();
  if (n > 2) message += " " + a2.toString();
  if (n > 3) message += " " + a3.toString();
  if (n > 4) message += " " + a4.toString();
  log(LogLevel.debug, message);
}

/** console's lines have levels. */
// @ts-ignore: decorator
@global
export class shardmill_console {
  static assert<T>(condition: T, message: string = ""): void {
    if (!condition) log(LogLevel.error, "Assertion failed: " + message);
  }
  static log(message: string = ""): void {
    log(LogLevel.info, message);
  }
  static debug(message: string = ""): void {
    log(LogLevel.debug, message);
  }
  static info(message: string = ""): void {
    log(LogLevel.info, message);
  }
  static warn(message: string = ""): void {
    log(LogLevel.warn, message);
  }
  static error(message: string = ""): void {
    log(LogLevel.error, message);
  }
}
