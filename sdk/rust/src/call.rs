use crate::mark::mark;
use crate::reply::Reply;
use core::str;
use core::time::Duration;

pub(crate) const CALL_HEADER: usize = 80;
pub(crate) const BATCH_HEADER: usize = 24;
pub(crate) const RECORD_HEADER: usize = 24;
pub(crate) const HASH: usize = 16;

pub(crate) fn align(n: usize) -> usize {
    (n + 7) & !7
}

pub(crate) fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().unwrap())
}

pub(crate) fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
}

/// The facts of one call. Those that do not apply (the stream of a direct invocation) are empty or 0.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    bytes: &'a [u8],
    pub(crate) body: &'a [u8],
    state: &'a [u8],
}

impl<'a> Call<'a> {
    /// Reads the header of a call and finds its body. What a later host may have added behind the known header is skipped.
    pub(crate) fn parse(bytes: &'a [u8]) -> core::result::Result<Call<'a>, &'static str> {
        if bytes.len() < CALL_HEADER {
            return Err("malformed call: it is shorter than its header");
        }
        if &bytes[..4] != b"SMCL" {
            return Err("malformed call: the magic is not SMCL");
        }
        if u16_at(bytes, 4) != 1 {
            return Err("malformed call: this function reads version 1");
        }
        let header = u16_at(bytes, 8) as usize;
        if header < CALL_HEADER {
            return Err("malformed call: its header is shorter than 80 bytes");
        }
        let names = header + (0..4).map(|i| u16_at(bytes, 10 + 2 * i) as usize).sum::<usize>();
        if names > bytes.len() {
            return Err("malformed call: its names end behind it");
        }
        let body = section(bytes, names, 40).ok_or("malformed call: the body does not lie in it")?;
        let state = section(bytes, names, 52).ok_or("malformed call: the state does not lie in it")?;
        Ok(Call { bytes, body, state })
    }

    fn window(&self) -> Option<Window> {
        let (start, end) = (u64_at(self.bytes, 64) as i64, u64_at(self.bytes, 72) as i64);
        (start != end).then(|| Window { start, end, ended_early: self.bytes[7] & 1 != 0 })
    }

    fn state(&self) -> &'a [u8] {
        self.window().map_or(&[], |_| self.state)
    }

    fn name(&self, n: usize) -> &'a str {
        let mut at = u16_at(self.bytes, 8) as usize;
        for i in 0..n {
            at += u16_at(self.bytes, 10 + 2 * i) as usize;
        }
        str::from_utf8(&self.bytes[at..at + u16_at(self.bytes, 10 + 2 * n) as usize]).unwrap_or("")
    }

    pub(crate) fn kind(&self) -> u32 {
        self.bytes[6] as u32
    }

    /// The event source mapping.
    pub fn mapping(&self) -> &'a str {
        self.name(0)
    }

    /// The stream that the records are from.
    pub fn stream(&self) -> &'a str {
        self.name(1)
    }

    /// The function's name.
    pub fn function(&self) -> &'a str {
        self.name(2)
    }

    /// What identifies this call in the logs.
    pub fn invocation(&self) -> &'a str {
        self.name(3)
    }

    /// The function's version, from 1.
    pub fn version(&self) -> u32 {
        u32_at(self.bytes, 20)
    }

    /// The shard that the records are from.
    pub fn shard(&self) -> u32 {
        u32_at(self.bytes, 24)
    }

    /// 1 for the first delivery of a batch.
    pub fn attempt(&self) -> u32 {
        u32_at(self.bytes, 28)
    }

    /// When the host stops the function, in microseconds since the Unix epoch; `None`: never.
    pub fn deadline(&self) -> Option<i64> {
        Some(u64_at(self.bytes, 32) as i64).filter(|d| *d != 0)
    }

    /// How long the function may still run; `None`: for ever.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline().map(|d| Duration::from_micros(d.saturating_sub(crate::now()).max(0) as u64))
    }
}

/// The part of a call that its header, at that offset, speaks of; an empty one is empty wherever it is said to be.
fn section(bytes: &[u8], low: usize, header: usize) -> Option<&[u8]> {
    let (at, len) = (u32_at(bytes, header) as usize, u32_at(bytes, header + 4) as usize);
    if len == 0 {
        return Some(&[]);
    }
    if at < low || at % 8 != 0 {
        return None;
    }
    bytes.get(at..at.checked_add(len)?)
}

/// A tumbling window: a stretch of time that the records of its batches arrived in, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it begins.
    pub start: i64,
    /// When it ends, exclusive.
    pub end: i64,
    /// At its end: its state had become larger than 1 MiB, and the window goes on with an empty one.
    pub ended_early: bool,
}

/// One record, a view into the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it is in the batch, from 0.
    pub index: usize,
    /// Its sequence number.
    pub sequence: u64,
    /// When it arrived, in microseconds since the Unix epoch.
    pub arrival: i64,
    /// The partition key.
    pub key: &'a [u8],
    /// What the record holds.
    pub data: &'a [u8],
    /// 16 bytes, big-endian, that take the place of the key's hash.
    pub explicit_hash: Option<&'a [u8; 16]>,
}

impl<'a> Record<'a> {
    /// The partition key as text; `""` when it is not UTF-8.
    pub fn key_str(&self) -> &'a str {
        str::from_utf8(self.key).unwrap_or("")
    }
}

/// The records of a batch, in order. What the function does until it takes the next one is what a record costs, for `shardmill function costs`.
#[derive(Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: usize,
}

impl<'a> Records<'a> {
    pub(crate) fn new(run: &'a [u8]) -> Records<'a> {
        Records { rest: run, index: 0 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    // The host has just made this batch; were it wrong, the bounds checks stop the handler.
    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let b = self.rest;
        if b.len() < RECORD_HEADER {
            mark(0);
            return None;
        }
        let (head, b) = b.split_at(RECORD_HEADER);
        let lengths = u64_at(head, 16);
        let (explicit_hash, b) = if lengths >> 48 & 1 != 0 {
            let (hash, b) = b.split_at(HASH);
            (Some(hash.try_into().unwrap()), b)
        } else {
            (None, b)
        };
        let (key, b) = b.split_at((lengths >> 32) as u16 as usize);
        let (data, b) = b.split_at(lengths as u32 as usize);
        let padding = b.len() & 7; // what is behind the last record is a multiple of 8
        self.rest = &b[padding..];
        self.index += 1;
        mark(self.index);
        Some(Record { index: self.index - 1, sequence: u64_at(head, 0), arrival: u64_at(head, 8) as i64, key, data, explicit_hash })
    }
}

/// The records of one call, and what the handler says about them.
pub struct Batch<'a> {
    call: Call<'a>,
    run: &'a [u8],
    len: usize,
    reply: &'a mut Reply,
}

impl<'a> Batch<'a> {
    /// The batch in a call's body; `None` when that is none.
    pub(crate) fn parse(call: Call<'a>, reply: &'a mut Reply) -> Option<Batch<'a>> {
        let body = call.body;
        if body.len() < BATCH_HEADER || &body[..4] != b"SMRB" || body.len() % 8 != 0 {
            return None;
        }
        let len = u32_at(body, 16) as usize;
        let run = &body[BATCH_HEADER..];
        if len > run.len() / RECORD_HEADER {
            return None;
        }
        reply.records_in_call(len);
        reply.set_state(call.state()); // it stays, unless the handler sets another one
        Some(Batch { call, run, len, reply })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The records. The iterator does not borrow the batch, so outcomes and emits may be said while it is used.
    pub fn records(&self) -> Records<'a> {
        Records::new(self.run)
    }

    /// What this call is about: mapping, stream, shard, attempt.
    pub fn call(&self) -> Call<'a> {
        self.call
    }

    /// The tumbling window that all records of the batch are in; `None` when the mapping has none.
    pub fn window(&self) -> Option<Window> {
        self.call.window()
    }

    /// What the window's batches before this one have left; empty in the first.
    pub fn state(&self) -> &'a [u8] {
        self.call.state()
    }

    /// Gives the window another state, for its next batch and its end; without it the state stays. More than 1 MiB ends the window
    /// early, more than 6 MiB fails the call. It has an effect only when the mapping has a window.
    pub fn set_state(&mut self, state: impl AsRef<[u8]>) {
        if self.window().is_some() {
            self.reply.set_state(state.as_ref());
        }
    }

    /// Adds a record to be put to a stream when the handler has returned `Ok`. A record that cannot be encoded, or a 257th
    /// stream, fails the call when the handler returns. Whether the function may emit to that stream, and the limits of key
    /// and data, are the host's to check.
    pub fn emit(&mut self, stream: &str, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        self.reply.emit(stream, key.as_ref(), data.as_ref(), None);
    }

    /// `emit` for a whole record: key, data and explicit hash are taken, so a record of the batch may be passed on as it is.
    pub fn emit_record(&mut self, stream: &str, record: &Record<'_>) {
        self.reply.emit(stream, record.key, record.data, record.explicit_hash);
    }

    /// Settles a record as not wanted: it counts as dropped, not as handled. The reason may be empty. As with the other
    /// outcomes, the last word on a record counts, and a reason is cut at 1,024 bytes.
    ///
    /// # Panics
    ///
    /// When the index is not in the batch; so do the other outcomes.
    #[track_caller]
    pub fn drop(&mut self, index: usize, reason: &str) {
        self.reply.outcome(index, 1, reason);
    }

    /// Asks for a record to be delivered again, later, as the mapping's retry policy says.
    #[track_caller]
    pub fn retry(&mut self, index: usize, reason: &str) {
        self.reply.outcome(index, 2, reason);
    }

    /// Settles a record as one that no retry can help: it goes to the mapping's on-failure destination, with the reason.
    #[track_caller]
    pub fn reject(&mut self, index: usize, reason: &str) {
        self.reply.outcome(index, 3, reason);
    }
}

/// A direct invocation.
pub struct Invocation<'a> {
    call: Call<'a>,
    reply: &'a mut Reply,
}

impl<'a> Invocation<'a> {
    pub(crate) fn new(call: Call<'a>, reply: &'a mut Reply) -> Invocation<'a> {
        Invocation { call, reply }
    }

    /// What the caller sent.
    pub fn body(&self) -> &'a [u8] {
        self.call.body
    }

    /// What this call is about.
    pub fn call(&self) -> Call<'a> {
        self.call
    }

    /// [`Batch::emit`] for direct invocations.
    pub fn emit(&mut self, stream: &str, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        self.reply.emit(stream, key.as_ref(), data.as_ref(), None);
    }
}

/// The end of a tumbling window of one shard.
pub struct WindowEnd<'a> {
    call: Call<'a>,
    reply: &'a mut Reply,
}

impl<'a> WindowEnd<'a> {
    pub(crate) fn new(call: Call<'a>, reply: &'a mut Reply) -> WindowEnd<'a> {
        WindowEnd { call, reply }
    }

    /// Which window has ended.
    pub fn window(&self) -> Window {
        self.call.window().unwrap_or(Window { start: 0, end: 0, ended_early: false })
    }

    /// What the last batch of the window has set; empty when none has.
    pub fn state(&self) -> &'a [u8] {
        self.call.state()
    }

    /// What this call is about.
    pub fn call(&self) -> Call<'a> {
        self.call
    }

    /// [`Batch::emit`] at the end of a window.
    pub fn emit(&mut self, stream: &str, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        self.reply.emit(stream, key.as_ref(), data.as_ref(), None);
    }
}

/// Records on their way to a destination, and what the handler makes of them. One of which it says nothing goes on as it is.
pub struct Transform<'a> {
    batch: Batch<'a>,
}

impl<'a> Transform<'a> {
    pub(crate) fn parse(call: Call<'a>, reply: &'a mut Reply) -> Option<Transform<'a>> {
        Batch::parse(call, reply).map(|batch| Transform { batch })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.batch.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.batch.len == 0
    }

    /// The records. The iterator does not borrow the transform.
    pub fn records(&self) -> Records<'a> {
        self.batch.records()
    }

    /// What this call is about.
    pub fn call(&self) -> Call<'a> {
        self.batch.call
    }

    /// Puts a record in the place of the one with that index. Several for one take its place one after the other; of a record that is dropped or
    /// rejected they count for nothing. One that cannot be encoded fails the call.
    ///
    /// # Panics
    ///
    /// When the index is not in the call; so do `drop` and `reject`.
    #[track_caller]
    pub fn replace(&mut self, index: usize, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        self.batch.reply.replace(index, key.as_ref(), data.as_ref(), None);
    }

    /// `replace` for a whole record: key, data and explicit hash are taken.
    #[track_caller]
    pub fn replace_record(&mut self, index: usize, record: &Record<'_>) {
        self.batch.reply.replace(index, record.key, record.data, record.explicit_hash);
    }

    /// Has a record not go on. The reason may be empty.
    #[track_caller]
    pub fn drop(&mut self, index: usize, reason: &str) {
        self.batch.drop(index, reason);
    }

    /// Has a record count as failed: it goes, as it came, to where the delivery stream stores what could not be transformed.
    #[track_caller]
    pub fn reject(&mut self, index: usize, reason: &str) {
        self.batch.reject(index, reason);
    }

    /// [`Batch::emit`]: puts a record to a stream beside what the transform hands on.
    pub fn emit(&mut self, stream: &str, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) {
        self.batch.emit(stream, key, data);
    }
}
