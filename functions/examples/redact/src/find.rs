//! Finds personal data in text by its form.

/// Where something is, and what is to stand there.
pub struct Found {
    pub start: usize,
    pub end: usize,
    pub name: &'static str,
}

/// Yields what is found, in order; the parts do not overlap.
pub struct Finder<'a> {
    text: &'a [u8],
    at: usize,
    no_email_before: usize, // the characters up to there have been tried
}

impl<'a> Finder<'a> {
    pub fn new(text: &'a str) -> Finder<'a> {
        Finder { text: text.as_bytes(), at: 0, no_email_before: 0 }
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// How far the bytes go on that are as wanted.
    fn run(&self, from: usize, wanted: impl Fn(u8) -> bool) -> usize {
        self.text[from..].iter().position(|c| !wanted(*c)).map_or(self.text.len(), |n| from + n)
    }

    /// The end of an e-mail address that begins at a place.
    fn email(&mut self, start: usize) -> Option<usize> {
        if start < self.no_email_before {
            return None;
        }
        let local = self.run(start, |c| c.is_ascii_alphanumeric() || b"._%+-'".contains(&c));
        self.no_email_before = local;
        if local == start || self.byte(local) != b'@' {
            return None;
        }
        let mut end = self.run(local + 1, |c| c.is_ascii_alphanumeric() || c == b'.' || c == b'-');
        while end > local + 1 && !self.byte(end - 1).is_ascii_alphanumeric() {
            end -= 1; // the full stop of a sentence
        }
        let domain = &self.text[local + 1..end];
        let dot = domain.iter().rposition(|c| *c == b'.')?;
        let top = &domain[dot + 1..];
        (dot > 0 && domain[0] != b'.' && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic)).then(|| end)
    }

    /// The end of a payment card's number: 13 to 19 digits, perhaps in groups, with the right check digit (Luhn).
    fn card(&self, start: usize) -> Option<usize> {
        let (mut digits, mut end) = ([0; 20], start);
        let mut n = 0;
        loop {
            match self.byte(end) {
                c @ b'0'..=b'9' if n < digits.len() => {
                    digits[n] = c - b'0';
                    n += 1;
                }
                b'0'..=b'9' => return None,
                b' ' | b'-' if n > 0 && self.byte(end + 1).is_ascii_digit() => {}
                _ => break,
            }
            end += 1;
        }
        let sum: u32 = digits[..n].iter().rev().enumerate().map(|(i, d)| luhn(i, *d)).sum();
        ((13..=19).contains(&n) && sum % 10 == 0 && !self.byte(end).is_ascii_alphanumeric()).then(|| end)
    }

    /// The end of an IPv4 address.
    fn ip(&self, start: usize) -> Option<usize> {
        let mut end = start;
        for part in 0..4 {
            if part > 0 {
                if self.byte(end) != b'.' {
                    return None;
                }
                end += 1;
            }
            let from = end;
            while end < from + 4 && self.byte(end).is_ascii_digit() {
                end += 1;
            }
            let value = std::str::from_utf8(&self.text[from..end]).ok()?;
            value.parse::<u8>().ok()?;
        }
        let goes_on = self.byte(end).is_ascii_alphanumeric() || (self.byte(end) == b'.' && self.byte(end + 1).is_ascii_digit());
        (!goes_on).then(|| end)
    }
}

/// What the digit at a place, from the right, adds to the sum.
fn luhn(place: usize, digit: u8) -> u32 {
    let d = digit as u32;
    match place % 2 {
        0 => d,
        _ if d > 4 => 2 * d - 9,
        _ => 2 * d,
    }
}

impl<'a> Iterator for Finder<'a> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        while self.at < self.text.len() {
            let start = self.at;
            let before = if start > 0 { self.byte(start - 1) } else { 0 };
            self.at += 1;
            // Nothing begins within a word or a number.
            if before.is_ascii_alphanumeric() || !self.byte(start).is_ascii_alphanumeric() {
                continue;
            }
            let in_number = before == b'.' && start > 1 && self.byte(start - 2).is_ascii_digit();
            let found = match (self.email(start), self.byte(start).is_ascii_digit() && !in_number) {
                (Some(end), _) => Some((end, "[email]")),
                (None, true) => self.card(start).map(|end| (end, "[card]")).or_else(|| self.ip(start).map(|end| (end, "[ip]"))),
                (None, false) => None,
            };
            if let Some((end, name)) = found {
                self.at = end;
                return Some(Found { start, end, name });
            }
        }
        None
    }
}
