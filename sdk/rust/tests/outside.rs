//! What handlers reach beyond their calls, as `testing::Outside` grants it.

use shardmill::testing::{self, Outside};
use shardmill::{env, secret, Batch, Code, Expect, Invocation, Request, Response, Result, Table, WindowEnd};
use std::time::Duration;

fn changes(b: &mut Batch) -> Result {
    let t = Table::new("t");
    assert_eq!(t.get("none")?, None);
    let a = t.get("a")?.unwrap();
    assert_eq!((&a.key[..], &a.value[..]), ("a", &b"1"[..]));
    let revision = t.cas("a", "x", Expect::Revision(a.revision))?;
    let code = |r: core::result::Result<i64, shardmill::HostError>| r.unwrap_err().code();
    assert_eq!(code(t.cas("a", "y", Expect::Revision(a.revision))), Code::Conflict);
    assert_eq!(code(t.cas("a", "y", Expect::Absent)), Code::Conflict);
    assert_eq!(code(t.cas("", "", Expect::Any)), Code::Invalid);
    assert_eq!(code(t.cas("large", vec![0; (1 << 20) + 1], Expect::Any)), Code::Invalid);
    t.cas("a", "z", Expect::Revision(revision))?;
    assert_eq!(t.cas_delete("b", Expect::Revision(7)).unwrap_err().code(), Code::Conflict);
    for e in t.list("b") {
        let e = e?;
        t.cas_delete(&e.key, Expect::Revision(e.revision))?;
    }
    t.delete("none")?;
    t.put("c", "")?;
    let all: Vec<_> = t.list("").map(|e| e.unwrap().key).collect();
    assert_eq!(all, ["a", "c"]);
    let denied = Table::new("u").list("").next().unwrap().unwrap_err();
    assert_eq!(denied.to_string(), "list \"\" of state table \"u\": not granted: the test grants no such state table");
    match b.is_empty() {
        true => Err("as asked".into()),
        false => Ok(()),
    }
}

#[test]
fn state() {
    let mut o = Outside::default();
    o.table("t", &[("a", "1"), ("b", "2"), ("bb", "3")]);
    let before = o.tables.clone();
    assert_eq!(o.batch(changes, &[("", ""); 0]).unwrap_err().message, "as asked");
    assert_eq!(o.tables, before, "a call that fails has changed nothing");
    o.batch(changes, &[("k", "v")]).unwrap();
    assert_eq!(o.tables["t"].iter().map(|(k, v)| (&k[..], &v[..])).collect::<Vec<_>>(), [("a", &b"z"[..]), ("c", b"")]);
}

fn known(i: &mut Invocation) -> Result<Vec<u8>> {
    assert_eq!(i.call().remaining(), None);
    assert_eq!(env("NONE"), None);
    let token = secret(std::str::from_utf8(i.body())?)?;
    Ok([env("REGION").unwrap_or_default().as_bytes(), b" ", &token].concat())
}

#[test]
fn secrets_and_variables() {
    let mut o = Outside::default();
    o.secret("token", "s3cret").env.insert("REGION".into(), "eu".into());
    assert_eq!(o.invoke(known, "token").unwrap().body, b"eu s3cret");
    let failed = o.invoke(known, "other").unwrap_err();
    assert_eq!(failed.message, "secret \"other\": not granted: the test grants no such secret");
    assert!(failed.type_name.ends_with("HostError"), "{}", failed.type_name);
    assert_eq!(testing::invoke(known, "token").unwrap_err().message, "secret \"token\": not granted: the test grants nothing");
}

fn send(w: &mut WindowEnd) -> Result {
    let r = Request::new("POST", "http://a.example").header("X-A", "1").body(w.state()).timeout(Duration::from_secs(1)).send()?;
    w.emit("out", r.get("x-b").unwrap_or("none"), &r.body);
    Ok(())
}

#[test]
fn requests() {
    let mut o = Outside { answer: Some(|r| Ok(Response { status: 200, header: vec![("X-B".into(), r.method.clone())], body: r.body.clone() })), ..Default::default() };
    assert_eq!(o.window(send, "state").unwrap().emitted("out"), ["POST state"]);
    let want = Request::new("POST", "http://a.example").header("X-A", "1").body("state").timeout(Duration::from_secs(1));
    assert_eq!(o.requests, [want]);
    o.answer = None;
    assert_eq!(o.window(send, "").unwrap_err().message, "fetch: not granted: the test answers no requests");
}
