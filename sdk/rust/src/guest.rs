//! The guest's side of the ABI: the bytes of a call become a call of a handler, and that the bytes of a reply.

use crate::call::{Batch, Call, Invocation, Transform, WindowEnd};
use crate::mark::mark;
use crate::reply::{Reply, Words, BAD_CALL, ERROR, UNSUPPORTED};
use crate::{BatchHandler, InvokeHandler, Result, TransformHandler, WindowHandler};
use alloc::format;
use alloc::vec::Vec;
use core::cell::UnsafeCell;

const KIND_BATCH: u32 = 1;
const KIND_WINDOW: u32 = 2;
const KIND_TRANSFORM: u32 = 3;
const KIND_INVOKE: u32 = 4;

/// What a function can do.
pub struct Handlers {
    /// Handles stream batches.
    pub batch: Option<BatchHandler>,
    /// Handles the ends of tumbling windows.
    pub window: Option<WindowHandler>,
    /// Handles direct invocations.
    pub invoke: Option<InvokeHandler>,
    /// Handles records on their way to a destination.
    pub transform: Option<TransformHandler>,
}

impl Handlers {
    /// A function that can do nothing.
    pub const NONE: Handlers = Handlers { batch: None, window: None, invoke: None, transform: None };
}

/// The call kinds that there are handlers for, a bit for each.
pub fn kinds(h: &Handlers) -> u32 {
    let bit = |there: bool, kind: u32| (there as u32) << kind;
    bit(h.batch.is_some(), KIND_BATCH) | bit(h.window.is_some(), KIND_WINDOW) | bit(h.transform.is_some(), KIND_TRANSFORM) | bit(h.invoke.is_some(), KIND_INVOKE)
}

fn kind_name(kind: u32) -> &'static str {
    match kind {
        KIND_BATCH => "stream batch",
        KIND_WINDOW => "window close",
        KIND_TRANSFORM => "transform",
        KIND_INVOKE => "direct invoke",
        _ => "call of an unknown kind",
    }
}

/// Runs the handler for one call and returns the reply, in memory of `reply`.
pub(crate) fn serve<'r>(h: &Handlers, kind: u32, bytes: &[u8], reply: &'r mut Reply) -> &'r [u8] {
    reply.reset();
    let body = guarded(reply, |reply| run(h, kind, bytes, reply));
    mark(0);
    reply.finish(&body)
}

fn run(h: &Handlers, kind: u32, bytes: &[u8], reply: &mut Reply) -> Vec<u8> {
    let call = match Call::parse(bytes) {
        Ok(call) if call.kind() == kind => call,
        Ok(_) => return failed(reply, BAD_CALL, "the header is of another kind of call"),
        Err(why) => return failed(reply, BAD_CALL, why),
    };
    let answer = match (kind, h.batch, h.window, h.invoke, h.transform) {
        (KIND_BATCH, Some(handler), ..) => match Batch::parse(call, reply) {
            Some(mut batch) => handler(&mut batch).map(|()| Vec::new()),
            None => return failed(reply, BAD_CALL, "the body is not a record batch"),
        },
        (KIND_TRANSFORM, .., Some(handler)) => match Transform::parse(call, reply) {
            Some(mut transform) => handler(&mut transform).map(|()| Vec::new()),
            None => return failed(reply, BAD_CALL, "the body is not a record batch"),
        },
        (KIND_WINDOW, _, Some(handler), ..) => handler(&mut WindowEnd::new(call, reply)).map(|()| Vec::new()),
        (KIND_INVOKE, _, _, Some(handler), _) => handler(&mut Invocation::new(call, reply)),
        _ => return failed(reply, UNSUPPORTED, &format!("the function has no handler for a {}", kind_name(kind))),
    };
    settled(reply, answer)
}

fn settled(reply: &mut Reply, answer: Result<Vec<u8>>) -> Vec<u8> {
    answer.unwrap_or_else(|e| {
        reply.fails(ERROR, e.kind(), e.message(), "");
        Vec::new()
    })
}

fn failed(reply: &mut Reply, kind: u16, why: &str) -> Vec<u8> {
    reply.fails(kind, "", why, "");
    Vec::new()
}

/// Runs f; a panic becomes the call's failure where panics unwind.
#[cfg(all(feature = "std", panic = "unwind"))]
fn guarded(reply: &mut Reply, f: impl FnOnce(&mut Reply) -> Vec<u8>) -> Vec<u8> {
    use std::panic::{catch_unwind, AssertUnwindSafe};
    // After a panic the host does not use the instance again, and the next call resets the reply.
    catch_unwind(AssertUnwindSafe(|| f(reply))).unwrap_or_else(|cause| {
        let message = match (cause.downcast_ref::<&str>(), cause.downcast_ref::<alloc::string::String>()) {
            (Some(text), _) => text,
            (_, Some(text)) => text.as_str(),
            _ => "panic",
        };
        reply.reset();
        reply.fails(crate::reply::PANIC, "", message, "");
        Vec::new()
    })
}

/// Runs f. A panic ends the instance with its message on stderr, where the host finds it.
#[cfg(not(all(feature = "std", panic = "unwind")))]
fn guarded(reply: &mut Reply, f: impl FnOnce(&mut Reply) -> Vec<u8>) -> Vec<u8> {
    #[cfg(feature = "std")]
    hook();
    f(reply)
}

/// Has panics say in one line what the host shows as the message. A function that has set a hook of its own keeps it.
#[cfg(all(feature = "std", not(panic = "unwind")))]
fn hook() {
    use std::sync::Once;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(alloc::boxed::Box::new(|info| {
            let cause = info.payload();
            let message = match (cause.downcast_ref::<&str>(), cause.downcast_ref::<alloc::string::String>()) {
                (Some(text), _) => text,
                (_, Some(text)) => text.as_str(),
                _ => "panic",
            };
            let place = info.location().map_or(alloc::string::String::new(), |l| format!(" ({}:{})", l.file(), l.line()));
            crate::log::stderr(&format!("panic: {}{}\n", message.replace('\n', " "), place));
        }));
    });
}

/// What an instance keeps between calls.
struct Guest {
    input: Words,
    reply: Reply,
}

struct Instance(UnsafeCell<Option<Guest>>);

// An instance is called by one thread at a time, and no call is made while another runs.
unsafe impl Sync for Instance {}

static INSTANCE: Instance = Instance(UnsafeCell::new(None));

/// # Safety
///
/// Only one reference may be alive at a time; the exports hold one each, and are not called from one another.
unsafe fn instance() -> &'static mut Guest {
    (*INSTANCE.0.get()).get_or_insert_with(|| Guest { input: Words::default(), reply: Reply::default() })
}

/// The input area, of at least size bytes; 0 when there is no memory. It stays where it is until a larger one is asked for.
pub fn input(size: u32) -> u32 {
    const UNIT: usize = 64 << 10;
    let g = unsafe { instance() };
    let size = size as usize;
    if size > i32::MAX as usize {
        return 0;
    }
    if size > g.input.bytes().len() || g.input.bytes().is_empty() {
        // A word more is taken than asked for.
        if !g.input.reserve((size + size / 4 + UNIT) / UNIT * UNIT - 8) && !g.input.reserve(size) {
            return 0;
        }
    }
    g.input.bytes().as_ptr() as usize as u32
}

/// Handles the call at ptr, in the input area; one that is not there is refused as a bad call.
pub fn handle(h: &Handlers, kind: u32, ptr: u32, len: u32) -> u64 {
    let Guest { input, reply } = unsafe { instance() };
    let area = input.bytes();
    let call = (ptr as usize)
        .checked_sub(area.as_ptr() as usize)
        .and_then(|at| area.get(at..at.checked_add(len as usize)?))
        .unwrap_or(&[]);
    let reply = serve(h, kind, call, reply);
    (reply.as_ptr() as usize as u64) << 32 | reply.len() as u64
}
