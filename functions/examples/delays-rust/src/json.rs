//! Reads the members of a JSON object, in place.

/// The value of a member, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// What stands between the quotes, escapes as they are.
    String(&'a str),
    /// A number, a literal, an object or an array.
    Other(&'a str),
}

/// One member of an object.
pub struct Member<'a> {
    pub name: &'a str,
    pub value: Value<'a>,
}

/// The members of the object that the text is; `None` when it is no JSON object.
pub fn members(text: &str) -> Option<Vec<Member<'_>>> {
    let mut p = Parser { text, at: 0 };
    let mut all = Vec::new();
    p.take(b'{').then(|| ())?;
    if !p.take(b'}') {
        loop {
            let name = p.string()?;
            p.take(b':').then(|| ())?;
            all.push(Member { name, value: p.value(0)? });
            if !p.take(b',') {
                break;
            }
        }
        p.take(b'}').then(|| ())?;
    }
    p.space();
    (p.at == text.len()).then(|| all)
}

const DEEPEST: usize = 64;

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes c, if it is next.
    fn take(&mut self, c: u8) -> bool {
        self.space();
        let found = self.peek() == Some(c);
        self.at += found as usize;
        found
    }

    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"').then(|| ())?;
        let from = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.at += 2,
                c if c < 0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.text[from..self.at - 1])
    }

    fn digits(&mut self) -> Option<()> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        (self.at > from).then(|| ())
    }

    fn number(&mut self) -> Option<()> {
        self.at += (self.peek() == Some(b'-')) as usize;
        let first = self.at;
        let zero = self.peek() == Some(b'0');
        self.digits()?;
        if zero && self.at > first + 1 {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let found = self.text[self.at..].starts_with(word);
        self.at += word.len();
        found.then(|| ())
    }

    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.space();
        let from = self.at;
        match self.peek()? {
            b'"' => return self.string().map(Value::String),
            b'{' | b'[' if depth == DEEPEST => return None,
            b'{' => self.inside(b'}', depth)?,
            b'[' => self.inside(b']', depth)?,
            b't' => self.word("true")?,
            b'f' => self.word("false")?,
            b'n' => self.word("null")?,
            _ => self.number()?,
        }
        Some(Value::Other(&self.text[from..self.at]))
    }

    /// Passes over an object or an array.
    fn inside(&mut self, close: u8, depth: usize) -> Option<()> {
        self.at += 1;
        if self.take(close) {
            return Some(());
        }
        loop {
            if close == b'}' {
                self.string()?;
                self.take(b':').then(|| ())?;
            }
            self.value(depth + 1)?;
            if !self.take(b',') {
                return self.take(close).then(|| ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects() {
        let all = members(r#" {"a": "x\"y", "b":[1,{"c":null}] ,"d":-1.5e3}"#).unwrap();
        let all: Vec<_> = all.into_iter().map(|m| (m.name, m.value)).collect();
        let want = [("a", Value::String(r#"x\"y"#)), ("b", Value::Other(r#"[1,{"c":null}]"#)), ("d", Value::Other("-1.5e3"))];
        assert_eq!(all, want);
        assert!(members("{}").unwrap().is_empty());
    }

    #[test]
    fn what_is_none() {
        for text in ["", "{", "{}x", "[]", r#"{"a":01}"#, r#"{"a":tru}"#, r#"{"a":1,}"#, r#"{"a" 1}"#, "{\"a\":\"\n\"}", r#"{"a":"\"#] {
            assert!(members(text).is_none(), "{}", text);
        }
        assert!(members(&format!("{{\"a\":{}", "[".repeat(100_000))).is_none());
    }
}
