//! Shardmill functions in Rust. A function, whole:
//!
//! ```
//! use shardmill::{Batch, Result};
//!
//! shardmill::handler!(handle);
//!
//! fn handle(batch: &mut Batch) -> Result {
//!     for r in batch.records() {
//!         if r.data.is_empty() {
//!             batch.reject(r.index, "no data");
//!             continue;
//!         }
//!         batch.emit("copies", r.key, r.data);
//!     }
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! in a crate whose `Cargo.toml` has `crate-type = ["cdylib", "rlib"]`. `shardmill function build DIR` compiles it.
//!
//! # What a handler says
//!
//! Of each record: nothing (it is ok), or [`Batch::drop`], [`Batch::retry`], [`Batch::reject`]. Of the whole call: `Ok`, or an
//! [`Error`], which fails all of it: nothing that it emitted is put and the batch is delivered again, as the mapping's retry
//! policy says. What a call that went well emitted is put before the mapping's checkpoint moves. Delivery is at least once, so a
//! handler may see a record again; [`Call::attempt`] counts the tries.
//!
//! A panic fails the call with its message and where it was; the host then replaces the instance.
//!
//! # The outside
//!
//! A function reaches nothing but what its configuration grants: streams ([`Batch::emit`]), secrets ([`secret`]), state tables ([`Table`]), HTTP servers
//! ([`Request`]) and variables ([`env`]). What the host refuses is a [`HostError`] with a [`Code`]. A module imports what it calls, and is
//! refused when it is uploaded where its configuration grants nothing of that kind.
//!
//! ```no_run
//! # fn look(key: &str) -> shardmill::Result {
//! let cities = shardmill::Table::new("cities");
//! if let Some(city) = cities.get(key)? {
//!     cities.cas(key, "moved", shardmill::Expect::Revision(city.revision))?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is valid when
//!
//! Records are views into the call, and the borrow checker keeps them there. What is given to `emit` is copied at once.
//! Statics last as long as the instance: they outlive the call, but any call may be served by a new instance, so they are a
//! cache and not state. One instance serves one call at a time.
//!
//! # Costs
//!
//! Iterating and emitting allocate nothing per record: inputs are views, and output memory is kept from call to call.
//!
//! # Logs
//!
//! What a function prints is its log, line by line: level info for stdout, error for stderr. [`debug!`], [`info!`], [`warn!`] and
//! [`error!`] have levels, and work for targets without stdout too (`wasm32-unknown-unknown`); behind a semicolon they take fields:
//! `info!("sent {}", n; stream = name)`.
//!
//! # Tests
//!
//! [`testing`] runs a handler under `cargo test`, without WebAssembly.
//!
//! # Without the standard library
//!
//! `default-features = false` leaves out std: the crate then needs core and alloc, and the function brings an allocator and a
//! panic handler.

#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]

extern crate alloc;

mod call;
mod error;
#[cfg(all(feature = "std", not(target_family = "wasm")))]
mod granted;
mod guest;
#[cfg(target_family = "wasm")]
mod host;
#[cfg(all(not(feature = "std"), not(target_family = "wasm")))]
mod hostless;
mod log;
mod mark;
mod outside;
mod reply;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use call::{Batch, Call, Invocation, Record, Records, Transform, Window, WindowEnd};
pub use error::{Error, Result};
pub use outside::{env, now, secret, Code, Entries, Entry, Expect, HostError, HostResult, Request, Response, Table};

#[doc(hidden)]
pub mod __private {
    pub use crate::guest::{handle, input, kinds, Handlers};
    pub use crate::log::{log, log_with};
    #[cfg(target_family = "wasm")]
    pub use crate::mark::place;
    pub use alloc::{format, string::ToString};
}

/// A handler of stream batches.
pub type BatchHandler = for<'a> fn(&mut Batch<'a>) -> Result;

/// A handler of direct invocations; what it returns is the answer.
pub type InvokeHandler = for<'a> fn(&mut Invocation<'a>) -> Result<alloc::vec::Vec<u8>>;

/// A handler of the end of a tumbling window. An error has the host call it again, as the mapping's retry policy says.
pub type WindowHandler = for<'a> fn(&mut WindowEnd<'a>) -> Result;

/// A handler of records on their way to a destination. An error has the host call it again.
pub type TransformHandler = for<'a> fn(&mut Transform<'a>) -> Result;

/// Makes a crate a function: `handler!(f)` for a handler of stream batches, or `handler!(batch: f, window: g, transform: h, invoke: i)`, or
/// some of the four.
/// It is used once, in the crate that is compiled to WebAssembly; for other targets it only checks the handlers' types.
#[macro_export]
macro_rules! handler {
    ($batch:path) => {
        $crate::handler!(batch: $batch);
    };
    ($($kind:ident: $handler:path),+ $(,)?) => {
        const _: () = {
            #[allow(dead_code)]
            static HANDLERS: $crate::__private::Handlers = $crate::__private::Handlers {
                $($kind: ::core::option::Option::Some($handler),)+
                ..$crate::__private::Handlers::NONE
            };

            #[cfg(target_family = "wasm")]
            extern "C" {
                fn __wasm_call_ctors();
            }

            // Called once before all else. Without it the linker would have every other export run what std does at a start.
            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn _initialize() {
                unsafe { __wasm_call_ctors() }
            }

            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn shardmill_abi_v1() -> u32 {
                1
            }

            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn shardmill_kinds() -> u32 {
                $crate::__private::kinds(&HANDLERS)
            }

            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn shardmill_record() -> u32 {
                $crate::__private::place()
            }

            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn shardmill_input(size: u32) -> u32 {
                $crate::__private::input(size)
            }

            #[cfg(target_family = "wasm")]
            #[no_mangle]
            extern "C" fn shardmill_handle(kind: u32, ptr: u32, len: u32) -> u64 {
                $crate::__private::handle(&HANDLERS, kind, ptr, len)
            }
        };
    };
}
