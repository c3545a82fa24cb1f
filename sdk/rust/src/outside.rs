//! What a function reaches beyond its call, as far as its configuration grants it (sdk/abi.md, section 6).

use crate::call::{align, u16_at, u32_at, u64_at};
#[cfg(target_family = "wasm")]
use crate::host;
#[cfg(all(not(feature = "std"), not(target_family = "wasm")))]
use crate::hostless as host;
#[cfg(all(feature = "std", not(target_family = "wasm")))]
use crate::testing::host;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Why the host did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The function's configuration does not grant it.
    Denied,
    /// There is nothing of that name.
    NotFound,
    /// It is not as expected.
    Conflict,
    /// An argument is out of its limits.
    Invalid,
    /// The host cannot do it now. It may pass.
    Unavailable,
    /// No call is under way.
    NoCall,
}

#[cfg(target_family = "wasm")]
impl Code {
    pub(crate) fn of(status: i64) -> Code {
        match status {
            -1 => Code::Denied,
            -2 => Code::NotFound,
            -3 => Code::Conflict,
            -4 => Code::Invalid,
            -6 => Code::NoCall,
            _ => Code::Unavailable,
        }
    }
}

/// What the host did not do, and why. `?` makes an [`Error`](crate::Error) of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    code: Code,
    what: String,
    says: String,
}

impl HostError {
    pub(crate) fn new(code: Code, says: &str) -> HostError {
        HostError { code, what: String::new(), says: says.into() }
    }

    fn of(mut self, what: String) -> HostError {
        self.what = what;
        self
    }

    /// Why.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The host's sentence about it.
    pub fn reason(&self) -> &str {
        &self.says
    }
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.code {
            Code::Denied => "not granted",
            Code::NotFound => "not found",
            Code::Conflict => "changed meanwhile",
            Code::Invalid => "invalid",
            Code::Unavailable => "unavailable",
            Code::NoCall => "no call is under way",
        };
        write!(f, "{}: {}", self.what, code)?;
        if self.says.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.says)
    }
}

#[cfg(feature = "std")]
impl std::error::Error for HostError {}

/// What the host answers.
pub type HostResult<T> = core::result::Result<T, HostError>;

#[cfg(target_family = "wasm")]
pub(crate) fn strange(what: &str) -> HostError {
    HostError::new(Code::Unavailable, what)
}

/// The value of a secret as it is now, 1 to 65,536 bytes. It is not to be kept in statics: it may be changed while the instance lives.
pub fn secret(name: &str) -> HostResult<Vec<u8>> {
    host::secret(name).map_err(|e| e.of(format!("secret {:?}", name)))
}

/// A variable of the function's configuration. Where std has an environment, `std::env::var` is the same.
pub fn env(name: &str) -> Option<String> {
    host::env(name)
}

/// The time, in microseconds since the Unix epoch.
pub fn now() -> i64 {
    host::now()
}

/// What a change of state can expect of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: it may be there or not.
    Any,
    /// That it is not there.
    Absent,
    /// That it has this revision.
    Revision(i64),
}

impl Expect {
    pub(crate) fn number(self) -> i64 {
        match self {
            Expect::Any => -1,
            Expect::Absent => 0,
            Expect::Revision(n) => n,
        }
    }
}

/// One entry of a state table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 to 512 bytes.
    pub key: String,
    /// At most 1 MiB.
    pub value: Vec<u8>,
    /// Greater than 0, and another one after each change. That of an entry that this call has put is good in this call only.
    pub revision: i64,
}

/// A state table: one of the function's own for each mapping and shard that it runs for, or, where the grant is `shared:NAME`, one that it
/// shares.
///
/// What a call changes it sees at once, and others when it has succeeded: all of it or nothing, after what it emitted was put.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    name: &'a str,
}

impl<'a> Table<'a> {
    /// The table of that name.
    pub fn new(name: &'a str) -> Table<'a> {
        Table { name }
    }

    fn what(&self, operation: &str, key: &str) -> String {
        format!("{} {:?} of state table {:?}", operation, key, self.name)
    }

    /// The entry with a key; `None` when there is none.
    pub fn get(&self, key: &str) -> HostResult<Option<Entry>> {
        match host::state_get(self.name, key) {
            Ok((revision, value)) => Ok(Some(Entry { key: key.into(), value, revision })),
            Err(e) if e.code == Code::NotFound => Ok(None),
            Err(e) => Err(e.of(self.what("get", key))),
        }
    }

    /// Makes or changes an entry, whatever it was.
    pub fn put(&self, key: &str, value: impl AsRef<[u8]>) -> HostResult<()> {
        self.cas(key, value, Expect::Any).map(|_| ())
    }

    /// Makes or changes an entry that is as expected, and gives its revision as this call sees it; [`Code::Conflict`] when it is not. One that another call
    /// changes before this one has succeeded fails this call.
    pub fn cas(&self, key: &str, value: impl AsRef<[u8]>, expected: Expect) -> HostResult<i64> {
        host::state_put(self.name, key, value.as_ref(), expected.number()).map_err(|e| e.of(self.what("put", key)))
    }

    /// Removes an entry, if there is one.
    pub fn delete(&self, key: &str) -> HostResult<()> {
        self.cas_delete(key, Expect::Any)
    }

    /// Removes an entry that is as expected.
    pub fn cas_delete(&self, key: &str, expected: Expect) -> HostResult<()> {
        host::state_delete(self.name, key, expected.number()).map_err(|e| e.of(self.what("delete", key)))
    }

    /// The entries whose keys begin with a prefix, by the order of their bytes. The table may be changed meanwhile: what is behind the entry that came last is
    /// seen. An error ends it.
    pub fn list(&self, prefix: &'a str) -> Entries<'a> {
        Entries { table: *self, prefix, after: String::new(), page: Vec::new().into_iter(), more: true }
    }
}

/// The entries of a table, in order.
pub struct Entries<'a> {
    table: Table<'a>,
    prefix: &'a str,
    after: String,
    page: alloc::vec::IntoIter<Entry>,
    more: bool,
}

impl Iterator for Entries<'_> {
    type Item = HostResult<Entry>;

    fn next(&mut self) -> Option<HostResult<Entry>> {
        while self.page.len() == 0 && self.more {
            match host::state_list(self.table.name, self.prefix, &self.after) {
                Ok((page, more)) => {
                    self.more = more && !page.is_empty();
                    self.after = page.last().map_or(String::new(), |e| e.key.clone());
                    self.page = page.into_iter();
                }
                Err(e) => {
                    self.more = false;
                    return Some(Err(e.of(self.table.what("list", self.prefix))));
                }
            }
        }
        self.page.next().map(Ok)
    }
}

/// An HTTP request.
///
/// ```no_run
/// # fn alert(body: &str) -> shardmill::Result {
/// let answer = shardmill::Request::new("POST", "https://hooks.example.com/alerts").header("Content-Type", "application/json").body(body).send()?;
/// if answer.status != 200 {
///     return Err("the hook does not take it".into());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Such as GET.
    pub method: String,
    /// At most 8 KiB.
    pub url: String,
    /// At most 64 fields, and 16 KiB.
    pub header: Vec<(String, String)>,
    /// At most 6 MiB.
    pub body: Vec<u8>,
    /// How long it may take; zero: as long as the call may run.
    pub timeout: Duration,
}

impl Request {
    /// A request without a body.
    pub fn new(method: &str, url: &str) -> Request {
        Request { method: method.into(), url: url.into(), header: Vec::new(), body: Vec::new(), timeout: Duration::ZERO }
    }

    /// A GET.
    pub fn get(url: &str) -> Request {
        Request::new("GET", url)
    }

    /// Adds a header field.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.header.push((name.into(), value.into()));
        self
    }

    /// Gives it a body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Has it end earlier than the call.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = timeout;
        self
    }

    /// Makes the request to a server that is granted, and returns when all of the answer is there; whatever its status, that is no error. Redirects are
    /// followed to servers that are granted. Nothing is tried twice, and what is sent counts even when the call fails.
    pub fn send(&self) -> HostResult<Response> {
        self.check().and_then(|()| host::fetch(self)).map_err(|e| e.of("fetch".to_string()))
    }

    fn check(&self) -> HostResult<()> {
        let header: usize = self.header.iter().map(|(name, value)| name.len() + value.len()).sum();
        let wrong = match () {
            _ if self.method.len() > 32 => "the method has more than 32 bytes",
            _ if self.url.len() > 8192 => "the URL has more than 8192 bytes",
            _ if self.header.len() > 64 || header > 16384 => "the header has more than 64 fields, or 16384 bytes",
            _ if self.body.len() > 6 << 20 => "the body has more than 6291456 bytes",
            _ => return Ok(()),
        };
        Err(HostError::new(Code::Invalid, wrong))
    }

    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(64 + self.url.len() + self.body.len());
        // A part of a millisecond counts as one: zero would be no limit.
        let timeout = u32::try_from((self.timeout.as_micros() + 999) / 1000).unwrap_or(u32::MAX);
        b.extend_from_slice(&timeout.to_le_bytes());
        b.extend_from_slice(&(self.method.len() as u16).to_le_bytes());
        b.extend_from_slice(&(self.header.len() as u16).to_le_bytes());
        b.extend_from_slice(&(self.url.len() as u32).to_le_bytes());
        b.extend_from_slice(&(self.body.len() as u32).to_le_bytes());
        b.extend_from_slice(self.method.as_bytes());
        b.extend_from_slice(self.url.as_bytes());
        for (name, value) in &self.header {
            b.extend_from_slice(&(name.len() as u16).to_le_bytes());
            b.extend_from_slice(&(value.len() as u16).to_le_bytes());
            b.extend_from_slice(name.as_bytes());
            b.extend_from_slice(value.as_bytes());
        }
        b.extend_from_slice(&self.body);
        b
    }
}

/// The answer to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Such as 200.
    pub status: u16,
    /// In the order of the answer.
    pub header: Vec<(String, String)>,
    /// At most 6 MiB.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header field of a name, in whatever case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.header.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    #[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
    pub(crate) fn decode(b: &[u8]) -> Option<Response> {
        let mut at = 8;
        let mut header = Vec::new();
        b.get(..at)?;
        for _ in 0..u16_at(b, 2) {
            b.get(at..at + 4)?;
            let (name, value) = (u16_at(b, at) as usize, u16_at(b, at + 2) as usize);
            let text = |from: usize, len: usize| b.get(from..from + len).map(|b| String::from_utf8_lossy(b).into_owned());
            header.push((text(at + 4, name)?, text(at + 4 + name, value)?));
            at += 4 + name + value;
        }
        let body = b.get(at..)?;
        (body.len() == u32_at(b, 4) as usize).then(|| Response { status: u16_at(b, 0), header, body: body.to_vec() })
    }
}

/// Reads a list of entries; whether others follow.
#[cfg_attr(not(target_family = "wasm"), allow(dead_code))]
pub(crate) fn decode_list(b: &[u8]) -> Option<(Vec<Entry>, bool)> {
    b.get(..8)?;
    let mut entries = Vec::new();
    let mut at: usize = 8;
    for _ in 0..u32_at(b, 0) {
        b.get(at..at.checked_add(16)?)?;
        let (key, value) = (at + 16, at + 16 + u16_at(b, at + 12) as usize);
        let end = value.checked_add(u32_at(b, at + 8) as usize)?;
        entries.push(Entry {
            key: String::from_utf8_lossy(b.get(key..value)?).into_owned(),
            value: b.get(value..end)?.to_vec(),
            revision: u64_at(b, at) as i64,
        });
        at = align(end);
    }
    Some((entries, u32_at(b, 4) == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // What stands in sdk/abi.md.
    #[test]
    fn requests() {
        let r = Request::new("PUT", "u").header("a", "bc").body("body").timeout(Duration::from_micros(1500));
        let want = b"\x02\0\0\0\x03\0\x01\0\x01\0\0\0\x04\0\0\0PUTu\x01\0\x02\0abcbody";
        assert_eq!(r.encode(), want);
        let long = "x".repeat(16385);
        let many = (0..65).fold(Request::get("u"), |r, _| r.header("a", "b"));
        for r in [Request::new(&long, "u"), Request::get(&long), Request::get("u").header("a", &long), many, Request::get("u").body(alloc::vec![0; (6 << 20) + 1])] {
            assert_eq!(r.send().unwrap_err().code(), Code::Invalid);
        }
        assert_eq!(Request::get("u").send().unwrap_err().to_string(), "fetch: not granted: the test grants nothing");
    }

    #[test]
    fn answers() {
        let b = b"\xc8\0\x02\0\x02\0\0\0\x01\0\x02\0abb\x01\0\0\0cok";
        let r = Response::decode(b).unwrap();
        assert_eq!((r.status, r.get("A"), r.get("c"), r.get("d"), &r.body[..]), (200, Some("bb"), Some(""), None, &b"ok"[..]));
        assert_eq!(Response::decode(&b[..b.len() - 1]), None);
        changed(b, |b| Response::decode(b).map_or(0, |r| r.body.len()));
    }

    #[test]
    fn lists() {
        let mut b = alloc::vec![2, 0, 0, 0, 1, 0, 0, 0];
        b.extend_from_slice(b"\x07\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0kv\0\0\0\0\0\0");
        b.extend_from_slice(b"\x08\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0l\0\0\0\0\0\0\0");
        let entry = |key: &str, value: &str, revision| Entry { key: key.into(), value: value.into(), revision };
        assert_eq!(decode_list(&b), Some((alloc::vec![entry("k", "v", 7), entry("l", "", 8)], true)));
        changed(&b, |b| decode_list(b).map_or(0, |(list, _)| list.len()));
    }

    /// Whatever is wrong, it is an answer, within the bytes that there are.
    fn changed(good: &[u8], read: fn(&[u8]) -> usize) {
        for n in 0..good.len() {
            read(&good[..n]);
            for bit in [1, 2, 0x10, 0x80, 0xff] {
                let mut bad = good.to_vec();
                bad[n] ^= bit;
                read(&bad);
            }
        }
    }
}
