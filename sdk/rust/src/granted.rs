//! What a test grants the handlers that it runs.

use crate::testing::{batch, invoke, window, Failure, Said};
use crate::{BatchHandler, Code, Entry, HostError, HostResult, InvokeHandler, Request, Response, WindowHandler};
use alloc::collections::BTreeMap;
use std::cell::RefCell;
use std::string::String;
use std::vec::Vec;

/// What handlers are granted, and what became of it.
///
/// ```
/// use shardmill::{testing::Outside, Batch, Response, Result, Table};
///
/// fn count(batch: &mut Batch) -> Result {
///     let n = Table::new("counts").get("n")?.map_or(0, |e| e.value.len());
///     Table::new("counts").put("n", "x".repeat(n + batch.len()))?;
///     Ok(())
/// }
///
/// let mut outside = Outside::default();
/// outside.table("counts", &[("n", "x")]);
/// outside.batch(count, &[("a", "1"), ("b", "2")]).unwrap();
/// assert_eq!(outside.tables["counts"]["n"], b"xxx");
/// ```
#[derive(Default)]
pub struct Outside {
    /// Secrets by name.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Variables by name.
    pub env: BTreeMap<String, String>,
    /// State tables: values by table and key. A call that succeeds changes them.
    pub tables: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// What answers requests; without it they are denied.
    pub answer: Option<fn(&Request) -> HostResult<Response>>,
    /// The requests that were made.
    pub requests: Vec<Request>,
}

/// An entry: its revision, and its value.
type Slot = (i64, Vec<u8>);

/// One call's view.
#[derive(Default)]
struct Visit {
    outside: Outside,
    tables: BTreeMap<String, BTreeMap<String, Slot>>,
    revision: i64,
}

std::thread_local! {
    static VISIT: RefCell<Option<Visit>> = RefCell::new(None);
}

impl Outside {
    /// Grants a secret.
    pub fn secret(&mut self, name: &str, value: &str) -> &mut Outside {
        self.secrets.insert(name.into(), value.into());
        self
    }

    /// Grants a state table, with entries.
    pub fn table(&mut self, name: &str, entries: &[(&str, &str)]) -> &mut Outside {
        let entries = entries.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.tables.insert(name.into(), entries);
        self
    }

    /// [`testing::batch`](crate::testing::batch) with these grants.
    pub fn batch<K: AsRef<[u8]>, D: AsRef<[u8]>>(&mut self, handler: BatchHandler, records: &[(K, D)]) -> Result<Said, Failure> {
        self.during(|| batch(handler, records))
    }

    /// [`testing::invoke`](crate::testing::invoke) with these grants.
    pub fn invoke(&mut self, handler: InvokeHandler, body: impl AsRef<[u8]>) -> Result<Said, Failure> {
        self.during(|| invoke(handler, body))
    }

    /// [`testing::window`](crate::testing::window) with these grants.
    pub fn window(&mut self, handler: WindowHandler, state: impl AsRef<[u8]>) -> Result<Said, Failure> {
        self.during(|| window(handler, state))
    }

    fn during(&mut self, call: impl FnOnce() -> Result<Said, Failure>) -> Result<Said, Failure> {
        let outside = core::mem::take(self);
        let slots = |entries: &BTreeMap<String, Vec<u8>>| entries.iter().map(|(k, v)| (k.clone(), (1, v.clone()))).collect();
        let tables = outside.tables.iter().map(|(name, entries)| (name.clone(), slots(entries))).collect();
        VISIT.with(|v| *v.borrow_mut() = Some(Visit { outside, tables, revision: 1 }));
        let said = call();
        let visit = VISIT.with(|v| v.borrow_mut().take()).unwrap_or_default();
        *self = visit.outside;
        if said.is_ok() {
            let values = |slots: BTreeMap<String, Slot>| slots.into_iter().map(|(k, (_, v))| (k, v)).collect();
            self.tables = visit.tables.into_iter().map(|(name, slots)| (name, values(slots))).collect();
        }
        said
    }
}

fn denied(says: &str) -> HostError {
    HostError::new(Code::Denied, says)
}

fn visit<T>(f: impl FnOnce(&mut Visit) -> HostResult<T>) -> HostResult<T> {
    VISIT.with(|v| v.borrow_mut().as_mut().map_or_else(|| Err(denied("the test grants nothing")), f))
}

fn table<T>(name: &str, f: impl FnOnce(&mut BTreeMap<String, Slot>, &mut i64) -> HostResult<T>) -> HostResult<T> {
    visit(|v| match v.tables.get_mut(name) {
        Some(t) => f(t, &mut v.revision),
        None => Err(denied("the test grants no such state table")),
    })
}

fn expect(t: &BTreeMap<String, Slot>, key: &str, expected: i64) -> HostResult<()> {
    if expected != -1 && expected != t.get(key).map_or(0, |slot| slot.0) {
        return Err(HostError::new(Code::Conflict, "the entry has changed"));
    }
    match key.len() {
        1..=512 => Ok(()),
        _ => Err(HostError::new(Code::Invalid, "a key has 1 to 512 bytes")),
    }
}

pub fn secret(name: &str) -> HostResult<Vec<u8>> {
    visit(|v| v.outside.secrets.get(name).cloned().ok_or_else(|| denied("the test grants no such secret")))
}

pub fn env(name: &str) -> Option<String> {
    VISIT.with(|v| v.borrow().as_ref().and_then(|v| v.outside.env.get(name).cloned()))
}

pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| d.as_micros() as i64)
}

pub fn state_get(name: &str, key: &str) -> HostResult<Slot> {
    table(name, |t, _| t.get(key).cloned().ok_or_else(|| HostError::new(Code::NotFound, "there is no such key")))
}

pub fn state_put(name: &str, key: &str, value: &[u8], expected: i64) -> HostResult<i64> {
    table(name, |t, revision| {
        expect(t, key, expected)?;
        if value.len() > 1 << 20 {
            return Err(HostError::new(Code::Invalid, "a value has at most 1 MiB"));
        }
        *revision += 1;
        t.insert(key.into(), (*revision, value.to_vec()));
        Ok(*revision)
    })
}

pub fn state_delete(name: &str, key: &str, expected: i64) -> HostResult<()> {
    table(name, |t, _| expect(t, key, expected).map(|()| t.remove(key)).map(|_| ()))
}

/// A page has one entry, so that tests see what a call does between pages.
pub fn state_list(name: &str, prefix: &str, after: &str) -> HostResult<(Vec<Entry>, bool)> {
    table(name, |t, _| {
        let mut rest = t.iter().filter(|(key, _)| key.starts_with(prefix) && &key[..] > after);
        let first = rest.next().map(|(key, (revision, value))| Entry { key: key.clone(), value: value.clone(), revision: *revision });
        Ok((first.into_iter().collect(), rest.next().is_some()))
    })
}

pub fn fetch(request: &Request) -> HostResult<Response> {
    visit(|v| {
        let answer = v.outside.answer.ok_or_else(|| denied("the test answers no requests"))?;
        v.outside.requests.push(request.clone());
        answer(request)
    })
}
