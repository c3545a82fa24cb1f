//! Redact is a Shardmill function: it takes e-mail addresses, payment card numbers and IPv4 addresses out of text and emits what is
//! left to the stream redacted, under the record's key. What is not UTF-8 is rejected.

mod find;

use shardmill::{Batch, Result};

shardmill::handler!(redact);

fn redact(batch: &mut Batch) -> Result {
    for r in batch.records() {
        match std::str::from_utf8(r.data) {
            Ok(text) => batch.emit("redacted", r.key, redacted(text)),
            Err(_) => batch.reject(r.index, "not text in UTF-8"),
        }
    }
    Ok(())
}

/// The text with the name of what was there in the place of personal data.
fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for found in find::Finder::new(text) {
        out.push_str(&text[from..found.start]);
        out.push_str(found.name);
        from = found.end;
    }
    out.push_str(&text[from..]);
    out
}

#[cfg(test)]
mod tests {
    use shardmill::testing;

    #[test]
    fn what_is_taken_out() {
        for (text, want) in [
            ("", ""),
            ("nothing here", "nothing here"),
            ("mail ada.lovelace+x@example.co.uk.", "mail [email]."),
            ("<a@b.io>,c@d.org;e@f", "<[email]>,[email];e@f"),
            (r#"{"from":"ada@example.org","n":1}"#, r#"{"from":"[email]","n":1}"#),
            ("card 4111 1111 1111 1111!", "card [card]!"),
            ("5500-0000-0000-0004 and 340000000000009", "[card] and [card]"),
            ("order 4111111111111112 is no card", "order 4111111111111112 is no card"),
            ("from 192.168.0.17:8080", "from [ip]:8080"),
            ("version 1.2.3.4.5, 256.1.1.1, 1.2.3", "version 1.2.3.4.5, 256.1.1.1, 1.2.3"),
            ("Zoë <zoe@münchen.example>", "Zoë <zoe@münchen.example>"),
            ("@ a@ @b.de a@.de a@b. a@b.d", "@ a@ @b.de a@.de a@b. a@b.d"),
        ] {
            assert_eq!(super::redacted(text), want, "{}", text);
        }
    }

    #[test]
    fn long_text_takes_no_longer_than_its_length() {
        for part in ["a-", "1.", "4111 ", "a@b", "@"] {
            let text = part.repeat(500_000);
            assert_eq!(super::redacted(&text).is_empty(), false);
        }
    }

    #[test]
    fn records() {
        let said = testing::batch(super::redact, &[("k", &b"a@b.io"[..]), ("k", &[0xff])]).unwrap();
        assert_eq!(said.outcomes, ["ok", "rejected: not text in UTF-8"]);
        assert_eq!(said.emitted("redacted"), ["k [email]"]);
    }
}
