//! Outside asks the host for what a direct invocation says; see ../README.md.

use shardmill::{env, Batch, Call, Code, Expect, HostError, HostResult, Invocation, Request, Result, Table};
use std::time::Duration;

shardmill::handler!(batch: batch, invoke: invoke);

fn batch(b: &mut Batch) -> Result {
    for r in b.records() {
        let said = answer(std::str::from_utf8(r.data)?, b.call())?;
        b.reject(r.index, &String::from_utf8_lossy(&said));
    }
    Ok(())
}

fn invoke(i: &mut Invocation) -> Result<Vec<u8>> {
    answer(std::str::from_utf8(i.body())?, i.call())
}

fn answer(body: &str, call: Call) -> Result<Vec<u8>> {
    let words: Vec<&str> = body.splitn(4, ' ').chain([""; 3]).collect();
    let (command, first, second, third) = (words[0], words[1], words[2], words[3]);
    if command == "fail" {
        Table::new(first).put(second, third)?;
        return Err("as asked".into());
    }
    Ok(act(command, first, second, third, call).unwrap_or_else(|e| refused(&e).into_bytes()))
}

fn refused(e: &HostError) -> String {
    let code = match e.code() {
        Code::Denied => "denied",
        Code::NotFound => "not found",
        Code::Conflict => "conflict",
        Code::Invalid => "invalid",
        Code::Unavailable => "unavailable",
        Code::NoCall => "no call",
    };
    format!("{}: {}", code, e.reason())
}

fn act(command: &str, first: &str, second: &str, third: &str, call: Call) -> HostResult<Vec<u8>> {
    match command {
        "secret" => return shardmill::secret(first),
        "env" => return Ok(env(first).unwrap_or_default().into_bytes()),
        "fetch" => return fetch(Request::new(first, second).header("X-Guest", "outside").body(third)),
        "slow" => return fetch(Request::get(first).timeout(Duration::from_millis(50))),
        "deadline" => {
            let ahead = call.remaining().map_or(false, |left| left > Duration::ZERO) && call.deadline() > Some(shardmill::now());
            return Ok(if ahead { "ahead".into() } else { Vec::new() });
        }
        "log" => {
            shardmill::warn!("from {}", "outside"; language = "a \"language\"", text = "späte Flüge");
            return Ok(Vec::new());
        }
        _ => {}
    }
    state(Table::new(first), command, second, third)
}

fn fetch(r: Request) -> HostResult<Vec<u8>> {
    let a = r.send()?;
    let head = format!("{} {} ", a.status, a.get("x-server").unwrap_or(""));
    Ok([head.as_bytes(), &a.body].concat())
}

fn state(t: Table, command: &str, key: &str, value: &str) -> HostResult<Vec<u8>> {
    let no_key = || format!("not found: there is no key {:?} in state table own", key).into_bytes();
    let entry = match command {
        "put" => return t.put(key, value).map(|()| "done".into()),
        "delete" => return t.delete(key).map(|()| "done".into()),
        "add" => return t.cas(key, value, Expect::Absent).map(|_| "done".into()),
        "fill" => {
            for i in 0..value.parse().unwrap_or(0) {
                let i: u32 = i;
                t.put(&format!("{}{}", key, i), "value")?;
            }
            return Ok("done".into());
        }
        "list" | "sum" | "sweep" => return list(t, command, key),
        _ => match t.get(key)? {
            Some(entry) => entry,
            None => return Ok(no_key()),
        },
    };
    let expected = Expect::Revision(entry.revision);
    match command {
        "get" => return Ok(entry.value),
        "swap" => {
            let revision = t.cas(key, value, expected)?;
            t.cas(key, "", Expect::Revision(revision))?;
        }
        "drop" => t.cas_delete(key, expected)?,
        _ => {
            t.put(key, "")?;
            match command {
                "late" => t.cas_delete(key, expected)?,
                _ => t.cas(key, value, expected).map(|_| ())?,
            }
        }
    }
    Ok("done".into())
}

fn list(t: Table, command: &str, prefix: &str) -> HostResult<Vec<u8>> {
    let (mut text, mut n, mut size) = (Vec::new(), 0, 0);
    for e in t.list(prefix) {
        let e = e?;
        n += 1;
        size += e.key.len() + e.value.len();
        match command {
            "list" => text = [&text[..], e.key.as_bytes(), b"=", &e.value, b" "].concat(),
            "sweep" => t.cas_delete(&e.key, Expect::Revision(e.revision))?,
            _ => {}
        }
    }
    Ok(match command {
        "sum" => format!("{} {}", n, size).into_bytes(),
        "sweep" => "done".into(),
        _ => text,
    })
}
