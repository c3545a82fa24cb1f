//! Runs handlers under `cargo test`, on this machine: the calls and replies are the bytes that a host would exchange with the
//! function, and what only a broken SDK can cause panics.
//!
//! ```
//! use shardmill::{testing, Batch, Result};
//!
//! fn handle(batch: &mut Batch) -> Result {
//!     for r in batch.records() {
//!         match r.data {
//!             b"" => batch.reject(r.index, "no data"),
//!             _ => batch.emit("copies", r.key, r.data),
//!         }
//!     }
//!     Ok(())
//! }
//!
//! let said = testing::batch(handle, &[("a", "1"), ("b", "")]).unwrap();
//! assert_eq!(said.emitted("copies"), ["a 1"]);
//! assert_eq!(said.outcomes, ["ok", "rejected: no data"]);
//! ```
//!
//! What a handler reaches beyond its call is what an [`Outside`] grants.

use crate::call::{align, u16_at, u32_at, Records, BATCH_HEADER, CALL_HEADER, RECORD_HEADER};
use crate::guest::serve;
#[cfg(feature = "std")]
pub(crate) use crate::granted as host;
#[cfg(feature = "std")]
pub use crate::granted::Outside;
#[doc(hidden)]
pub use crate::guest::Handlers;
use crate::reply::{Reply, REPLY_HEADER};
use crate::{BatchHandler, InvokeHandler, TransformHandler, WindowHandler};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

/// What a call that went well came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// One for each record: "ok", or "dropped", "retry" or "rejected" and, behind a colon, the reason.
    pub outcomes: Vec<String>,
    /// What was emitted, in the order of the reply.
    pub emitted: Vec<Emitted>,
    /// The answer to a direct invocation.
    pub body: Vec<u8>,
    /// What a transform puts in the place of records, by their index, in the order of the reply.
    pub replaced: Vec<(usize, Emitted)>,
}

impl Said {
    /// What was emitted to one stream, as text: the key, a space and the data.
    pub fn emitted(&self, stream: &str) -> Vec<String> {
        let of_stream = self.emitted.iter().filter(|e| e.stream == stream);
        of_stream.map(|e| format!("{} {}", String::from_utf8_lossy(&e.key), String::from_utf8_lossy(&e.data))).collect()
    }
}

/// One emitted record.
#[derive(Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The stream that it is to be put to.
    pub stream: String,
    /// The partition key.
    pub key: Vec<u8>,
    /// What the record holds.
    pub data: Vec<u8>,
    /// The explicit hash key.
    pub explicit_hash: Option<[u8; 16]>,
}

/// A call that failed, as the host sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// "error", "panic", "unsupported" or "bad call".
    pub kind: &'static str,
    /// The type that the error was made of.
    pub type_name: String,
    /// What the host shows.
    pub message: String,
}

/// Runs a batch handler on records of these keys and data. They have the sequence numbers 1, 2, 3 and so on.
pub fn batch<K: AsRef<[u8]>, D: AsRef<[u8]>>(handler: BatchHandler, records: &[(K, D)]) -> Result<Said, Failure> {
    handle(&Handlers { batch: Some(handler), ..Handlers::NONE }, 1, &body_of(records), records.len())
}

/// Runs a handler of transforms on records of these keys and data.
pub fn transform<K: AsRef<[u8]>, D: AsRef<[u8]>>(handler: TransformHandler, records: &[(K, D)]) -> Result<Said, Failure> {
    handle(&Handlers { transform: Some(handler), ..Handlers::NONE }, 3, &body_of(records), records.len())
}

fn body_of<K: AsRef<[u8]>, D: AsRef<[u8]>>(records: &[(K, D)]) -> Vec<u8> {
    let mut body = vec![0; BATCH_HEADER];
    for (i, (key, data)) in records.iter().enumerate() {
        let (key, data) = (key.as_ref(), data.as_ref());
        let mut head = [0; RECORD_HEADER];
        head[..8].copy_from_slice(&(i as u64 + 1).to_le_bytes());
        head[16..20].copy_from_slice(&(data.len() as u32).to_le_bytes());
        head[20..22].copy_from_slice(&u16::try_from(key.len()).expect("the key is longer than 65535 bytes").to_le_bytes());
        body.extend_from_slice(&head);
        body.extend_from_slice(key);
        body.extend_from_slice(data);
        body.resize(align(body.len()), 0);
    }
    let len = body.len() as u32;
    body[..4].copy_from_slice(b"SMRB");
    body[8..12].copy_from_slice(&[1, 0, 1, 0]);
    body[12..16].copy_from_slice(&len.to_le_bytes());
    body[16..20].copy_from_slice(&(records.len() as u32).to_le_bytes());
    body
}

/// Runs a handler of direct invocations.
pub fn invoke(handler: InvokeHandler, body: impl AsRef<[u8]>) -> Result<Said, Failure> {
    handle(&Handlers { invoke: Some(handler), ..Handlers::NONE }, 4, body.as_ref(), 0)
}

/// Has the handlers serve a call as it is, and returns the bytes of the reply.
#[doc(hidden)]
pub fn raw(handlers: Handlers, kind: u32, call: &[u8]) -> Vec<u8> {
    serve(&handlers, kind, call, &mut Reply::default()).to_vec()
}

/// Runs a handler of the end of a window, with the state that the window's batches have left.
pub fn window(handler: WindowHandler, state: impl AsRef<[u8]>) -> Result<Said, Failure> {
    handle(&Handlers { window: Some(handler), ..Handlers::NONE }, 2, state.as_ref(), 0)
}

fn handle(h: &Handlers, kind: u8, body: &[u8], records: usize) -> Result<Said, Failure> {
    const NAME: &[u8] = b"test";
    let mut call = vec![0; align(CALL_HEADER + NAME.len())];
    let at = call.len() as u32;
    call[..4].copy_from_slice(b"SMCL");
    call[4..9].copy_from_slice(&[1, 0, kind, 0, CALL_HEADER as u8]);
    call[14] = NAME.len() as u8;
    call[20] = 1;
    call[28] = 1;
    let section = if kind == 2 { 52 } else { 40 };
    call[section..section + 4].copy_from_slice(&at.to_le_bytes());
    call[section + 4..section + 8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    call[72] = (kind == 2) as u8; // the end of its window
    call[CALL_HEADER..CALL_HEADER + NAME.len()].copy_from_slice(NAME);
    call.extend_from_slice(body);
    call.resize(align(call.len()), 0);
    let mut reply = Reply::default();
    read(serve(h, kind as u32, &call, &mut reply), records)
}

fn read(b: &[u8], records: usize) -> Result<Said, Failure> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).to_string();
    if b[6] == 1 {
        let e = &b[REPLY_HEADER..];
        let (typ, message) = (u16_at(e, 2) as usize, u32_at(e, 4) as usize);
        return Err(Failure {
            kind: ["error", "panic", "unsupported", "bad call"][u16_at(e, 0) as usize - 1],
            type_name: text(&e[16..16 + typ]),
            message: text(&e[16 + typ..16 + typ + message]),
        });
    }
    let mut said = Said { outcomes: vec!["ok".into(); records], ..Said::default() };
    let mut at = REPLY_HEADER;
    for _ in 0..u32_at(b, 16) {
        let reason = u16_at(b, at + 6) as usize;
        let name = ["dropped", "retry", "rejected"][b[at + 4] as usize - 1];
        let separator = if reason > 0 { ": " } else { "" };
        said.outcomes[u32_at(b, at) as usize] = format!("{}{}{}", name, separator, text(&b[at + 8..at + 8 + reason]));
        at += 8 + align(reason);
    }
    for _ in 0..u32_at(b, 24) {
        let (size, name) = (u32_at(b, at) as usize, u16_at(b, at + 12) as usize);
        for r in Records::new(&b[at + 16 + align(name)..at + size]) {
            let stream = text(&b[at + 16..at + 16 + name]);
            let emitted = Emitted { stream, key: r.key.to_vec(), data: r.data.to_vec(), explicit_hash: r.explicit_hash.copied() };
            match name {
                0 => said.replaced.push((r.sequence as usize, emitted)),
                _ => said.emitted.push(emitted),
            }
        }
        at += size;
    }
    said.body = b[at..at + u32_at(b, 36) as usize].to_vec();
    Ok(said)
}
