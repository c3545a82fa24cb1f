//! The bytes of calls and replies are those of sdk/abi/testdata, which every SDK is tested on.

use shardmill::testing::{batch, invoke, raw, Failure, Handlers};
use shardmill::{testing, Batch, BatchHandler, Transform, Invocation, InvokeHandler, Result, Window, WindowEnd};
use std::fs;
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../abi/testdata").join(name)).unwrap()
}

/// A batch call with n small records.
fn call(n: usize) -> Vec<u8> {
    let mut b = vec![0; 80];
    b[..12].copy_from_slice(b"SMCL\x01\0\x01\0\x50\0\0\0");
    b[40] = 80;
    let len = (24 + 32 * n) as u32;
    b[44..48].copy_from_slice(&len.to_le_bytes());
    b.extend_from_slice(b"SMRB\0\0\0\0\x01\0\x01\0");
    b.extend_from_slice(&len.to_le_bytes());
    b.extend_from_slice(&(n as u64).to_le_bytes());
    for _ in 0..n {
        b.extend_from_slice(&[0; 16]);
        b.extend_from_slice(&[1, 0, 0, 0, 1, 0, 0, 0, b'k', b'd', 0, 0, 0, 0, 0, 0]);
    }
    b
}

fn on_batch(handler: BatchHandler) -> Handlers {
    Handlers { batch: Some(handler), ..Handlers::NONE }
}

fn on_invoke(handler: InvokeHandler) -> Handlers {
    Handlers { invoke: Some(handler), ..Handlers::NONE }
}

fn window(w: &mut WindowEnd) -> Result {
    w.emit("windows", "", w.state());
    Ok(())
}

fn nothing(_: &mut Batch) -> Result {
    Ok(())
}

fn outcomes(b: &mut Batch) -> Result {
    b.reject(2, "not a flight");
    b.drop(0, "");
    b.retry(1, "later");
    Ok(())
}

fn outputs(b: &mut Batch) -> Result {
    b.emit("delays", "DFW", r#"{"flights":12}"#);
    b.emit("späte-flüge", "", "");
    b.emit("delays", "JFK", r#"{"flights":1}"#);
    Ok(())
}

#[test]
fn replies_are_golden() {
    assert_eq!(raw(on_batch(nothing), 1, &call(3)), golden("reply-ok.bin"));
    assert_eq!(raw(on_batch(outcomes), 1, &call(3)), golden("reply-outcomes.bin"));
    assert_eq!(raw(on_batch(outputs), 1, &call(3)), golden("reply-outputs.bin"));
    assert_eq!(raw(on_invoke(|_| Ok(b"pong!".to_vec())), 4, &golden("call-invoke.bin")), golden("reply-body.bin"));
}

fn facts(b: &mut Batch) -> Result {
    let c = b.call();
    assert_eq!((c.mapping(), c.stream(), c.function()), ("flights-to-delays", "flights", "delays"));
    assert_eq!((c.invocation(), c.version(), c.shard(), c.attempt()), ("01ARZ3NDEKTSV4RRFFQ69G5FAV", 7, 3, 2));
    assert_eq!(c.deadline(), Some(1_700_000_003_000_000));
    let all: Vec<_> = b.records().collect();
    assert_eq!((all.len(), b.len()), (2, 2));
    assert_eq!((all[0].index, all[0].sequence, all[0].arrival), (0, 1 << 44 | 41, 1_700_000_000_000_000));
    assert_eq!((all[0].key_str(), all[0].data, all[0].explicit_hash), ("DFW", &br#"{"delay":5}"#[..], None));
    assert_eq!((all[1].key, all[1].data, all[1].explicit_hash), (&b"JFK"[..], &b""[..], Some(&[0x80; 16])));
    Ok(())
}

fn ping(i: &mut Invocation) -> Result<Vec<u8>> {
    assert_eq!((i.body(), i.call().version(), i.call().deadline()), (&b"ping"[..], u32::MAX, None));
    Ok(Vec::new())
}

fn state(b: &mut Batch) -> Result {
    assert_eq!((b.window(), b.state()), (Some(Window { start: 0, end: 1, ended_early: false }), &b""[..]));
    b.set_state("not this");
    b.set_state("count=4");
    b.emit("s", "k", "v");
    b.drop(0, "x");
    Ok(())
}

fn window_end(w: &mut WindowEnd) -> Result {
    let want = Window { start: 1_700_000_000_000_000, end: 1_700_000_060_000_000, ended_early: true };
    assert_eq!((w.window(), w.state(), w.call().stream()), (want, &b"count=3"[..], "flights"));
    Ok(())
}

#[test]
fn windows() {
    let mut in_window = call(1);
    in_window[72] = 1; // its end
    assert_eq!(raw(on_batch(state), 1, &in_window), golden("reply-state.bin"));
    let end = Handlers { window: Some(window_end), ..Handlers::NONE };
    assert_eq!(raw(end, 2, &golden("call-window.bin")), golden("reply-ok.bin"));
    fn too_long(b: &mut Batch) -> Result {
        b.set_state(vec![0; (6 << 20) + 1]);
        Ok(())
    }
    assert_eq!(raw(on_batch(too_long), 1, &in_window)[40], 1);
    assert_eq!(raw(on_batch(too_long), 1, &call(1)), golden("reply-ok.bin"), "without a window");
}

#[test]
fn calls_are_golden() {
    assert_eq!(raw(on_batch(facts), 1, &golden("call-batch.bin")), golden("reply-ok.bin"));
    assert_eq!(raw(on_invoke(ping), 4, &golden("call-invoke.bin")), golden("reply-ok.bin"));
}

/// Whatever is wrong with a call, it is answered: with a failure, or because what is wrong does not matter.
#[test]
fn bad_calls_are_answered() {
    fn copy(b: &mut Batch) -> Result {
        for r in b.records() {
            b.emit_record("s", &r);
        }
        Ok(())
    }
    std::panic::set_hook(Box::new(|_| {}));
    for name in ["call-batch.bin", "call-invoke.bin", "call-window.bin"] {
        let good = golden(name);
        let answer = |call: &[u8]| raw(Handlers { batch: Some(copy), window: Some(window), invoke: Some(|i| Ok(i.body().to_vec())), transform: None }, good[6] as u32, call);
        for n in 0..good.len() {
            assert_eq!(&answer(&good[..n])[..4], b"SMRP", "{} cut to {}", name, n);
            for bit in [1, 2, 0x10, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[n] ^= bit;
                assert_eq!(&answer(&bad)[..4], b"SMRP", "{} with byte {} ^ {:#x}", name, n, bit);
            }
        }
        for n in 0..80 {
            assert_eq!(answer(&good[..n])[40], 4, "{} cut to {} is a bad call", name, n);
        }
    }
    assert_eq!(raw(on_invoke(ping), 1, &golden("call-batch.bin"))[40], 3, "unsupported");
    assert_eq!(raw(on_batch(nothing), 2, &golden("call-window.bin"))[40], 3, "unsupported");
    assert_eq!(raw(on_batch(nothing), 4, &golden("call-batch.bin"))[40], 4, "another kind");
}

#[test]
fn what_handlers_say() {
    fn last_word(b: &mut Batch) -> Result {
        for r in b.records() {
            b.reject(r.index, "first");
        }
        b.drop(1, "");
        b.retry(0, &"€".repeat(400));
        Ok(())
    }
    let said = batch(last_word, &[("a", "1"), ("b", "2"), ("c", "3")]).unwrap();
    assert_eq!(said.outcomes, [format!("retry: {}", "€".repeat(341)), "dropped".into(), "rejected: first".into()]);

    fn parse(b: &mut Batch) -> Result {
        for r in b.records() {
            let n: u32 = std::str::from_utf8(r.data)?.parse()?;
            b.emit("numbers", r.key, n.to_string());
        }
        Ok(())
    }
    assert_eq!(batch(parse, &[("a", "1"), ("b", "002")]).unwrap().emitted("numbers"), ["a 1", "b 2"]);
    let failed = batch(parse, &[("a", "1"), ("b", "x")]).unwrap_err();
    assert_eq!((failed.kind, &failed.message[..]), ("error", "invalid digit found in string"));
    assert!(failed.type_name.contains("ParseIntError"), "{}", failed.type_name);

    assert_eq!(batch(nothing, &[("", ""); 0]).unwrap().outcomes.len(), 0);
    assert_eq!(invoke(|i| Ok(i.body().repeat(2)), "ab").unwrap().body, b"abab");
    assert_eq!(invoke(|_| Err("no".into()), "").unwrap_err().message, "no");
}

#[test]
fn failures_of_emit_and_panics() {
    let message = |f: fn(&mut Batch) -> Result| -> Failure { batch(f, &[("k", "v"), ("k", "v")]).unwrap_err() };
    fn no_name(b: &mut Batch) -> Result {
        b.emit("a", "k", "v");
        b.emit("", "k", "v");
        Err("later".into())
    }
    assert_eq!(message(no_name).message, "emit to stream \"\": the name is empty");
    fn long_key(b: &mut Batch) -> Result {
        b.emit("a", vec![0; 1 << 16], "v");
        Ok(())
    }
    assert!(message(long_key).message.contains("65535"));
    fn many(b: &mut Batch) -> Result {
        for i in 0..257 {
            b.emit(&i.to_string(), "", "");
        }
        Ok(())
    }
    assert!(message(many).message.contains("257th"));
    std::panic::set_hook(Box::new(|_| {}));
    fn beyond(b: &mut Batch) -> Result {
        b.emit("a", "k", "v");
        b.retry(2, "");
        Ok(())
    }
    let f = message(beyond);
    assert_eq!((f.kind, &f.message[..]), ("panic", "outcome for record 2 of a batch of 2"));
}

#[test]
fn transforms() {
    fn clean(t: &mut Transform) -> Result {
        for r in t.records() {
            match r.data {
                b"drop" => t.drop(r.index, "empty"),
                b"reject" => t.reject(r.index, "wrong"),
                b"twice" => {
                    t.replace(r.index, r.key, "1");
                    t.emit("seen", r.key, "");
                    t.replace_record(r.index, &r);
                }
                b"none" => t.emit("", "", ""),
                b"beyond" => t.replace(t.len(), "", ""),
                _ => {}
            }
        }
        Ok(())
    }
    let said = testing::transform(clean, &[("a", "drop"), ("b", "as it is"), ("c", "twice"), ("d", "reject")]).unwrap();
    assert_eq!(said.outcomes, ["dropped: empty", "ok", "ok", "rejected: wrong"]);
    assert_eq!(said.emitted("seen"), ["c "]);
    let replaced: Vec<_> = said.replaced.iter().map(|(i, r)| (*i, &r.key[..], &r.data[..])).collect();
    assert_eq!(replaced, [(2, &b"c"[..], &b"1"[..]), (2, b"c", b"twice")]);
    std::panic::set_hook(Box::new(|_| {}));
    assert_eq!(testing::transform(clean, &[("a", "twice"), ("b", "none")]).unwrap_err().message, "emit to stream \"\": the name is empty");
    assert_eq!(testing::transform(clean, &[("a", "beyond")]).unwrap_err().message, "replacement of record 1 of a batch of 1");
    assert_eq!(raw(on_batch(nothing), 3, &call(1))[40], 4, "another kind");
}
