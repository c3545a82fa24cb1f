//! The host's functions, as WebAssembly imports them.

use crate::call::u64_at;
use crate::outside::{decode_list, strange, Code, Entry, HostError, HostResult, Request, Response};
use alloc::string::String;
use alloc::vec::Vec;

#[link(wasm_import_module = "shardmill")]
extern "C" {
    fn result(to: *mut u8, len: usize) -> usize;
    #[link_name = "secret"]
    fn host_secret(name: *const u8, len: usize) -> i64;
    #[link_name = "state_get"]
    fn host_state_get(table: *const u8, table_len: usize, key: *const u8, key_len: usize) -> i64;
    #[link_name = "state_put"]
    #[rustfmt::skip]
    fn host_state_put(table: *const u8, table_len: usize, key: *const u8, key_len: usize, value: *const u8, len: usize, expected: i64) -> i64;
    #[link_name = "state_delete"]
    fn host_state_delete(table: *const u8, table_len: usize, key: *const u8, key_len: usize, expected: i64) -> i64;
    #[link_name = "state_list"]
    #[rustfmt::skip]
    fn host_state_list(table: *const u8, table_len: usize, prefix: *const u8, prefix_len: usize, after: *const u8, after_len: usize, limit: u32) -> i64;
    #[link_name = "http_fetch"]
    fn http_fetch(request: *const u8, len: usize) -> i64;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
extern "C" {
    fn clock_time_get(clock: i32, precision: i64, to: *mut u64) -> i32;
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> i32;
    fn environ_get(places: *mut *mut u8, to: *mut u8) -> i32;
}

/// An answer that is a number, or the error that it is.
fn number(n: i64) -> HostResult<i64> {
    if n >= 0 {
        return Ok(n);
    }
    let mut says = [0; 1024];
    let len = unsafe { result(says.as_mut_ptr(), says.len()) }.min(says.len());
    Err(HostError::new(Code::of(n), &String::from_utf8_lossy(&says[..len])))
}

/// What the host gave that answered n.
fn given(n: i64) -> HostResult<Vec<u8>> {
    let mut b = alloc::vec![0; number(n)? as usize];
    let len = unsafe { result(b.as_mut_ptr(), b.len()) };
    b.truncate(len);
    Ok(b)
}

pub fn secret(name: &str) -> HostResult<Vec<u8>> {
    given(unsafe { host_secret(name.as_ptr(), name.len()) })
}

pub fn state_get(table: &str, key: &str) -> HostResult<(i64, Vec<u8>)> {
    let mut b = given(unsafe { host_state_get(table.as_ptr(), table.len(), key.as_ptr(), key.len()) })?;
    if b.len() < 8 {
        return Err(strange("the host gave no entry"));
    }
    let revision = u64_at(&b, 0) as i64;
    b.drain(..8);
    Ok((revision, b))
}

pub fn state_put(table: &str, key: &str, value: &[u8], expected: i64) -> HostResult<i64> {
    number(unsafe { host_state_put(table.as_ptr(), table.len(), key.as_ptr(), key.len(), value.as_ptr(), value.len(), expected) })
}

pub fn state_delete(table: &str, key: &str, expected: i64) -> HostResult<()> {
    number(unsafe { host_state_delete(table.as_ptr(), table.len(), key.as_ptr(), key.len(), expected) }).map(|_| ())
}

pub fn state_list(table: &str, prefix: &str, after: &str) -> HostResult<(Vec<Entry>, bool)> {
    let (t, p, a) = (table, prefix, after);
    let b = given(unsafe { host_state_list(t.as_ptr(), t.len(), p.as_ptr(), p.len(), a.as_ptr(), a.len(), 0) })?;
    decode_list(&b).ok_or_else(|| strange("the host gave no list"))
}

pub fn fetch(request: &Request) -> HostResult<Response> {
    let b = request.encode();
    let answer = given(unsafe { http_fetch(b.as_ptr(), b.len()) })?;
    Response::decode(&answer).ok_or_else(|| strange("the host gave an answer that cannot be read"))
}

pub fn env(name: &str) -> Option<String> {
    let (mut count, mut size) = (0, 0);
    if unsafe { environ_sizes_get(&mut count, &mut size) } != 0 {
        return None;
    }
    let (mut places, mut text) = (alloc::vec![core::ptr::null_mut(); count], alloc::vec![0; size]);
    if unsafe { environ_get(places.as_mut_ptr(), text.as_mut_ptr()) } != 0 {
        return None;
    }
    let found = text.split(|b| *b == 0).find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    found.map(|value| String::from_utf8_lossy(value).into_owned())
}

pub fn now() -> i64 {
    let mut nanoseconds = 0;
    unsafe { clock_time_get(0, 1000, &mut nanoseconds) };
    (nanoseconds / 1000) as i64
}
