//! Which record is worked on, for the host, which looks now and then and so learns what records and keys cost.

/// The position of the record, from 1; 0 is none.
#[cfg(target_family = "wasm")]
static mut MARKED: u32 = 0;

/// Says which record is worked on from here on. The host looks while the program runs, so each store is made, and where it stands.
#[cfg(target_family = "wasm")]
#[inline(always)]
pub(crate) fn mark(record: usize) {
    unsafe { core::ptr::addr_of_mut!(MARKED).write_volatile(record as u32) }
}

/// Where the host finds it.
#[cfg(target_family = "wasm")]
pub fn place() -> u32 {
    unsafe { core::ptr::addr_of!(MARKED) as usize as u32 }
}

/// Here is no host.
#[cfg(not(target_family = "wasm"))]
#[inline(always)]
pub(crate) fn mark(_: usize) {}
