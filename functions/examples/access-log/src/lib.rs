//! Access-log is a Shardmill function: it turns lines of a web server's access log (common or combined log format) into JSON, keyed by
//! the client's address. Lines of health checks are dropped, and what is no such line is rejected.

use shardmill::{Batch, Result, Transform};

shardmill::handler!(batch: batch, transform: transform);

const NO_LINE: &str = "not a line of an access log";
const CHECK: &str = "health check";

/// On the way to a destination, JSON takes the place of each line.
fn transform(lines: &mut Transform) -> Result {
    for r in lines.records() {
        match Line::of(r.data) {
            Some(line) if line.is_check() => lines.drop(r.index, CHECK),
            Some(line) => lines.replace(r.index, line.client, line.json()),
            None => lines.reject(r.index, NO_LINE),
        }
    }
    Ok(())
}

/// Of the lines in a stream, JSON goes to the stream requests.
fn batch(lines: &mut Batch) -> Result {
    for r in lines.records() {
        match Line::of(r.data) {
            Some(line) if line.is_check() => lines.drop(r.index, CHECK),
            Some(line) => lines.emit("requests", line.client, line.json()),
            None => lines.reject(r.index, NO_LINE),
        }
    }
    Ok(())
}

/// A line in parts, as they are written; `None` stands for "-".
struct Line<'a> {
    client: &'a str,
    user: Option<&'a str>,
    time: String, // RFC 3339
    method: &'a str,
    path: &'a str,
    protocol: &'a str,
    status: u16,
    bytes: u64,
    referer: Option<&'a str>,
    agent: Option<&'a str>,
}

impl<'a> Line<'a> {
    fn of(data: &'a [u8]) -> Option<Line<'a>> {
        Line::parse(std::str::from_utf8(data).ok()?)
    }

    /// Whether Kubernetes or a load balancer looks whether the server is well.
    fn is_check(&self) -> bool {
        self.agent.map_or(false, |agent| agent.starts_with("kube-probe/") || agent.starts_with("ELB-HealthChecker/"))
    }

    fn parse(line: &'a str) -> Option<Line<'a>> {
        let (client, rest) = line.trim_end().split_once(' ')?;
        let (_identity, rest) = rest.split_once(' ')?;
        let (user, rest) = rest.split_once(" [")?;
        let (time, rest) = rest.split_once("] ")?;
        let (request, rest) = quoted(rest)?;
        let (status, rest) = rest.trim_start().split_once(' ')?;
        let (bytes, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        // A combined line has two parts more.
        let (referer, rest) = if rest.is_empty() { ("-", "") } else { quoted(rest)? };
        let (agent, rest) = if rest.is_empty() { ("-", "") } else { quoted(rest.trim_start())? };
        let (method, request) = request.split_once(' ')?;
        let (path, protocol) = request.rsplit_once(' ')?; // there may be spaces in a path
        if client.is_empty() || !rest.is_empty() {
            return None;
        }
        Some(Line {
            client,
            user: present(user),
            time: rfc3339(time)?,
            method,
            path,
            protocol,
            status: status.parse().ok().filter(|s| (100..600).contains(s))?,
            bytes: present(bytes).map_or(Some(0), |b| b.parse().ok())?,
            referer: present(referer),
            agent: present(agent),
        })
    }

    fn json(&self) -> String {
        let mut out = String::from("{");
        text(&mut out, "client", Some(self.client));
        text(&mut out, "user", self.user);
        text(&mut out, "time", Some(&self.time));
        text(&mut out, "method", Some(self.method));
        text(&mut out, "path", Some(self.path));
        text(&mut out, "protocol", Some(self.protocol));
        out.push_str(&format!("\"status\":{},\"bytes\":{},", self.status, self.bytes));
        text(&mut out, "referer", self.referer);
        text(&mut out, "agent", self.agent);
        out.pop(); // the comma
        out.push('}');
        out
    }
}

fn present(part: &str) -> Option<&str> {
    Some(part).filter(|p| *p != "-" && !p.is_empty())
}

/// What stands in quotes at the beginning of the text, escapes as they are, and what is behind them.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.bytes().position(|c| {
        let ends = c == b'"' && !escaped;
        escaped = c == b'\\' && !escaped;
        ends
    })?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// 10/Oct/2000:13:55:36 -0700 as 2000-10-10T13:55:36-07:00.
fn rfc3339(time: &str) -> Option<String> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else if c.is_ascii_alphabetic() { 'a' } else { c }).collect();
    if shape != "00/aaa/0000:00:00:00 +0000" && shape != "00/aaa/0000:00:00:00 -0000" {
        return None;
    }
    let month = MONTHS.iter().position(|m| *m == &time[3..6])? + 1;
    Some(format!("{}-{:02}-{}T{}{}:{}", &time[7..11], month, &time[..2], &time[12..20], &time[21..24], &time[24..]))
}

/// Writes a member of an object and a comma; one that is not there is left out.
fn text(out: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.push_str(&format!("\"{}\":\"", name));
        for c in unescaped(value).chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
                c => out.push(c),
            }
        }
        out.push_str("\",");
    }
}

/// The text without the escapes that servers write, but for bytes (\xhh), which may be no text.
fn unescaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('t')) => out.push('\t'),
            ('\\', Some(c @ ('"' | '\\'))) => out.push(c),
            (c, next) => out.extend(Some(c).into_iter().chain(next)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use shardmill::testing;

    fn said(line: &str) -> testing::Said {
        testing::batch(super::batch, &[("k", line)]).unwrap()
    }

    #[test]
    fn both_handlers_say_the_same() {
        let log = include_str!("../testdata/access.log");
        let lines: Vec<_> = log.lines().map(|line| ("k", line)).collect();
        let put = testing::batch(super::batch, &lines).unwrap();
        let stored = testing::transform(super::transform, &lines).unwrap();
        assert_eq!(put.outcomes, stored.outcomes);
        let replaced: Vec<_> = stored.replaced.iter().map(|(index, by)| (*index, by.key.clone(), by.data.clone())).collect();
        let ok = (0..lines.len()).filter(|i| put.outcomes[*i] == "ok");
        let emitted: Vec<_> = ok.zip(&put.emitted).map(|(index, e)| (index, e.key.clone(), e.data.clone())).collect();
        assert_eq!(emitted, replaced);
    }

    #[test]
    fn lines() {
        for (line, want) in [
            (
                // The example of the Apache documentation.
                r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /apache_pb.gif HTTP/1.0" 200 2326"#,
                r#"127.0.0.1 {"client":"127.0.0.1","user":"frank","time":"2000-10-10T13:55:36-07:00","method":"GET","path":"/apache_pb.gif","protocol":"HTTP/1.0","status":200,"bytes":2326}"#,
            ),
            (
                r#"2001:db8::1 - - [01/Jan/2024:00:00:00 +0530] "POST /a?q=\"x\\y\"\x00 HTTP/2.0" 304 - "-" "a \"b\"	ü""#,
                r#"2001:db8::1 {"client":"2001:db8::1","time":"2024-01-01T00:00:00+05:30","method":"POST","path":"/a?q=\"x\\y\"\\x00","protocol":"HTTP/2.0","status":304,"bytes":0,"agent":"a \"b\"\u0009ü"}"#,
            ),
        ] {
            assert_eq!(said(line).emitted("requests"), [want]);
        }
    }

    #[test]
    fn what_is_no_line_is_rejected() {
        for line in [
            "",
            "127.0.0.1",
            r#"127.0.0.1 - - [10/Okt/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1"#,
            r#"127.0.0.1 - - [10/Oct/2000 13:55:36 -0700] "GET / HTTP/1.0" 200 1"#,
            r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /" 200 1"#,
            r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 20 1"#,
            r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 x"#,
            r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0 200 1"#,
            r#"127.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.0" 200 1 "-" "agent" more"#,
        ] {
            assert_eq!(said(line).outcomes, ["rejected: not a line of an access log"], "{}", line);
        }
    }

    #[test]
    fn health_checks_are_dropped() {
        let line = r#"10.0.0.9 - - [10/Oct/2000:13:55:36 -0700] "GET /livez HTTP/1.1" 200 2 "-" "kube-probe/1.30""#;
        assert_eq!(said(line).outcomes, ["dropped: health check"]);
    }
}
