//! What there is in the place of a host where there is neither WebAssembly nor std.

use crate::outside::{Code, Entry, HostError, HostResult, Request, Response};
use alloc::string::String;
use alloc::vec::Vec;

fn denied<T>() -> HostResult<T> {
    Err(HostError::new(Code::Denied, "there is no host here"))
}

pub fn secret(_: &str) -> HostResult<Vec<u8>> {
    denied()
}
pub fn state_get(_: &str, _: &str) -> HostResult<(i64, Vec<u8>)> {
    denied()
}
pub fn state_put(_: &str, _: &str, _: &[u8], _: i64) -> HostResult<i64> {
    denied()
}
pub fn state_delete(_: &str, _: &str, _: i64) -> HostResult<()> {
    denied()
}
pub fn state_list(_: &str, _: &str, _: &str) -> HostResult<(Vec<Entry>, bool)> {
    denied()
}
pub fn fetch(_: &Request) -> HostResult<Response> {
    denied()
}
pub fn env(_: &str) -> Option<String> {
    None
}
pub fn now() -> i64 {
    0
}
