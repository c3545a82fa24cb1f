use alloc::string::String;

/// Logs a line of level debug; takes what `format!` does and, behind a semicolon, fields.
#[macro_export]
macro_rules! debug {
    ($format:literal $(, $arg:expr)* ; $($field:ident = $value:expr),+ $(,)?) => {
        $crate::__private::log_with("debug", &$crate::__private::format!($format $(, $arg)*), &[
            $((stringify!($field), $crate::__private::ToString::to_string(&$value))),+
        ])
    };
    ($($arg:tt)+) => { $crate::__private::log("debug", &$crate::__private::format!($($arg)+)) };
}

/// Logs a line of level info; takes what `format!` does and, behind a semicolon, fields.
#[macro_export]
macro_rules! info {
    ($format:literal $(, $arg:expr)* ; $($field:ident = $value:expr),+ $(,)?) => {
        $crate::__private::log_with("info", &$crate::__private::format!($format $(, $arg)*), &[
            $((stringify!($field), $crate::__private::ToString::to_string(&$value))),+
        ])
    };
    ($($arg:tt)+) => { $crate::__private::log("info", &$crate::__private::format!($($arg)+)) };
}

/// Logs a line of level warn; takes what `format!` does and, behind a semicolon, fields.
#[macro_export]
macro_rules! warn {
    ($format:literal $(, $arg:expr)* ; $($field:ident = $value:expr),+ $(,)?) => {
        $crate::__private::log_with("warn", &$crate::__private::format!($format $(, $arg)*), &[
            $((stringify!($field), $crate::__private::ToString::to_string(&$value))),+
        ])
    };
    ($($arg:tt)+) => { $crate::__private::log("warn", &$crate::__private::format!($($arg)+)) };
}

/// Logs a line of level error; takes what `format!` does and, behind a semicolon, fields.
#[macro_export]
macro_rules! error {
    ($format:literal $(, $arg:expr)* ; $($field:ident = $value:expr),+ $(,)?) => {
        $crate::__private::log_with("error", &$crate::__private::format!($format $(, $arg)*), &[
            $((stringify!($field), $crate::__private::ToString::to_string(&$value))),+
        ])
    };
    ($($arg:tt)+) => { $crate::__private::log("error", &$crate::__private::format!($($arg)+)) };
}

/// Writes a line in the form that the host reads levels from.
pub fn log(level: &str, message: &str) {
    log_with(level, message, &[]);
}

/// Writes such a line with fields.
pub fn log_with(level: &str, message: &str, fields: &[(&str, String)]) {
    stderr(&line(level, message, fields));
}

fn line(level: &str, message: &str, fields: &[(&str, String)]) -> String {
    let mut line = String::from("{\"level\":");
    quote(&mut line, level);
    line.push_str(",\"msg\":");
    quote(&mut line, message);
    for (name, value) in fields {
        line.push(',');
        quote(&mut line, name);
        line.push(':');
        quote(&mut line, value);
    }
    line.push_str("}\n");
    line
}

fn quote(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\t' => to.push_str("\\t"),
            c if (c as u32) < 0x20 => to.push_str(&alloc::format!("\\u{:04x}", c as u32)),
            c => to.push(c),
        }
    }
    to.push('"');
}

/// Writes to stderr through WASI, so that targets whose std has no stderr have one too.
#[cfg(target_family = "wasm")]
pub(crate) fn stderr(text: &str) {
    #[repr(C)]
    struct Part {
        ptr: *const u8,
        len: usize,
    }
    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    extern "C" {
        fn fd_write(fd: i32, parts: *const Part, count: i32, written: *mut usize) -> i32;
    }
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let part = Part { ptr: rest.as_ptr(), len: rest.len() };
        let mut written = 0;
        if unsafe { fd_write(2, &part, 1, &mut written) } != 0 || written == 0 || written > rest.len() {
            return;
        }
        rest = &rest[written..];
    }
}

#[cfg(all(feature = "std", not(target_family = "wasm")))]
pub(crate) fn stderr(text: &str) {
    std::eprint!("{}", text);
}

#[cfg(all(not(feature = "std"), not(target_family = "wasm")))]
pub(crate) fn stderr(_: &str) {}

#[cfg(test)]
mod tests {
    #[test]
    fn fields() {
        assert_eq!(super::line("warn", "m", &[("a", "\"".into()), ("b", "".into())]), "{\"level\":\"warn\",\"msg\":\"m\",\"a\":\"\\\"\",\"b\":\"\"}\n");
        let (n, stream) = (3, "copies");
        crate::info!("sent {} of {}", n, n + 1; stream = stream, n = n);
        crate::info!("sent {n}");
        crate::info!("none"; n = n,);
    }

    #[test]
    fn lines_are_json() {
        assert_eq!(super::line("info", "a \"b\" \\ \n\t\u{1} ä", &[]), "{\"level\":\"info\",\"msg\":\"a \\\"b\\\" \\\\ \\n\\t\\u0001 ä\"}\n");
    }
}
