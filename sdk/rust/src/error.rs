use alloc::string::{String, ToString};
use core::fmt;

/// Why a call failed: made of anything that can be displayed, so that `?` takes every error.
///
/// ```
/// # fn parse(data: &str) -> shardmill::Result<u32> {
/// if data.is_empty() {
///     return Err("no data".into());
/// }
/// Ok(data.parse()?)
/// # }
/// # assert_eq!(parse("").unwrap_err().message(), "no data");
/// # assert_eq!(parse("x").unwrap_err().message(), "invalid digit found in string");
/// ```
// It is not Display itself, or the conversion below would conflict with that of a type into itself.
pub struct Error {
    kind: &'static str,
    message: String,
}

/// The result of a handler.
pub type Result<T = ()> = core::result::Result<T, Error>;

impl Error {
    /// What the host shows of it.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The name of the type that it was made of.
    pub fn kind(&self) -> &str {
        self.kind
    }
}

impl<E: fmt::Display> From<E> for Error {
    fn from(e: E) -> Error {
        Error { kind: core::any::type_name::<E>(), message: e.to_string() }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
