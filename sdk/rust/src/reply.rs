use crate::call::{align, RECORD_HEADER};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub(crate) const REPLY_HEADER: usize = 40;
const MAX_NAME: usize = 256;
const MAX_REASON: usize = 1024;
const MAX_TYPE: usize = 256;
const MAX_MESSAGE: usize = 64 << 10;
const MAX_STACK: usize = 256 << 10;
const MAX_STATE: usize = 6 << 20;
const MAX_OUTPUTS: usize = 256;
const MAX_KEY: usize = (1 << 16) - 1;
const MAX_DATA: usize = (1 << 30) - 1;
const MAX_REPLY: usize = i32::MAX as usize;

/// The kinds of failure.
pub(crate) const ERROR: u16 = 1;
#[allow(dead_code)] // where panics do not unwind
pub(crate) const PANIC: u16 = 2;
pub(crate) const UNSUPPORTED: u16 = 3;
pub(crate) const BAD_CALL: u16 = 4;

/// Memory that begins at a multiple of 8 and is kept.
#[derive(Default)]
pub(crate) struct Words(Vec<u64>);

impl Words {
    /// Makes it at least size bytes long; its content is not kept. False when there is no memory.
    pub(crate) fn reserve(&mut self, size: usize) -> bool {
        let words = size / 8 + 1;
        if words > self.0.len() {
            self.0 = Vec::new(); // so that both need not fit in memory at once
            if self.0.try_reserve_exact(words).is_err() {
                return false;
            }
            self.0.resize(words, 0);
        }
        true
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // Eight bytes are in each word, and bytes may be anywhere.
        unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 8) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // As above, and every eight bytes are a word.
        unsafe { core::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 8) }
    }
}

/// A stream that is emitted to in this call.
struct Output {
    name: (usize, usize), // in Reply::names
    count: u32,
    size: usize, // encoded bytes of its records
    to: usize,   // where the next of them goes in the reply
}

/// Builds a reply in memory that it keeps from call to call.
#[derive(Default)]
pub(crate) struct Reply {
    arena: Words,
    len: usize,
    records: Vec<u8>,              // emitted ones, encoded, in the order in which they were emitted
    stretches: Vec<(usize, usize)>, // whose they are: output, bytes
    outputs: Vec<Output>,
    names: String,
    in_call: usize,
    outcomes: Vec<u8>,  // encoded as in the reply, in the order in which they were said
    last: Vec<usize>,   // per record, from the first outcome on: where the last word on it is in outcomes, plus 1
    outcome_count: u32, // records that have one
    next: usize,        // the least index whose outcome can be said without sorting
    unsorted: bool,
    state: Vec<u8>,
    failure: Option<(u16, String, String, String)>, // the first one: kind, type, message, stack
}

impl Reply {
    /// Forgets what was said and keeps the memory.
    pub(crate) fn reset(&mut self) {
        self.records.clear();
        self.stretches.clear();
        self.outputs.clear();
        self.names.clear();
        self.outcomes.clear();
        self.state.clear();
        self.last.clear();
        self.in_call = 0;
        self.outcome_count = 0;
        self.next = 0;
        self.unsorted = false;
        self.failure = None;
    }

    pub(crate) fn records_in_call(&mut self, n: usize) {
        self.in_call = n;
    }

    /// Notes why the call fails, unless that is known already.
    pub(crate) fn fails(&mut self, kind: u16, typ: &str, message: &str, stack: &str) {
        if self.failure.is_none() {
            self.failure = Some((kind, typ.into(), message.into(), stack.into()));
        }
    }

    fn emit_fails(&mut self, stream: &str, why: &str) {
        self.fails(ERROR, "", &format!("emit to stream {:?}: {}", cut(stream, MAX_NAME), why), "");
    }

    fn name(&self, o: &Output) -> &str {
        &self.names[o.name.0..o.name.0 + o.name.1]
    }

    /// The index of a stream among the outputs, or why there is none.
    fn output(&mut self, stream: &str, replaces: bool) -> Result<usize, &'static str> {
        if stream.is_empty() && !replaces {
            return Err("the name is empty");
        }
        if let Some(&(last, _)) = self.stretches.last() {
            if self.name(&self.outputs[last]) == stream {
                return Ok(last); // mostly it is the last one again
            }
        }
        if let Some(i) = self.outputs.iter().position(|o| self.name(o) == stream) {
            return Ok(i);
        }
        if stream.len() > MAX_NAME {
            return Err("the name is longer than 256 bytes");
        }
        if self.outputs.len() == MAX_OUTPUTS {
            return Err("it is the 257th stream of the call; 256 is the most");
        }
        self.outputs.push(Output { name: (self.names.len(), stream.len()), count: 0, size: 0, to: 0 });
        self.names.push_str(stream);
        Ok(self.outputs.len() - 1)
    }

    pub(crate) fn emit(&mut self, stream: &str, key: &[u8], data: &[u8], hash: Option<&[u8; 16]>) {
        self.put(stream, key, data, hash, None);
    }

    /// Adds a record that takes the place of the one with that index.
    #[track_caller]
    pub(crate) fn replace(&mut self, index: usize, key: &[u8], data: &[u8], hash: Option<&[u8; 16]>) {
        assert!(index < self.in_call, "replacement of record {} of a batch of {}", index, self.in_call);
        self.put("", key, data, hash, Some(index));
    }

    fn put(&mut self, stream: &str, key: &[u8], data: &[u8], hash: Option<&[u8; 16]>, replaces: Option<usize>) {
        if key.len() > MAX_KEY {
            return self.emit_fails(stream, "the partition key is longer than 65535 bytes");
        }
        if data.len() > MAX_DATA {
            return self.emit_fails(stream, "the data is longer than 1073741823 bytes");
        }
        let output = match self.output(stream, replaces.is_some()) {
            Ok(output) => output,
            Err(why) => return self.emit_fails(stream, why),
        };
        let before = self.records.len();
        let hash_len = hash.map_or(0, |h| h.len());
        self.records.reserve(align(RECORD_HEADER + hash_len + key.len() + data.len()));
        let mut head = [0; RECORD_HEADER];
        head[..8].copy_from_slice(&(replaces.unwrap_or(0) as u64).to_le_bytes());
        head[16..20].copy_from_slice(&(data.len() as u32).to_le_bytes());
        head[20..22].copy_from_slice(&(key.len() as u16).to_le_bytes());
        head[22] = hash.is_some() as u8;
        self.records.extend_from_slice(&head);
        if let Some(hash) = hash {
            self.records.extend_from_slice(hash);
        }
        self.records.extend_from_slice(key);
        self.records.extend_from_slice(data);
        pad(&mut self.records);
        let size = self.records.len() - before;
        self.outputs[output].count += 1;
        self.outputs[output].size += size;
        match self.stretches.last_mut() {
            Some((last, bytes)) if *last == output => *bytes += size,
            _ => self.stretches.push((output, size)),
        }
    }

    pub(crate) fn set_state(&mut self, state: &[u8]) {
        if state.len() > MAX_STATE {
            return self.fails(ERROR, "", "the state is longer than 6291456 bytes", "");
        }
        self.state.clear();
        self.state.extend_from_slice(state);
    }

    #[track_caller] // so that a panic names the handler's line
    pub(crate) fn outcome(&mut self, index: usize, result: u8, reason: &str) {
        if index >= self.in_call {
            panic!("outcome for record {} of a batch of {}", index, self.in_call);
        }
        self.last.resize(self.in_call, 0); // the first time
        self.unsorted |= index < self.next;
        self.next = self.next.max(index + 1);
        self.outcome_count += (self.last[index] == 0) as u32;
        self.last[index] = self.outcomes.len() + 1;
        let reason = cut(reason, MAX_REASON);
        self.outcomes.extend_from_slice(&(index as u32).to_le_bytes());
        self.outcomes.extend_from_slice(&[result, 0]);
        self.outcomes.extend_from_slice(&(reason.len() as u16).to_le_bytes());
        self.outcomes.extend_from_slice(reason.as_bytes());
        pad(&mut self.outcomes);
    }

    /// The reply, of a call that went well with that body, or of one that failed; valid until the next call of anything here.
    pub(crate) fn finish(&mut self, body: &[u8]) -> &[u8] {
        if self.failure.is_none() && !self.write(body) {
            self.fails(ERROR, "", "the reply is longer than 2147483647 bytes", "");
        }
        if let Some((kind, typ, message, stack)) = self.failure.take() {
            self.write_failure(kind, &typ, &message, &stack);
        }
        &self.arena.bytes()[..self.len]
    }

    /// Begins a reply of that size and writes the fixed part of its header; what is returned is the whole reply.
    fn begin(&mut self, size: usize) -> &mut [u8] {
        if size > self.arena.bytes().len() && !self.arena.reserve(size + size / 4) && !self.arena.reserve(size) {
            panic!("no memory for a reply of {} bytes", size);
        }
        self.len = size;
        let b = &mut self.arena.bytes_mut()[..size];
        b[..REPLY_HEADER].fill(0);
        b[..4].copy_from_slice(b"SMRP");
        b[4] = 1;
        put(b, 8, size as u32);
        b
    }

    fn write_failure(&mut self, kind: u16, typ: &str, message: &str, stack: &str) {
        let (typ, message, stack) = (cut(typ, MAX_TYPE), cut(message, MAX_MESSAGE), cut(stack, MAX_STACK));
        let section = align(16 + typ.len() + message.len() + stack.len());
        let b = self.begin(REPLY_HEADER + section);
        b[6] = 1;
        put(b, 12, section as u32);
        let b = &mut b[REPLY_HEADER..];
        b.fill(0);
        b[..2].copy_from_slice(&kind.to_le_bytes());
        b[2..4].copy_from_slice(&(typ.len() as u16).to_le_bytes());
        put(b, 4, message.len() as u32);
        put(b, 8, stack.len() as u32);
        let mut at = 16;
        for text in [typ, message, stack] {
            b[at..at + text.len()].copy_from_slice(text.as_bytes());
            at += text.len();
        }
    }

    /// Writes the reply of a call that went well; false when it would be too long.
    fn write(&mut self, body: &[u8]) -> bool {
        self.settle();
        let outputs: usize = self.outputs.iter().map(|o| section_header(o) + o.size).sum();
        let size = [self.outcomes.len(), outputs, align(self.state.len()), body.len(), 7].iter().try_fold(REPLY_HEADER, |sum, n| sum.checked_add(*n));
        let size = match size {
            Some(size) if size <= MAX_REPLY => size & !7, // all but the body are multiples of 8
            _ => return false,
        };
        let (count, outcomes, state) = (self.outcome_count, core::mem::take(&mut self.outcomes), core::mem::take(&mut self.state));
        let output_count = self.outputs.len();
        let b = self.begin(size);
        put(b, 16, count);
        put(b, 20, outcomes.len() as u32);
        put(b, 24, output_count as u32);
        put(b, 28, outputs as u32);
        put(b, 32, state.len() as u32);
        put(b, 36, body.len() as u32);
        let (to, b) = b[REPLY_HEADER..].split_at_mut(outcomes.len());
        to.copy_from_slice(&outcomes);
        let (to, b) = b[outputs..].split_at_mut(align(state.len()));
        to[..state.len()].copy_from_slice(&state);
        to[state.len()..].fill(0);
        let (to, padding) = b.split_at_mut(body.len());
        to.copy_from_slice(body);
        padding.fill(0);
        self.write_outputs(REPLY_HEADER + outcomes.len());
        self.outcomes = outcomes;
        self.state = state;
        true
    }

    /// Puts the outcomes in order, the last word on each record only.
    fn settle(&mut self) {
        if !self.unsorted {
            return;
        }
        let mut sorted = Vec::with_capacity(self.outcomes.len());
        for at in self.last.iter().filter(|at| **at != 0) {
            let entry = &self.outcomes[at - 1..];
            let reason = u16::from_le_bytes([entry[6], entry[7]]) as usize;
            sorted.extend_from_slice(&entry[..8 + align(reason)]);
        }
        self.outcomes = sorted;
    }

    /// Writes the sections' headers, and then each stretch of records to where its stream's are.
    fn write_outputs(&mut self, mut at: usize) {
        let b = self.arena.bytes_mut();
        for o in &mut self.outputs {
            let header = section_header(o);
            let h = &mut b[at..at + header];
            h.fill(0);
            put(h, 0, (header + o.size) as u32);
            put(h, 4, o.count);
            put(h, 8, o.size as u32);
            h[12..14].copy_from_slice(&(o.name.1 as u16).to_le_bytes());
            h[16..16 + o.name.1].copy_from_slice(&self.names.as_bytes()[o.name.0..o.name.0 + o.name.1]);
            o.to = at + header;
            at += header + o.size;
        }
        let mut from = &self.records[..];
        for &(output, size) in &self.stretches {
            let (stretch, rest) = from.split_at(size);
            let o = &mut self.outputs[output];
            b[o.to..o.to + size].copy_from_slice(stretch);
            o.to += size;
            from = rest;
        }
    }
}

fn section_header(o: &Output) -> usize {
    16 + align(o.name.1)
}

fn put(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_le_bytes());
}

fn pad(b: &mut Vec<u8>) {
    b.resize(align(b.len()), 0);
}

/// Shortens text to at most limit bytes, between characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    &text[..end]
}
