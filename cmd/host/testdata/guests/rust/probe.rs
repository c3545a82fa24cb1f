//! Probe does what its records say; see ../README.md.

use shardmill::{Batch, Call, Invocation, Record, Result, Transform, Window, WindowEnd};

shardmill::handler!(batch: batch, window: window_end, transform: transform, invoke: invoke);

fn batch(b: &mut Batch) -> Result {
    let mut later = "";
    for r in b.records() {
        match r.data.strip_prefix(b"later ") {
            Some(turns) => later = std::str::from_utf8(turns)?,
            None => record(b, &r)?,
        }
    }
    if !later.is_empty() && spin(later) == 0 {
        b.drop(0, "it came to nothing");
    }
    Ok(())
}

/// What a loop of so many turns comes to, which is not 0.
fn spin(turns: &str) -> u32 {
    let mut x: u32 = 1;
    for _ in 0..turns.parse().unwrap_or(0) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
    }
    x
}

/// The text before the first space, and that behind it.
fn word(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn record(b: &mut Batch, r: &Record) -> Result {
    let i = r.index;
    let text = std::str::from_utf8(r.data)?;
    let (command, rest) = word(text);
    let (first, second) = word(rest);
    match command {
        "drop" => b.drop(i, rest),
        "retry" => b.retry(i, rest),
        "reject" => b.reject(i, rest),
        "twice" => {
            b.reject(i, rest);
            b.drop(i, rest);
        }
        "first" => b.reject(0, rest),
        "beyond" => b.retry(b.len(), ""),
        "emit" => b.emit(first, r.key, second),
        "whole" => b.emit_record(first, r),
        "size" => b.emit(first, r.key, vec![b'x'; second.parse()?]),
        "many" => {
            for s in 0..first.parse()? {
                let s: u32 = s;
                b.emit(&format!("s{}", s), r.key, "");
            }
        }
        "facts" => {
            let (hash, records) = (r.explicit_hash.is_some(), b.len());
            let known = facts(&b.call());
            let text = format!("{} index={} sequence={} arrival={} hash={} records={}", known, i, r.sequence, r.arrival, hash, records);
            b.emit("facts", r.key, text);
        }
        "state" => b.set_state(rest),
        "window" => {
            let text = window(b.window(), b.state());
            b.emit("facts", r.key, text);
        }
        "log" => match first {
            "debug" => shardmill::debug!("{}", second),
            "info" => shardmill::info!("{}", second),
            "warn" => shardmill::warn!("{}", second),
            _ => shardmill::error!("{}", second),
        },
        "spin" if spin(rest) == 0 => b.drop(i, "it came to nothing"),
        "fail" => return Err(rest.into()),
        "panic" => panic!("{}", rest),
        _ => {}
    }
    Ok(())
}

fn window(w: Option<Window>, state: &[u8]) -> String {
    match w {
        None => "no window".into(),
        Some(w) => format!("start={} end={} early={} state={}", w.start, w.end, w.ended_early, String::from_utf8_lossy(state)),
    }
}

fn window_end(w: &mut WindowEnd) -> Result {
    if w.state() == b"fail" {
        return Err("not yet".into());
    }
    let text = window(Some(w.window()), w.state());
    w.emit("facts", "end", text);
    Ok(())
}

fn facts(c: &Call) -> String {
    format!(
        "function={} mapping={} stream={} invocation={} version={} shard={} attempt={} deadline={}",
        c.function(), c.mapping(), c.stream(), c.invocation(), c.version(), c.shard(), c.attempt(), c.deadline().is_some()
    )
}

fn invoke(i: &mut Invocation) -> Result<Vec<u8>> {
    let body = i.body();
    let (command, rest) = word(std::str::from_utf8(body)?);
    let (first, second) = word(rest);
    match command {
        "facts" => return Ok(facts(&i.call()).into_bytes()),
        "emit" => i.emit(first, "k", second),
        "fail" => return Err(rest.into()),
        "panic" => panic!("{}", rest),
        _ => {}
    }
    Ok(body.to_vec())
}

/// Drops, rejects and replaces as the records say.
fn transform(t: &mut Transform) -> Result {
    for r in t.records() {
        let (command, rest) = word(std::str::from_utf8(r.data)?);
        match command {
            "drop" => t.drop(r.index, rest),
            "reject" => t.reject(r.index, rest),
            "emit" => t.emit(word(rest).0, r.key, word(rest).1),
            "spin" if spin(rest) == 0 => t.drop(r.index, "it came to nothing"),
            "twice" => {
                t.replace(r.index, r.key, format!("{} of {}", rest, r.key_str()));
                t.replace_record(r.index, &r);
            }
            _ => {}
        }
    }
    Ok(())
}
